//! The HTTP side: REST-JSON on a loopback address, signed requests only.

use super::api;
use super::faults::{Fault, Faults};
use super::store::Store;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;
/// Requests remembered for the tests.
const MAX_RECORDED: usize = 100_000;

/// One request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedRequest {
    pub path: String,
    pub status: u16,
    pub bytes: usize,
    /// Documents in a `PutTraceSegments`, else 0.
    pub documents: usize,
    pub authorization: String,
}

/// A running endpoint. It ends when it is dropped.
#[derive(Debug)]
pub struct Endpoint {
    address: SocketAddr,
    shared: Shared,
    server: JoinHandle<()>,
}

#[derive(Debug, Clone, Default)]
struct Shared {
    store: Store,
    faults: Faults,
    requests: Arc<Mutex<Vec<RecordedRequest>>>,
}

impl Endpoint {
    /// Listens on `address`, which must be a loopback one; port 0 takes any free port.
    pub async fn start(address: SocketAddr) -> io::Result<Self> {
        if !address.ip().is_loopback() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{address} is not a loopback address"),
            ));
        }
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Shared::default();
        // The first document costs the compilation of the patterns: not in the tail of somebody's first invocation.
        let _ = super::validate(
            r#"{"name":"a","id":"0123456789abcdef","trace_id":"1-00000000-0123456789abcdef01234567"}"#,
        );
        let server = tokio::spawn(serve(listener, shared.clone()));
        Ok(Self { address, shared, server })
    }

    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The value for `AWS_ENDPOINT_URL_XRAY`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn store(&self) -> Store {
        self.shared.store.clone()
    }

    pub fn faults(&self) -> Faults {
        self.shared.faults.clone()
    }

    /// Every request so far, answered or not.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, shared: Shared) {
    // Dropped with the server, so that no connection outlives the endpoint.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        let shared = shared.clone();
        connections.spawn(async move {
            let service = service_fn(|request| answer(request, shared.clone()));
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// The error that makes hyper close the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("closed on request")]
struct Closed;

async fn answer(request: Request<Incoming>, shared: Shared) -> Result<Response<Full<Bytes>>, Closed> {
    let path = request.uri().path().to_owned();
    let header =
        |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let authorization = header("authorization").to_owned();
    let signed = authorization.starts_with("AWS4-HMAC-SHA256 Credential=")
        && authorization.contains("/xray/aws4_request")
        && !header("x-amz-date").is_empty();
    let body = match Limited::new(request.into_body(), MAX_BODY_BYTES).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(_) => return Err(Closed),
    };
    let fault = shared.faults.next();
    let (status, answer) = match &fault {
        Some(Fault::Status(status, kind)) => (*status, Err((*kind, "on request".to_owned()))),
        Some(Fault::Close | Fault::Hang) => (0, Err(("", String::new()))),
        _ if !signed => (
            403,
            Err(("MissingAuthenticationTokenException", "the request is not signed for xray".to_owned())),
        ),
        _ => match api::dispatch(&path, &body, &shared.store) {
            Ok(answer) => (200, Ok(answer)),
            Err((status, kind, message)) => (status, Err((kind, message))),
        },
    };
    shared.record(RecordedRequest {
        documents: if path == "/TraceSegments" { api::count_documents(&body) } else { 0 },
        path,
        status,
        bytes: body.len(),
        authorization,
    });
    match fault {
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Close) => return Err(Closed),
        Some(Fault::Delay(time)) => tokio::time::sleep(time).await,
        Some(Fault::Status(..)) | None => {}
    }
    Ok(match answer {
        Ok(answer) => response(status, None, &answer),
        Err((kind, message)) => response(status, Some(kind), &json!({"message": message})),
    })
}

impl Shared {
    fn record(&self, request: RecordedRequest) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        if requests.len() < MAX_RECORDED {
            requests.push(request);
        }
    }
}

fn response(status: u16, error: Option<&str>, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    if let Some(kind) = error.and_then(|kind| kind.parse().ok()) {
        headers.insert("x-amzn-errortype", kind);
    }
    response
}
