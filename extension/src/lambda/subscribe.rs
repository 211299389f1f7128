//! The subscription to the platform's records: `PUT /2022-07-01/telemetry` (section 6.1), on a connection of its own.
//!
//! It is written before the first `next`, on a connection that was opened while the registration was answered: after the
//! initialisation Lambda takes no subscription any more. Nobody waits for its answer.

use crate::log::{Level, Log};
use crate::receive::telemetry_http::MAX_BYTES;
use serde_json::{Value, json};
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;

/// The newest first: it is the only one that Managed Instances take.
const SCHEMAS: [&str; 3] = ["2025-01-29", "2022-12-13", "2022-07-01"];
const MAX_ITEMS: u32 = 1000;
/// The least that Lambda takes, in milliseconds.
const TIMEOUT_MS: u32 = 25;
const CONNECT_TIME: Duration = Duration::from_millis(200);
const ANSWER_TIME: Duration = Duration::from_secs(5);
const MAX_ANSWER_BYTES: u64 = 4096;

/// What Lambda said to a subscription.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Subscribed,
    /// 202: the platform has no telemetry, as in the emulators.
    NoneWillCome,
    /// 400: with an older schema it may do.
    Invalid(String),
    Refused(String),
}

/// Opens a connection to the platform. It blocks for as long as the platform beside this process takes to accept it.
pub(super) fn connect(api: &str) -> std::io::Result<TcpStream> {
    let address: SocketAddr = api
        .to_socket_addrs()?
        .next()
        .ok_or(std::io::Error::other("AWS_LAMBDA_RUNTIME_API has no address"))?;
    TcpStream::connect_timeout(&address, CONNECT_TIME)
}

/// Sends the subscription, and sees to its answer later. What goes wrong costs one line and the records.
pub(super) fn subscribe(
    connection: std::io::Result<TcpStream>,
    api: &str,
    extension_id: &str,
    uri: String,
    log: Log,
) {
    let first = connection.and_then(|connection| put(connection, api, extension_id, SCHEMAS[0], &uri));
    let (api, extension_id) = (api.to_owned(), extension_id.to_owned());
    tokio::spawn(async move {
        let mut written = first;
        let mut older = SCHEMAS[1..].iter();
        let trouble = loop {
            let answered = match written {
                Ok(stream) => tokio::time::timeout(ANSWER_TIME, answer(stream)).await,
                Err(error) => break error.to_string(),
            };
            match answered {
                Ok(Ok(Answer::Subscribed)) => return,
                Ok(Ok(Answer::NoneWillCome)) => {
                    log.say(Level::Debug, "the platform has no telemetry: going on without it");
                    return;
                }
                Ok(Ok(Answer::Invalid(message))) => match older.next() {
                    Some(schema) => {
                        let connection = connect(&api);
                        written = connection
                            .and_then(|connection| put(connection, &api, &extension_id, schema, &uri));
                    }
                    None => break message,
                },
                Ok(Ok(Answer::Refused(message))) => break message,
                Ok(Err(error)) => break error.to_string(),
                Err(_) => break "no answer".to_owned(),
            }
        };
        log.say(
            Level::Warn,
            format_args!(
                "the Telemetry API is not available ({trouble}): going on without it; to try no more, set \
                 OTEL_XRAY_PLATFORM_EVENTS=false"
            ),
        );
    });
}

/// Writes one request.
fn put(
    mut connection: TcpStream,
    api: &str,
    extension_id: &str,
    schema: &str,
    uri: &str,
) -> std::io::Result<TcpStream> {
    connection.write_all(request(api, extension_id, &body(schema, uri)).as_bytes())?;
    connection.set_nonblocking(true)?;
    Ok(connection)
}

fn body(schema: &str, uri: &str) -> Value {
    json!({
        "schemaVersion": schema,
        "types": ["platform"],
        "buffering": {"maxItems": MAX_ITEMS, "maxBytes": MAX_BYTES, "timeoutMs": TIMEOUT_MS},
        "destination": {"protocol": "HTTP", "URI": uri},
    })
}

fn request(api: &str, extension_id: &str, body: &Value) -> String {
    let body = body.to_string();
    format!(
        "PUT /2022-07-01/telemetry HTTP/1.1\r\nHost: {api}\r\nLambda-Extension-Identifier: {extension_id}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

async fn answer(stream: TcpStream) -> std::io::Result<Answer> {
    let mut text = Vec::new();
    tokio::net::TcpStream::from_std(stream)?.take(MAX_ANSWER_BYTES).read_to_end(&mut text).await?;
    Ok(judge(&String::from_utf8_lossy(&text)))
}

fn judge(answer: &str) -> Answer {
    let status = answer.split(' ').nth(1).unwrap_or_default();
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let shown: String = body.chars().filter(|c| !c.is_control()).take(200).collect();
    match status {
        "202" => Answer::NoneWillCome,
        _ if status.starts_with('2') => Answer::Subscribed,
        "400" => Answer::Invalid(format!("{status} {shown}")),
        _ => Answer::Refused(format!("{status} {shown}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn section_6_1_a_subscription_within_the_limits_for_platform_records_alone() {
        let body = body("2025-01-29", "http://sandbox.localdomain:4243/x");
        assert_eq!(
            body,
            json!({
                "schemaVersion": "2025-01-29", "types": ["platform"],
                "buffering": {"maxItems": 1000, "maxBytes": 262_144, "timeoutMs": 25},
                "destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain:4243/x"},
            })
        );
        let request = request("127.0.0.1:9001", "an-id", &body);
        let (head, text) = request.split_once("\r\n\r\n").unwrap();
        assert_eq!(text, body.to_string());
        assert!(head.starts_with("PUT /2022-07-01/telemetry HTTP/1.1\r\n"), "{head}");
        assert!(head.contains(&format!("Content-Length: {}\r\n", text.len())), "{head}");
    }

    #[test]
    fn t_4_202_means_that_nothing_will_come() {
        for (text, expected) in [
            ("HTTP/1.1 200 OK\r\n\r\n\"OK\"", Answer::Subscribed),
            ("HTTP/1.1 202 Accepted\r\n\r\n{}", Answer::NoneWillCome),
            ("HTTP/1.1 400 Bad Request\r\n\r\nno", Answer::Invalid("400 no".to_owned())),
            ("HTTP/1.1 403 Forbidden\r\n\r\nlate\n", Answer::Refused("403 late".to_owned())),
            ("", Answer::Refused(" ".to_owned())),
        ] {
            assert_eq!(judge(text), expected, "{text}");
        }
    }

    #[tokio::test]
    async fn l_6_1_an_older_schema_is_tried_where_the_newest_is_refused() {
        let platform = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let api = platform.local_addr().unwrap().to_string();
        let (seen_in, seen) = std::sync::mpsc::channel();
        let server = std::thread::spawn(move || {
            for status in ["400 Bad Request", "200 OK"] {
                let (mut stream, _) = platform.accept().unwrap();
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).unwrap();
                seen_in.send(String::from_utf8_lossy(&request[..length]).into_owned()).unwrap();
                write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").unwrap();
            }
        });
        let mut schemas = Vec::new();
        for schema in SCHEMAS {
            let answer = answer(
                put(connect(&api).unwrap(), &api, "an-id", schema, "http://sandbox.localdomain:1/").unwrap(),
            )
            .await
            .unwrap();
            schemas.push(seen.recv().unwrap().contains(&format!("\"schemaVersion\":\"{schema}\"")));
            if answer == Answer::Subscribed {
                break;
            }
        }
        assert_eq!(schemas, [true, true]);
        server.join().unwrap();
    }
}
