//! A loop that goes on whatever an event looks like. It takes over when `lambda-extension`'s loop has stopped.

use super::{Event, Invoke, Shutdown, Turn, take_turn};
use crate::log::{Level, Log};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

const MAX_EVENT_BYTES: usize = 1024 * 1024;

#[derive(Debug, thiserror::Error)]
enum NextError {
    #[error("AWS_LAMBDA_RUNTIME_API is not set")]
    NoAddress,
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error(transparent)]
    Request(#[from] http::Error),
    #[error("the event could not be read: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("Lambda answered {0}")]
    Status(StatusCode),
}

/// Serves events until SHUTDOWN.
pub(super) async fn run(extension_id: &str, turns: &mpsc::Sender<Turn>, log: &Log) {
    let mut pause = Duration::from_millis(20);
    loop {
        match next(extension_id).await {
            Ok(body) => {
                pause = Duration::from_millis(20);
                if let Some(event) = parse(&body) {
                    let last = matches!(event, Event::Shutdown(_));
                    take_turn(turns, event).await;
                    if last {
                        return;
                    }
                }
            }
            Err(error) => {
                log.once(
                    "next",
                    Level::Error,
                    format_args!("could not get the next event, trying again: {error}"),
                );
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
        }
    }
}

/// Asks for one event on a connection of its own. No time limit: it may take hours (L-5.3).
async fn next(extension_id: &str) -> Result<Bytes, NextError> {
    let address = std::env::var("AWS_LAMBDA_RUNTIME_API").map_err(|_| NextError::NoAddress)?;
    let stream = TcpStream::connect(&address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get("/2020-01-01/extension/event/next")
        .header("host", &address)
        .header("Lambda-Extension-Identifier", extension_id)
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body =
        Limited::new(response.into_body(), MAX_EVENT_BYTES).collect().await.map_err(NextError::Body)?;
    connection.abort();
    if status.is_success() { Ok(body.to_bytes()) } else { Err(NextError::Status(status)) }
}

/// Reads what is there and invents nothing: every field but `eventType` may be missing (L-5.7, L-5.9).
fn parse(body: &[u8]) -> Option<Event> {
    let event: Value = serde_json::from_slice(body).ok()?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let deadline_ms = event["deadlineMs"].as_u64().unwrap_or(0);
    match event["eventType"].as_str()? {
        "INVOKE" => Some(Event::Invoke(Invoke {
            request_id: text(&event["requestId"]),
            deadline_ms,
            function_arn: text(&event["invokedFunctionArn"]),
            trace_header: text(&event["tracing"]["value"]),
        })),
        "SHUTDOWN" => Some(Event::Shutdown(Shutdown { reason: text(&event["shutdownReason"]), deadline_ms })),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t_10_unknown_and_missing_fields_are_no_failure() {
        let full = br#"{"eventType":"INVOKE","deadlineMs":5,"requestId":"r","invokedFunctionArn":"a","tracing":{"value":"Root=1"},"new":[]}"#;
        let invoke = Invoke {
            request_id: "r".into(),
            deadline_ms: 5,
            function_arn: "a".into(),
            trace_header: "Root=1".into(),
        };
        assert_eq!(parse(full), Some(Event::Invoke(invoke)));
        assert_eq!(parse(br#"{"eventType":"INVOKE"}"#), Some(Event::Invoke(Invoke::default())));
        let shutdown = Shutdown { reason: "ReserveFail".into(), deadline_ms: 0 };
        assert_eq!(
            parse(br#"{"eventType":"SHUTDOWN","shutdownReason":"ReserveFail"}"#),
            Some(Event::Shutdown(shutdown))
        );
        assert_eq!(parse(br#"{"eventType":"RESTORE"}"#), None);
        assert_eq!(parse(b"not json"), None);
    }
}
