//! A scripted external extension for the environment's own tests.
//!
//! `FAKE_EXTENSION` holds a JSON object: extension name (or `*`) to its script. It prints what it sees, one line each.

mod fake_http;

use std::collections::BTreeMap;
use std::io::{BufReader, Write};
use std::net::TcpListener;
use std::thread::sleep;
use std::time::Duration;

use fake_http::{Api, Outcome, Response, read_message};
use serde::Deserialize;

/// Numbers of invocations count from 1; 0 means never.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Script {
    events: Vec<String>,
    /// `register`, `next` or `shutdown`: goes to sleep instead.
    hang_at: String,
    /// `init` or `invoke`: subscribes to telemetry there.
    subscribe_at: String,
    init_error: bool,
    /// Registers without INVOKE when it is refused (L-8.26).
    falls_back: bool,
    /// Exits so long after its start.
    exit_ms: u64,
    writes_to_tmp: bool,
    tail_ms: u64,
    exit_on_invoke: usize,
    exit_error_on_invoke: usize,
    exit_status: i32,
    /// Prints after the `next` of an invocation was sent: seen only when the process is not frozen.
    chatter_ms: u64,
    shutdown_ms: u64,
    last_line: String,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            events: vec!["INVOKE".to_owned(), "SHUTDOWN".to_owned()],
            hang_at: String::new(),
            subscribe_at: String::new(),
            init_error: false,
            falls_back: false,
            exit_ms: 0,
            writes_to_tmp: false,
            tail_ms: 0,
            exit_on_invoke: 0,
            exit_error_on_invoke: 0,
            exit_status: 0,
            chatter_ms: 0,
            shutdown_ms: 0,
            last_line: String::new(),
        }
    }
}

/// Prints every telemetry batch, one record a line.
fn listen(listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        let mut reader = BufReader::new(stream);
        let Ok((first, _, body)) = read_message(&mut reader) else {
            continue;
        };
        let records: Vec<serde_json::Value> = serde_json::from_str(&body).unwrap_or_default();
        for record in records {
            println!("telemetry {} {record}", first.split(' ').nth(1).unwrap_or_default());
        }
        let _ = reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    }
}

fn subscribe(api: &Api) -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || listen(&listener));
    let body = format!(
        r#"{{"schemaVersion":"2025-01-29","types":["platform","function"],
            "buffering":{{"maxItems":1000,"maxBytes":262144,"timeoutMs":25}},
            "destination":{{"protocol":"HTTP","URI":"http://sandbox.localdomain:{port}/records"}}}}"#
    );
    let response = api.call("PUT", "/2022-07-01/telemetry", &[], &body)?;
    println!("subscribed {} {}", response.status, response.body);
    Ok(())
}

fn hang(script: &Script, at: &str) {
    if script.hang_at == at {
        sleep(Duration::from_mins(10));
    }
}

fn main() -> Outcome<()> {
    let program = std::env::args().next().unwrap_or_default();
    let name = program.rsplit('/').next().unwrap_or_default().to_owned();
    let scripts: BTreeMap<String, Script> =
        serde_json::from_str(&std::env::var("FAKE_EXTENSION").unwrap_or_else(|_| "{}".to_owned()))?;
    let script = scripts.get(&name).or_else(|| scripts.get("*")).cloned().unwrap_or_default();
    let variables: BTreeMap<String, String> = std::env::vars().collect();
    println!("environment {}", serde_json::to_string(&variables)?);
    if script.writes_to_tmp {
        let spool = std::env::temp_dir().join("spool");
        println!("found {}", spool.exists());
        let written = std::fs::write(spool, [0; 64]);
        println!("written {:?}", written.map_err(|error| error.kind()));
    }
    hang(&script, "register");

    let mut api = Api { address: std::env::var("AWS_LAMBDA_RUNTIME_API")?, identifier: String::new() };
    let events = serde_json::json!({"events": script.events}).to_string();
    let register = |events: &str| -> Outcome<Response> {
        let name = [("Lambda-Extension-Name", name.as_str())];
        let registration = api.call("POST", "/2020-01-01/extension/register", &name, events)?;
        println!("registered {} {}", registration.status, registration.body);
        Ok(registration)
    };
    let mut registration = register(&events)?;
    if registration.status == 403 && script.falls_back {
        registration = register(r#"{"events":["SHUTDOWN"]}"#)?;
    }
    if registration.status != 200 {
        std::process::exit(script.exit_status);
    }
    api.identifier = registration.headers.get("lambda-extension-identifier").cloned().unwrap_or_default();
    if script.subscribe_at == "init" {
        subscribe(&api)?;
    }
    let error_type = [("Lambda-Extension-Function-Error-Type", "Fake.Broken")];
    if script.init_error {
        api.call("POST", "/2020-01-01/extension/init/error", &error_type, r#"{"errorMessage":"no"}"#)?;
        std::process::exit(script.exit_status);
    }
    if script.exit_ms > 0 {
        std::thread::spawn(move || {
            sleep(Duration::from_millis(script.exit_ms));
            std::process::exit(script.exit_status);
        });
    }
    hang(&script, "next");

    let mut invocations = 0;
    loop {
        if script.chatter_ms > 0 {
            let pause = Duration::from_millis(script.chatter_ms);
            std::thread::spawn(move || {
                sleep(pause);
                println!("chatter");
            });
        }
        let event = api.call("GET", "/2020-01-01/extension/event/next", &[], "")?;
        println!("event {}", event.body);
        if event.body.contains("SHUTDOWN") {
            break;
        }
        invocations += 1;
        if script.subscribe_at == "invoke" {
            subscribe(&api)?;
        }
        if invocations == script.exit_error_on_invoke {
            api.call("POST", "/2020-01-01/extension/exit/error", &error_type, r#"{"errorMessage":"no"}"#)?;
        }
        if [script.exit_on_invoke, script.exit_error_on_invoke].contains(&invocations) {
            std::process::exit(script.exit_status);
        }
        sleep(Duration::from_millis(script.tail_ms));
        println!("tail done");
    }
    hang(&script, "shutdown");
    sleep(Duration::from_millis(script.shutdown_ms));
    if !script.last_line.is_empty() {
        println!("{}", script.last_line);
    }
    std::process::exit(script.exit_status);
}
