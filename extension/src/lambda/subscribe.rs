//! The subscription to the platform's records: `PUT /2022-07-01/telemetry` (section 6.1).
//!
//! It is answered before the first `next` is asked for: after the initialisation Lambda takes no subscription any more,
//! and the extension's own `next` may be what ends it.

use super::api::{Api, ApiError};
use crate::log::{Level, Log};
use crate::receive::telemetry::http::MAX_BYTES;
use http::StatusCode;
use serde_json::{Value, json};
use std::time::Duration;

/// The newest first: it is the only one that Managed Instances take.
const SCHEMAS: [&str; 3] = ["2025-01-29", "2022-12-13", "2022-07-01"];
const MAX_ITEMS: u32 = 1000;
/// The least that Lambda takes, in milliseconds.
const TIMEOUT_MS: u32 = 25;
/// The initialisation waits for it.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// Asks for the records. What goes wrong costs one line and the records.
pub(super) async fn subscribe(api: &mut Api, extension_id: &str, uri: &str, log: &Log) {
    let mut trouble = String::new();
    for schema in SCHEMAS {
        let answer = tokio::time::timeout(ANSWER_TIME, api.subscribe(extension_id, &body(schema, uri))).await;
        match answer {
            // 202: in the emulators.
            Ok(Ok(StatusCode::ACCEPTED)) => {
                log.say(Level::Debug, "the platform has no telemetry: going on without it");
                return;
            }
            Ok(Ok(_)) => return,
            // With an older schema it may do.
            Ok(Err(error @ ApiError::Refused { status: StatusCode::BAD_REQUEST, .. })) => {
                trouble = error.to_string();
            }
            Ok(Err(error)) => {
                trouble = error.to_string();
                break;
            }
            Err(_) => {
                trouble = format!("no answer within {} s", ANSWER_TIME.as_secs());
                break;
            }
        }
    }
    log.say(
        Level::Warn,
        format_args!(
            "the Telemetry API is not available ({trouble}): going on without it; to try no more, set \
             OTEL_XRAY_PLATFORM_EVENTS=false"
        ),
    );
}

fn body(schema: &str, uri: &str) -> Value {
    json!({
        "schemaVersion": schema,
        "types": ["platform"],
        "buffering": {"maxItems": MAX_ITEMS, "maxBytes": MAX_BYTES, "timeoutMs": TIMEOUT_MS},
        "destination": {"protocol": "HTTP", "URI": uri},
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::test_log::capture;
    use std::io::{Read as _, Write as _};

    /// What a platform that gives these answers, on one connection, is asked with; and what is said of it.
    async fn asked(answers: &'static [&'static str]) -> (Vec<String>, String) {
        let platform = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = platform.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = platform.accept().unwrap();
            let mut requests = Vec::new();
            for answer in answers {
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).unwrap();
                requests.push(String::from_utf8_lossy(&request[..length]).into_owned());
                write!(stream, "HTTP/1.1 {answer}").unwrap();
            }
            requests
        });
        let (log, said) = capture(Level::Info);
        subscribe(&mut Api::new(address), "an-id", "http://sandbox.localdomain:4243/x", &log).await;
        let said = said.lock().unwrap().join("\n");
        (server.join().unwrap(), said)
    }

    #[tokio::test]
    async fn section_6_1_a_subscription_within_the_limits_for_platform_records_alone() {
        let (requests, said) = asked(&["200 OK\r\ncontent-length: 4\r\n\r\n\"OK\""]).await;
        assert_eq!(said, "");
        let (head, text) = requests[0].split_once("\r\n\r\n").unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(text).unwrap(),
            json!({
                "schemaVersion": "2025-01-29", "types": ["platform"],
                "buffering": {"maxItems": 1000, "maxBytes": 262_144, "timeoutMs": 25},
                "destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain:4243/x"},
            })
        );
        assert!(head.starts_with("PUT /2022-07-01/telemetry HTTP/1.1\r\n"), "{head}");
        assert!(head.to_lowercase().contains("lambda-extension-identifier: an-id\r\n"), "{head}");
    }

    #[tokio::test]
    async fn l_6_1_an_older_schema_is_tried_where_the_newest_is_refused() {
        const NO: &str =
            "400 Bad Request\r\ncontent-length: 42\r\n\r\n{\"errorType\":\"No\",\"errorMessage\":\"not so\"}";
        let schemas = |requests: Vec<String>| -> Vec<&str> {
            let named = |request: &String| SCHEMAS.into_iter().find(|schema| request.contains(schema));
            requests.iter().filter_map(named).collect()
        };
        let (requests, said) = asked(&[NO, "200 OK\r\ncontent-length: 0\r\n\r\n"]).await;
        assert_eq!((schemas(requests), said.as_str()), (SCHEMAS[..2].to_vec(), ""));
        let (requests, said) = asked(&[NO, NO, NO]).await;
        assert_eq!(schemas(requests), SCHEMAS);
        assert!(said.contains("(Lambda answered 400 Bad Request: No not so)"), "{said}");
    }

    #[tokio::test]
    async fn t_4_202_means_that_nothing_will_come_and_a_refusal_costs_one_line() {
        let (_, said) = asked(&["202 Accepted\r\ncontent-length: 2\r\n\r\n{}"]).await;
        assert_eq!(said, "");
        let (requests, said) = asked(&["403 Forbidden\r\ncontent-length: 4\r\n\r\nlate"]).await;
        assert_eq!((requests.len(), said.lines().count()), (1, 1), "{said}");
        assert!(said.contains("403 Forbidden)"), "a body is not for the log: {said}");
    }
}
