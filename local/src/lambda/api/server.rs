//! The one HTTP/1.1 server behind `AWS_LAMBDA_RUNTIME_API` (SIM-2): reads a call, logs it, and hands it to its API.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::call::{Call, Reply, not_found};
use super::local_endpoints::{self, CREDENTIALS_PATH, METADATA_PATH};
use super::{extensions, runtime, telemetry};
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
        return telemetry::subscribe(platform, call);
    }
    not_found(call)
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
    if let Some(name) = call.extension_name().filter(|name| !name.is_empty()) {
        return Origin::Extension(name.to_owned());
    }
    let identifier = call.extension_identifier();
    platform.read(|state| match state.extensions.identify(identifier) {
        Ok(extension) => Origin::Extension(extension.name.clone()),
        Err(_) => Origin::Unknown,
    })
}
