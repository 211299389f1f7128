//! The X-Ray daemon's TCP port: SDKs ask there for sampling rules, unsigned, and are answered by X-Ray (DMN-8).
//!
//! While X-Ray can't be reached, its last answers are given again, and without one an error at once, so that the SDK
//! falls back to its default rule (SMP-18).

use crate::log::{Level, Log};
use crate::receive::bounds::local_http::{self, BodyError, Handler};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;

/// The longest that X-Ray is waited for (SMP-18).
pub const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Far more than 25 statistics documents take.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// Answers that are remembered: a page of rules each, and one of targets.
const MAX_REMEMBERED: usize = 8;
const MAX_REMEMBERED_BYTES: usize = 512 * 1024;

const RULES: &str = "/GetSamplingRules";
const TARGETS: &str = "/SamplingTargets";

/// What X-Ray has answered, or why it has not.
type Forwarded = Pin<Box<dyn Future<Output = Result<(StatusCode, Bytes), String>> + Send>>;
/// Asks X-Ray: a path and a body.
pub type Forward = Arc<dyn Fn(&'static str, Bytes) -> Forwarded + Send + Sync>;

/// Makes a [`Forward`] of a function.
pub fn forward<F>(ask: impl Fn(&'static str, Bytes) -> F + Send + Sync + 'static) -> Forward
where
    F: Future<Output = Result<(StatusCode, Bytes), String>> + Send + 'static,
{
    Arc::new(move |path, body| Box::pin(ask(path, body)))
}

/// Binds the daemon's address.
pub fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    local_http::bind(address)
}

/// Serves for ever.
pub async fn serve(listener: TcpListener, forward: Forward, log: Log) {
    let remembered = Arc::new(Mutex::new(Remembered::default()));
    let own_log = log.clone();
    let handler: Handler = Arc::new(move |request| {
        let (forward, remembered, log) = (Arc::clone(&forward), Arc::clone(&remembered), own_log.clone());
        Box::pin(async move {
            match answer(request, &forward, &remembered, &log).await {
                Ok((status, body)) => response(status, "application/json", body),
                Err(refusal) => response(refusal.status(), "text/plain", refusal.to_string().into()),
            }
        })
    });
    local_http::serve(listener, |_| true, handler, log).await;
}

/// Why a request is refused; the text is the answer's body.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("only POST {RULES} and POST {TARGETS} are served here; documents go to this port by UDP")]
    Path,
    #[error("{0}")]
    Body(#[from] BodyError),
    #[error("{0}")]
    NoAnswer(String),
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Path => StatusCode::NOT_FOUND,
            Self::Body(BodyError::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Body(BodyError::Slow) => StatusCode::REQUEST_TIMEOUT,
            Self::Body(BodyError::Broken(_) | BodyError::MadeWay) => StatusCode::BAD_REQUEST,
            Self::NoAnswer(_) => StatusCode::BAD_GATEWAY,
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    forward: &Forward,
    remembered: &Mutex<Remembered>,
    log: &Log,
) -> Result<(StatusCode, Bytes), Refusal> {
    let path = match request.uri().path() {
        RULES => RULES,
        TARGETS => TARGETS,
        _ => return Err(Refusal::Path),
    };
    if request.method() != Method::POST {
        return Err(Refusal::Path);
    }
    let body = local_http::read_body(request, MAX_BODY_BYTES, None).await?;
    // The answer to statistics is good for others too; that for rules is good for the same page.
    let key = (path, if path == RULES { body.clone() } else { Bytes::new() });
    let answered = forward(path, body).await;
    let mut remembered = remembered.lock().unwrap_or_else(PoisonError::into_inner);
    match answered {
        Ok((StatusCode::OK, body)) => {
            remembered.keep(key, &body);
            Ok((StatusCode::OK, body))
        }
        Ok((status, body)) if !is_for_now(status) => Ok((status, body)),
        failed => {
            let what = match &failed {
                Ok((status, _)) => status.to_string(),
                Err(error) => error.clone(),
            };
            log.once(
                "daemon-sampling",
                Level::Warn,
                format_args!("an X-Ray SDK has asked for sampling rules, and X-Ray does not answer: {what}"),
            );
            match remembered.get(&key) {
                Some(body) => Ok((StatusCode::OK, body)),
                None => failed.map_err(Refusal::NoAnswer),
            }
        }
    }
}

/// Whether the same request may be answered another time.
fn is_for_now(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

fn response(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

type Key = (&'static str, Bytes);

/// X-Ray's last answers, the newest last.
#[derive(Debug, Default)]
struct Remembered(VecDeque<(Key, Bytes)>);

impl Remembered {
    fn keep(&mut self, key: Key, answer: &Bytes) {
        self.0.retain(|(known, _)| *known != key);
        if answer.len() <= MAX_REMEMBERED_BYTES {
            self.0.push_back((key, answer.clone()));
        }
        while self.0.len() > MAX_REMEMBERED {
            self.0.pop_front();
        }
    }

    fn get(&self, key: &Key) -> Option<Bytes> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, answer)| answer.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::test_log;
    use crate::receive::bounds::local_http::test_client::send;

    /// What X-Ray answers from now on.
    type Says = Arc<Mutex<Option<(StatusCode, &'static str)>>>;

    /// A proxy, what its X-Ray says, and what is logged.
    fn proxy() -> (SocketAddr, Says, Arc<Mutex<Vec<String>>>) {
        let xray = Says::default();
        let says = Arc::clone(&xray);
        let forward = forward(move |_, _| {
            let answer = *says.lock().unwrap();
            async move {
                let (status, body) = answer.ok_or("no route")?;
                Ok((status, Bytes::from(body)))
            }
        });
        let listener = bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let (log, lines) = test_log::capture(Level::Debug);
        tokio::spawn(serve(listener, forward, log));
        (address, xray, lines)
    }

    #[tokio::test]
    async fn dmn_8_smp_18_what_is_answered_while_x_ray_is_and_is_not_reached() {
        let (address, xray, lines) = proxy();
        let ask = async |path: &str, body: &str| {
            send(address, &format!("POST {path} HTTP/1.1"), body.as_bytes()).await
        };
        assert_eq!(ask(RULES, "{}").await, 502, "nothing to answer with");
        *xray.lock().unwrap() = Some((StatusCode::FORBIDDEN, "{}"));
        assert_eq!(ask(RULES, "{}").await, 403, "no answer gets better by waiting");
        *xray.lock().unwrap() = Some((StatusCode::OK, "{\"SamplingRuleRecords\":[]}"));
        assert_eq!(ask(RULES, "{}").await, 200);
        assert_eq!(ask(TARGETS, "{\"SamplingStatisticsDocuments\":[1]}").await, 200);
        for unreachable in [None, Some((StatusCode::SERVICE_UNAVAILABLE, ""))] {
            *xray.lock().unwrap() = unreachable;
            assert_eq!(ask(RULES, "{}").await, 200, "the last answer");
            assert_eq!(ask(TARGETS, "{\"SamplingStatisticsDocuments\":[2]}").await, 200);
            assert_ne!(ask(RULES, "{\"NextToken\":\"a\"}").await, 200, "another page");
        }
        assert_eq!(lines.lock().unwrap().len(), 1, "said once");
    }

    #[tokio::test]
    async fn nothing_else_is_served_and_bodies_are_bounded() {
        let (address, xray, _) = proxy();
        *xray.lock().unwrap() = Some((StatusCode::OK, "{}"));
        let large = vec![b' '; MAX_BODY_BYTES + 1];
        for (line, body, status) in [
            ("POST /TraceSegments HTTP/1.1", &b"{}"[..], 404),
            ("GET /GetSamplingRules HTTP/1.1", b"", 404),
            ("POST /GetSamplingRules HTTP/1.1", &large, 413),
        ] {
            assert_eq!(send(address, line, body).await, status, "{line}");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut remembered = Remembered::default();
        let key = |number: usize| (RULES, Bytes::from(number.to_string()));
        for number in 0..100 {
            remembered.keep(key(number), &Bytes::from_static(b"{}"));
        }
        remembered.keep(key(99), &Bytes::from(vec![0; MAX_REMEMBERED_BYTES + 1]));
        assert_eq!(remembered.0.len(), MAX_REMEMBERED - 1);
        assert_eq!((remembered.get(&key(99)), remembered.get(&key(98)).is_some()), (None, true));
    }
}
