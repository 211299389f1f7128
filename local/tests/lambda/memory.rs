//! The function's memory: measured, and enforced by a kill as Lambda's kernel does it (L-8.5).

use otel_xray_local::lambda::{Config, Event, InvocationStatus, LambdaEnvironment, Origin};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{config, layer, process_runtime, said, start, telemetry};

const SUBSCRIBED: &str = r#"{"*": {"subscribe_at": "init"}}"#;

fn limited(layer: &TempDir, memory_mb: u32) -> Config {
    let mut config = config(layer, &serde_json::from_str(SUBSCRIBED).unwrap());
    config.runtime = process_runtime();
    config.memory_mb = memory_mb;
    config
}

async fn invoke(environment: &LambdaEnvironment, order: Value) -> (Option<String>, Value) {
    let answer = environment.invoke(order.to_string(), None).await.unwrap();
    environment.idle().await.unwrap();
    (answer.error.map(|error| error.error_type), serde_json::from_slice(&answer.payload).unwrap())
}

#[tokio::test]
async fn l_8_5_l_6_11_a_function_past_its_memory_is_killed_and_starts_again() {
    let layer = layer(&["collector"]);
    let environment = start(limited(&layer, 128)).await;
    assert_eq!(invoke(&environment, json!({"grow_mb": 10})).await, (None, json!({"held_mb": 10})));
    let (error, body) = invoke(&environment, json!({"grow_mb": 100_000})).await;
    assert_eq!(error.as_deref(), Some("Runtime.ExitError"));
    let message = body["errorMessage"].as_str().unwrap();
    assert!(message.starts_with("RequestId: "), "{message}");
    assert!(message.ends_with(" Error: Runtime exited with error: signal: killed"), "{message}");
    assert_eq!(invoke(&environment, json!({})).await, (None, json!({"held_mb": 0})));
    environment.shutdown().await.unwrap();

    let reports = environment.invocation_reports();
    let statuses: Vec<_> = reports.iter().map(|report| report.status).collect();
    assert_eq!(statuses, [InvocationStatus::Success, InvocationStatus::Failure, InvocationStatus::Success]);
    assert!((10..128).contains(&reports[0].max_memory_used_mb), "{:?}", reports[0]);
    assert_eq!(reports[1].max_memory_used_mb, 128);
    assert_eq!(reports[1].error_type.as_deref(), Some("Runtime.OutOfMemory"));
    // The processes of the next generation hold what they hold, not what their predecessors did.
    assert!(reports[2].max_memory_used_mb < 128);
    let log = environment.event_log();
    assert_eq!(log.count(|event| matches!(event, Event::OutOfMemory { .. })), 1);
    let report = log.entries().into_iter().find_map(|entry| match entry.event {
        Event::PlatformLine(line) if line.contains("Error Type") => Some(line),
        _ => None,
    });
    let report = report.unwrap();
    assert!(report.contains("Memory Size: 128 MB\tMax Memory Used: 128 MB"), "{report}");
    assert!(report.ends_with("Error Type: Runtime.OutOfMemory"), "{report}");

    let done = telemetry(&environment, "collector", "platform.runtimeDone");
    assert_eq!(
        (&done[1]["status"], &done[1]["errorType"]),
        (&json!("failure"), &json!("Runtime.OutOfMemory"))
    );
    // The first invocation's report comes with the second invocation (L-6.7).
    let first = &telemetry(&environment, "collector", "platform.report")[0]["metrics"];
    assert_eq!(first["memorySizeMB"], 128);
    assert!(first["maxMemoryUsedMB"].as_u64().is_some_and(|mb| (10..128).contains(&mb)), "{first}");
}

#[tokio::test]
async fn the_largest_process_dies_and_a_runtime_whose_child_it_was_lives_on() {
    let layer = layer(&["collector"]);
    let environment = start(limited(&layer, 128)).await;
    let (error, _) = invoke(&environment, json!({"child_grows_mb": 100_000})).await;
    assert_eq!(error, None);
    environment.shutdown().await.unwrap();
    let lines = environment.event_log().lines(&Origin::Runtime);
    assert!(lines.iter().any(|line| line == "child signal: 9 (SIGKILL)"), "{lines:?}");
    assert_eq!(said(&environment, "collector", "event").len(), 2, "one INVOKE, one SHUTDOWN");
}

#[tokio::test]
async fn exits_and_signals_are_named_as_lambda_does() {
    let cases = [
        (json!({"exit": 1}), "Runtime exited with error: exit status 1"),
        (json!({"exit": 0}), "Runtime exited without providing a reason"),
        (json!({"signal": "ABRT"}), "Runtime exited with error: signal: aborted"),
        (json!({"signal": "KILL"}), "Runtime exited with error: signal: killed"),
    ];
    let layer = layer(&["collector"]);
    let environment = start(limited(&layer, 512)).await;
    for (order, expected) in cases {
        let (error, body) = invoke(&environment, order).await;
        assert_eq!(error.as_deref(), Some("Runtime.ExitError"));
        let message = body["errorMessage"].as_str().unwrap();
        assert!(message.ends_with(&format!(" Error: {expected}")), "{message}");
    }
    let types: Vec<_> =
        environment.invocation_reports().into_iter().filter_map(|report| report.error_type).collect();
    assert_eq!(types, ["Runtime.ExitError"; 4]);
}
