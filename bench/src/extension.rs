//! An extension's process between the stand-ins.

use crate::platform::Platform;
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Starts it with what it needs to reach the stand-ins, and these variables besides.
pub fn start(
    path: &Path,
    platform: &Platform,
    xray: &str,
    socket: &str,
    variables: &[(&str, String)],
) -> Result<Child> {
    Command::new(path)
        .env_clear()
        .env("AWS_LAMBDA_RUNTIME_API", platform.address.to_string())
        .env("AWS_LAMBDA_FUNCTION_NAME", "bench")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .env("AWS_ENDPOINT_URL_XRAY", xray)
        .env("OTEL_XRAY_AGENT_SOCKET", socket)
        .env("OTEL_XRAY_OTLP_HTTP", "127.0.0.1:0")
        .env("OTEL_XRAY_OTLP_GRPC", "127.0.0.1:0")
        .env("OTEL_XRAY_DAEMON", "127.0.0.1:0")
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("{} could not be started", path.display()))
}

/// The event of an invocation.
pub fn invoke(request_id: &str, trace_header: &str) -> Result<Value> {
    let deadline_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() + 10_000;
    Ok(json!({
        "eventType": "INVOKE", "deadlineMs": u64::try_from(deadline_ms)?, "requestId": request_id,
        "invokedFunctionArn": "arn:aws:lambda:us-east-1:123456789012:function:bench",
        "tracing": {"type": "X-Amzn-Trace-Id", "value": trace_header},
    }))
}

/// Ends it.
pub fn end(platform: &Platform, child: &mut Child) {
    let _ = platform.send(&json!({"eventType": "SHUTDOWN", "shutdownReason": "spindown", "deadlineMs": 0}));
    for _ in 0..200 {
        if let Ok(Some(_)) = child.try_wait() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
}
