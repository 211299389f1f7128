//! The HTTP server under every receiver that speaks HTTP: HTTP/1.1, and everything bounded: connections, headers,
//! bodies and time.

use super::stalled_write::Impatient;
use crate::log::{Level, Log};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

const MAX_CONNECTIONS: usize = 64;
const HEADER_TIME: Duration = Duration::from_secs(5);
const BODY_TIME: Duration = Duration::from_secs(5);
/// How long a client may take to read some of its answer.
const ANSWER_TIME: Duration = Duration::from_secs(5);

pub(super) type Answer = Pin<Box<dyn Future<Output = Response<Full<Bytes>>> + Send>>;
/// Answers one request. Not a type parameter: one server in the binary is enough.
pub(super) type Handler = Arc<dyn Fn(Request<Incoming>) -> Answer + Send + Sync>;

/// Why a body could not be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the body is over the limit")]
    TooLarge,
    #[error("the body did not arrive in time")]
    Slow,
    #[error("the body could not be read: {0}")]
    Broken(String),
}

/// Binds a receiver's address.
pub(super) fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Accepts for ever, at most so many connections at once. One ends when its task does.
pub(super) async fn accept<F>(
    listener: TcpListener,
    log: Log,
    mut connected: impl FnMut(TcpStream) -> Option<F>,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                log.once(
                    "http-accept",
                    Level::Warn,
                    format_args!("a local client could not connect: {error}"),
                );
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        if let Some(connection) = connected(stream) {
            tokio::spawn(async move {
                connection.await;
                drop(place);
            });
        }
    }
}

/// Serves for ever. A connection that `may_enter` does not let in is closed.
pub(super) async fn serve(
    listener: TcpListener,
    may_enter: fn(&TcpStream) -> bool,
    handler: Handler,
    log: Log,
) {
    let connected = |stream: TcpStream| {
        let handler = Arc::clone(&handler);
        may_enter(&stream).then_some(serve_one(stream, handler))
    };
    accept(listener, log, connected).await;
}

async fn serve_one(stream: impl AsyncRead + AsyncWrite + Unpin, handler: Handler) {
    let service = service_fn(|request| {
        let answer = handler(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let stream = Impatient::new(stream, ANSWER_TIME);
    // A client that goes away in the middle of a request has nothing to be told.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// Reads a body of at most `limit` bytes. What is over is read too, and thrown away: who is still sending hears nothing.
pub(super) async fn read_body(mut body: Incoming, limit: usize) -> Result<Bytes, BodyError> {
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut whole = Vec::with_capacity(expected.min(limit));
    let mut read = 0;
    let reading = async {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| BodyError::Broken(error.to_string()))?;
            let data = frame.into_data().unwrap_or_default();
            read += data.len();
            if read <= limit {
                whole.extend_from_slice(&data);
            } else {
                whole = Vec::new();
            }
        }
        Ok(())
    };
    let in_time = tokio::time::timeout(BODY_TIME, reading).await;
    if read > limit {
        return Err(BodyError::TooLarge);
    }
    in_time.map_err(|_| BodyError::Slow)?.map(|()| whole.into())
}

/// A client for the tests of what is served here.
#[cfg(test)]
pub(super) mod test_client {
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    /// Sends a request whose first lines are `head`, and returns the answer's status.
    pub(in crate::receive) async fn send(address: SocketAddr, head: &str, body: &[u8]) -> u16 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head =
            format!("{head}\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).await.unwrap();
        let _ = stream.write_all(body).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer)[9..12].parse().unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;

    #[tokio::test(start_paused = true)]
    async fn sim_21_a_client_that_never_reads_its_answers_is_cut_off() {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let handler: Handler =
            Arc::new(|_| Box::pin(async { Response::new(Full::new(Bytes::from(vec![b'a'; 512]))) }));
        let client = tokio::spawn(async move {
            let mut requests = 0;
            while theirs.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.is_ok() {
                requests += 1;
            }
            requests
        });
        let begun = tokio::time::Instant::now();
        serve_one(ours, handler).await;
        assert!(begun.elapsed() >= ANSWER_TIME, "it had its time");
        assert!(begun.elapsed() < ANSWER_TIME * 2, "{:?}", begun.elapsed());
        assert!(client.await.unwrap() > 2, "it sent as long as anybody took it");
    }
}
