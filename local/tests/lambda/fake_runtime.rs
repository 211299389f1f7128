//! A runtime process for the environment's own tests: it does what the event tells it.

mod fake_http;

use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use fake_http::{Api, Outcome};
use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Order {
    /// Takes so much memory, and touches it.
    grow_mb: usize,
    /// The same in a child process, which is waited for.
    child_grows_mb: usize,
    sleep_ms: u64,
    exit: Option<i32>,
    /// A signal to itself, such as `ABRT`.
    signal: String,
}

/// Grows by small steps, as programs do.
fn grow(mb: usize) -> Vec<Vec<u8>> {
    (0..mb).map(|step| vec![u8::try_from(step % 255).unwrap_or(0) | 1; 1024 * 1024]).collect()
}

fn main() -> Outcome<()> {
    if let Some(mb) = std::env::args().nth(1) {
        let held = grow(mb.parse()?);
        println!("child holds {} MB", held.len());
        return Ok(());
    }
    let api = Api { address: std::env::var("AWS_LAMBDA_RUNTIME_API")?, identifier: String::new() };
    let variables: std::collections::BTreeMap<String, String> = std::env::vars().collect();
    println!("environment {}", serde_json::to_string(&variables)?);
    loop {
        let event = api.call("GET", "/2018-06-01/runtime/invocation/next", &[], "")?;
        if event.status != 200 {
            return Err(format!("next: {} {}", event.status, event.body).into());
        }
        let order: Order = serde_json::from_str(&event.body)?;
        let id = event.headers.get("lambda-runtime-aws-request-id").cloned().unwrap_or_default();
        let held = grow(order.grow_mb);
        if order.child_grows_mb > 0 {
            let program = std::env::current_exe()?;
            let status = Command::new(program).arg(order.child_grows_mb.to_string()).status()?;
            println!("child {status}");
        }
        sleep(Duration::from_millis(order.sleep_ms));
        if !order.signal.is_empty() {
            let own = std::process::id().to_string();
            Command::new("kill").args([&format!("-{}", order.signal), &own]).status()?;
            sleep(Duration::from_mins(10));
        }
        if let Some(status) = order.exit {
            std::process::exit(status);
        }
        let path = format!("/2018-06-01/runtime/invocation/{id}/response");
        let answer = format!("{{\"held_mb\":{}}}", held.len());
        let answered = api.call("POST", &path, &[], &answer)?;
        println!("answered {}", answered.status);
    }
}
