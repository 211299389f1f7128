//! The one HTTP/1.1 server behind `AWS_LAMBDA_RUNTIME_API` (SIM-2).

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::local_endpoints::{self, CREDENTIALS_PATH, METADATA_PATH};
use super::{extensions, runtime};
use crate::lambda::config::InitializationType;
use crate::lambda::event_log::{Event, Origin};
use crate::lambda::state::Platform;
use crate::lambda::state::runtime::RESPONSE_LIMIT_BYTES;

/// More connections than 10 extensions and a runtime need; further ones wait.
const CONNECTION_LIMIT: usize = 256;
/// Room for a header with 1 MB of X-Ray cause, as the Python runtime client sends it (section 2).
const HEAD_LIMIT_BYTES: usize = 1_280 * 1024;
/// How much of a too large body is read, so that its sender gets to read the refusal.
const DRAIN_LIMIT_BYTES: usize = 64 * 1024 * 1024;

/// An answer on its way out; the error type goes to the event log.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) response: Response<Full<Bytes>>,
    pub(crate) error_type: Option<&'static str>,
}

impl Reply {
    pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> Self {
        let mut response = Response::new(Full::new(body.into()));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Self { response, error_type: None }
    }

    /// `{"errorMessage":…,"errorType":…}` (L-4.2).
    pub(crate) fn error(status: StatusCode, error_type: &'static str, message: &str) -> Self {
        let body = json!({"errorMessage": message, "errorType": error_type}).to_string();
        Self { error_type: Some(error_type), ..Self::json(status, body) }
    }

    pub(crate) fn accepted() -> Self {
        Self::json(StatusCode::ACCEPTED, r#"{"status":"OK"}"#)
    }

    /// Adds a header; a value that no header can carry is left out.
    pub(crate) fn with_header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.response.headers_mut().insert(name, value);
        }
        self
    }
}

/// A request whose body has been read.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    /// Cut off one byte past the response limit.
    pub(crate) body: Bytes,
    pub(crate) trailers: HeaderMap,
}

impl Call {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// The running server; dropping it closes the port and every connection.
#[derive(Debug)]
pub(crate) struct ApiServer {
    pub(crate) address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl ApiServer {
    /// Binds an ephemeral port on the loopback address.
    pub(crate) async fn bind() -> io::Result<(TcpListener, SocketAddr)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    }

    pub(crate) fn serve(listener: TcpListener, address: SocketAddr, platform: Arc<Platform>) -> Self {
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, platform));
        Self { address, _tasks: tasks }
    }
}

async fn accept(listener: TcpListener, platform: Arc<Platform>) {
    let slots = Arc::new(Semaphore::new(CONNECTION_LIMIT));
    let mut connections = JoinSet::new();
    loop {
        // The semaphore is never closed.
        let Ok(slot) = slots.clone().acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, or the client is gone already: neither ends the server.
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let platform = platform.clone();
        connections.spawn(async move {
            serve_connection(stream, platform).await;
            drop(slot);
        });
    }
}

async fn serve_connection(stream: TcpStream, platform: Arc<Platform>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let platform = platform.clone();
        async move { Ok::<_, Infallible>(answer(&platform, request).await) }
    });
    // A client that goes away in the middle of an exchange is its own affair.
    let _ = http1::Builder::new()
        .max_buf_size(HEAD_LIMIT_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(platform: &Platform, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let (method, path) = (head.method.to_string(), head.uri.path().to_owned());
    let Ok((body, trailers)) = read_body(body).await else {
        return Reply::error(StatusCode::BAD_REQUEST, "InvalidRequestFormat", "the body ended early")
            .response;
    };
    let call = Call { method: head.method, path: path.clone(), headers: head.headers, body, trailers };
    let origin = caller(platform, &call);
    platform.log.push(Event::ApiCall { origin: origin.clone(), method: method.clone(), path: path.clone() });
    let reply = route(platform, &call).await;
    let status = reply.response.status().as_u16();
    let error_type = reply.error_type.map(str::to_owned);
    platform.log.push(Event::ApiAnswer { origin, method, path, status, error_type });
    reply.response
}

async fn route(platform: &Platform, call: &Call) -> Reply {
    if let Some(rest) = call.path.strip_prefix("/2018-06-01") {
        return runtime::answer(platform, call, rest).await;
    }
    if let Some(rest) = call.path.strip_prefix("/2020-01-01/extension") {
        return extensions::answer(platform, call, rest).await;
    }
    let config = &platform.config;
    match (&call.method, call.path.as_str()) {
        (&Method::GET, CREDENTIALS_PATH) if config.initialization_type == InitializationType::SnapStart => {
            return local_endpoints::credentials(platform, call);
        }
        (&Method::GET, METADATA_PATH) => return local_endpoints::metadata(platform, call),
        _ => {}
    }
    if call.path == "/2022-07-01/telemetry" {
        return extensions::subscribe(platform, call);
    }
    not_found(call)
}

pub(crate) fn not_found(call: &Call) -> Reply {
    let message = format!("{} {} is not part of the API", call.method, call.path);
    Reply::error(StatusCode::NOT_FOUND, "NotFound", &message)
}

/// Reads a body to its end, keeps at most one byte more than a response may have.
async fn read_body(mut body: Incoming) -> Result<(Bytes, HeaderMap), hyper::Error> {
    let mut kept = BytesMut::new();
    let mut seen = 0;
    let mut trailers = HeaderMap::new();
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) => {
                let room = (RESPONSE_LIMIT_BYTES + 1).saturating_sub(kept.len());
                kept.extend_from_slice(&data[..data.len().min(room)]);
                seen += data.len();
            }
            Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
        }
        if seen > DRAIN_LIMIT_BYTES {
            break;
        }
    }
    Ok((kept.freeze(), trailers))
}

fn caller(platform: &Platform, call: &Call) -> Origin {
    if call.path.starts_with("/2018-06-01") {
        return Origin::Runtime;
    }
    if let Some(name) = call.header("lambda-extension-name").filter(|name| !name.is_empty()) {
        return Origin::Extension(name.to_owned());
    }
    let identifier = call.header("lambda-extension-identifier");
    platform.read(|state| match state.extensions.identify(identifier) {
        Ok(extension) => Origin::Extension(extension.name.clone()),
        Err(_) => Origin::Unknown,
    })
}
