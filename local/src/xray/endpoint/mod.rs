//! The HTTP side: REST-JSON on a loopback address, signed requests only. Each is recorded, and answered by its operation
//! unless it meets a fault that was asked for.

mod connections;
mod faults;
mod operations;
mod resettable;
mod sampling;
mod signature;

pub use connections::{Connections, Cut};
pub use faults::{Fault, Faults};
pub use sampling::Sampling;

use crate::xray::traces::Store;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use resettable::{ResetHandle, Resettable};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;
const MAX_CONNECTIONS: usize = 256;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Requests remembered for the tests.
const MAX_RECORDED: usize = 20_000;
/// Headers whose values are not remembered.
const SECRET_HEADERS: &[&str] = &["x-amz-security-token"];

/// One request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedRequest {
    pub path: String,
    /// What was answered; 0 where a fault left no answer.
    pub status: u16,
    /// Of the body.
    pub bytes: usize,
    /// Documents in a `PutTraceSegments`, else 0.
    pub documents: usize,
    pub authorization: String,
    /// Where the connection came from: one port is one connection.
    pub peer: SocketAddr,
    /// By name in lower case. Where a header came twice, the last value. Session tokens are left out.
    pub headers: BTreeMap<String, String>,
}

impl RecordedRequest {
    /// The key it was signed with.
    pub fn access_key_id(&self) -> Option<&str> {
        let (_, credential) = self.authorization.split_once("Credential=")?;
        Some(credential.split_once('/')?.0)
    }
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
    sampling: Sampling,
    connections: Connections,
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
        let _ = crate::xray::document::validate(
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

    pub fn sampling(&self) -> Sampling {
        self.shared.sampling.clone()
    }

    pub fn connections(&self) -> Connections {
        self.shared.connections.clone()
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
    let free = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Dropped with the server, so that no connection outlives the endpoint.
    let mut connections = JoinSet::new();
    while let Ok(permit) = Arc::clone(&free).acquire_owned().await {
        let Ok((stream, peer)) = listener.accept().await else {
            // Out of file descriptors: asking again at once would only burn time.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let shared = shared.clone();
        connections.spawn(async move {
            let stream = Resettable::new(stream);
            let reset = stream.handle();
            let mut cut = shared.connections.watch();
            let service = service_fn(|request| answer(request, shared.clone(), peer, reset.clone()));
            let connection =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::pin!(connection);
            tokio::select! {
                _ = &mut connection => {}
                Ok(()) = cut.changed() => {
                    let cut = *cut.borrow_and_update();
                    match cut {
                        Cut::Close => {}
                        Cut::Reset => reset.reset(),
                        Cut::Stall => std::future::pending().await,
                    }
                }
            }
            drop(permit);
        });
    }
}

/// The error that makes hyper close the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("closed on request")]
struct Closed;

/// A status with an error type and a message, or the answer.
type Answer = Result<Value, (u16, &'static str, String)>;

async fn answer(
    request: Request<Incoming>,
    shared: Shared,
    peer: SocketAddr,
    reset: ResetHandle,
) -> Result<Response<Full<Bytes>>, Closed> {
    let (head, body) = request.into_parts();
    let body = read(body).await;
    let fault = shared.faults.next();
    let path = head.uri.path().to_owned();
    let mut documents = 0;
    let answer = match (&fault, &body) {
        (Some(Fault::Status(status, kind) | Fault::StatusWith(status, kind, _)), _) => {
            Err((*status, *kind, "on request".to_owned()))
        }
        (Some(Fault::Close | Fault::Reset | Fault::Hang), _) => Err((0, "", String::new())),
        (_, Err((status, kind, message))) => Err((*status, *kind, message.clone())),
        (_, Ok(_)) if head.method != Method::POST => Err((
            404,
            "UnknownOperationException",
            format!("{} {path} is not an operation: they are all POST", head.method),
        )),
        (_, Ok(body)) => {
            signature::check(&head.headers).map_err(|(kind, message)| (403, kind, message)).and_then(|()| {
                operations::dispatch(&path, body, &shared.store, &shared.faults, &shared.sampling)
            })
        }
    };
    if path == "/TraceSegments" {
        documents = body.as_deref().map_or(0, operations::count_documents);
    }
    let status = answer.as_ref().map_or_else(|(status, ..)| *status, |_| 200);
    let headers = recorded(&head.headers);
    shared.record(RecordedRequest {
        path,
        status,
        bytes: body.as_ref().map_or(0, Bytes::len),
        documents,
        peer,
        authorization: headers.get("authorization").cloned().unwrap_or_default(),
        headers,
    });
    match fault {
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Close | Fault::LoseAnswer) => return Err(Closed),
        Some(Fault::Reset) => {
            reset.reset();
            return Err(Closed);
        }
        Some(Fault::Delay(time)) => tokio::time::sleep(time).await,
        Some(Fault::StatusWith(_, _, headers)) => {
            let mut response = response(&answer);
            for (name, value) in headers {
                if let Ok(value) = value.parse() {
                    response.headers_mut().insert(name, value);
                }
            }
            return Ok(response);
        }
        Some(Fault::Status(..)) | None => {}
    }
    Ok(response(&answer))
}

async fn read(body: Incoming) -> Result<Bytes, (u16, &'static str, String)> {
    let collected = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY_BYTES).collect());
    match collected.await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let message = format!("the body is larger than {MAX_BODY_BYTES} bytes");
            Err((413, "RequestEntityTooLargeException", message))
        }
        Ok(Err(error)) => Err((400, "InvalidRequestException", format!("the body broke off: {error}"))),
        Err(_) => Err((408, "RequestTimeoutException", "the body did not arrive in time".to_owned())),
    }
}

fn recorded(headers: &HeaderMap) -> BTreeMap<String, String> {
    headers
        .iter()
        .filter(|(name, _)| !SECRET_HEADERS.contains(&name.as_str()))
        .map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect()
}

impl Shared {
    fn record(&self, request: RecordedRequest) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        if requests.len() < MAX_RECORDED {
            requests.push(request);
        }
    }
}

fn response(answer: &Answer) -> Response<Full<Bytes>> {
    let body = match answer {
        Ok(answer) => answer.to_string(),
        Err((_, _, message)) => json!({"Message": message}).to_string(),
    };
    let mut response = Response::new(Full::from(body));
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    if let Ok(id) = uuid::Uuid::new_v4().to_string().parse() {
        headers.insert("x-amzn-requestid", id);
    }
    if let Err((status, kind, _)) = answer {
        if let Ok(kind) = kind.parse() {
            headers.insert("x-amzn-errortype", kind);
        }
        *response.status_mut() = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    }
    response
}
