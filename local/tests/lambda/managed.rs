//! Managed instances (SIM-22, L-8.26 to L-8.30).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use otel_xray_local::lambda::{
    Config, Event, InitializationType, InvocationStatus, LambdaEnvironment, RuntimeKind, ScriptedRuntime,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Barrier;

use crate::support::{config, extension, layer, said, said_json, start, telemetry, until};

const COLLECTOR: &str = r#"{"collector": {"events": ["SHUTDOWN"], "subscribe_at": "init"}}"#;

/// A runtime with so many workers that meet, `together` at a time, before they answer; `hang` and `exit` do as they say.
fn workers(count: usize, together: usize) -> (RuntimeKind, Arc<AtomicUsize>) {
    let late = Arc::new(AtomicUsize::new(0));
    let refused = late.clone();
    let script = ScriptedRuntime::new(move |client| {
        let (barrier, refused) = (Arc::new(Barrier::new(together)), refused.clone());
        async move {
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..count {
                let (client, barrier, refused) = (client.clone(), barrier.clone(), refused.clone());
                tasks.spawn(async move {
                    loop {
                        let Ok(event) = client.next().await else { return 1 };
                        match &event.payload[..] {
                            b"exit" => return 7,
                            b"late" => tokio::time::sleep(Duration::from_secs(6)).await,
                            b"fail" => {
                                client.fail(&event.request_id, "KeyError", "id", None).await.unwrap();
                                continue;
                            }
                            b"meet" => {
                                barrier.wait().await;
                            }
                            _ => {}
                        }
                        if let Err(error) = client.respond(&event.request_id, event.payload).await {
                            assert!(error.to_string().contains("InvokeTimeout"), "{error}");
                            refused.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                });
            }
            // The first worker that ends takes the runtime with it.
            tasks.join_next().await.unwrap().unwrap()
        }
    });
    (RuntimeKind::Scripted(script), late)
}

fn managed(layer: &TempDir, runtime: RuntimeKind, concurrency: u32) -> Config {
    let mut config = config(layer, &serde_json::from_str(COLLECTOR).unwrap());
    config.runtime = runtime;
    config.initialise_as(InitializationType::ManagedInstances { concurrency });
    config
}

fn invoke(
    environment: &Arc<LambdaEnvironment>,
    event: &'static str,
) -> tokio::task::JoinHandle<(Option<String>, Value)> {
    let environment = environment.clone();
    tokio::spawn(async move {
        let answer = environment.invoke(event, None).await.unwrap();
        let payload = String::from_utf8_lossy(&answer.payload).into_owned();
        (answer.error.map(|error| error.error_type), Value::from(payload))
    })
}

#[tokio::test]
async fn sim_22_invocations_overlap_and_nothing_freezes() {
    let layer = layer(&["collector"]);
    let environment = Arc::new(start(managed(&layer, workers(3, 3).0, 3)).await);
    assert_eq!(environment.init_report().failure, None);
    // Each waits for the two others: one after the other, none would ever answer.
    let invocations: Vec<_> = (0..3).map(|_| invoke(&environment, "meet")).collect();
    for invocation in invocations {
        assert_eq!(invocation.await.unwrap(), (None, Value::from("meet")));
    }
    assert_eq!(invoke(&environment, "fail").await.unwrap().0.as_deref(), Some("KeyError"));
    environment.idle().await.unwrap();
    environment.freeze().await.unwrap();
    environment.shutdown().await.unwrap();

    let log = environment.event_log();
    assert_eq!(log.count(|event| matches!(event, Event::Frozen { .. })), 0);
    let events = said_json(&environment, "collector", "event");
    assert_eq!(events.len(), 1, "SHUTDOWN and nothing else");
    assert_eq!(events[0]["shutdownReason"], "spindown");
    let variables = &said_json(&environment, "collector", "environment")[0];
    assert_eq!(variables["AWS_LAMBDA_INITIALIZATION_TYPE"], "lambda-managed-instances");
    assert_eq!(variables["AWS_LAMBDA_MAX_CONCURRENCY"], "3");
    assert!(telemetry(&environment, "collector", "platform.runtimeDone").is_empty());
    let starts = telemetry(&environment, "collector", "platform.start");
    let reports = telemetry(&environment, "collector", "platform.report");
    assert_eq!((starts.len(), reports.len()), (4, 4));
    assert!(starts.iter().all(|start| start["tracing"]["value"].as_str().is_some()), "{starts:?}");
    for report in &reports {
        let metrics: Vec<_> = report["metrics"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(metrics, ["durationMs"]);
        assert_eq!(report["spans"][0]["name"], "responseLatency");
    }
    // L-6.10.
    assert_eq!(reports.iter().filter(|report| report["status"] == "error").count(), 1);
}

#[tokio::test]
async fn l_8_26_invoke_is_refused_and_the_extension_registers_without_it() {
    let layer = layer(&["collector"]);
    let mut config = managed(&layer, workers(1, 1).0, 1);
    let script = json!({"collector": {"falls_back": true}});
    config.variables.insert("FAKE_EXTENSION".to_owned(), script.to_string());
    let environment = start(config).await;
    assert_eq!(environment.init_report().failure, None);
    environment.shutdown().await.unwrap();
    let registrations = said(&environment, "collector", "registered");
    assert!(registrations[0].starts_with("403 ") && registrations[0].contains("Extension.InvalidEventType"));
    assert!(registrations[1].starts_with("200 "), "{registrations:?}");
}

#[tokio::test]
async fn l_8_28_a_timeout_kills_nothing_and_more_than_the_limit_are_refused() {
    let layer = layer(&["collector"]);
    let (runtime, refused) = workers(2, 1);
    let mut config = managed(&layer, runtime, 1);
    config.timeout = Duration::from_secs(3);
    let environment = Arc::new(start(config).await);
    let first = invoke(&environment, "late");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(invoke(&environment, "one more").await.unwrap().0.as_deref(), Some("Runtime.Unavailable"));
    let (error, payload) = first.await.unwrap();
    assert_eq!(error.as_deref(), Some("Sandbox.Timedout"));
    assert!(payload.as_str().unwrap().contains("Task timed out after 3.00 seconds"), "{payload}");
    assert_eq!(invoke(&environment, "next").await.unwrap(), (None, Value::from("next")));
    until("its answer comes, and is refused by 410", || refused.load(Ordering::SeqCst) > 0).await;
    environment.shutdown().await.unwrap();
    let statuses: Vec<_> = environment.invocation_reports().iter().map(|report| report.status).collect();
    assert_eq!(statuses, [InvocationStatus::Timeout, InvocationStatus::Success]);
    assert_eq!(said_json(&environment, "collector", "event")[0]["shutdownReason"], "spindown");
}

#[tokio::test]
async fn l_8_28_a_runtime_or_an_extension_that_ends_takes_the_instance_with_it() {
    let (crashing, error_type) = (
        r#"{"collector": {"events": ["SHUTDOWN"]}, "other": {"events": [], "exit_ms": 3000, "exit_status": 3}}"#,
        "Extension.Crash",
    );
    for (script, event, expected) in
        [(COLLECTOR, "exit", "Runtime.ExitError"), (crashing, "late", error_type)]
    {
        let layer = layer(if event == "exit" { &["collector"] } else { &["collector", "other"] });
        let mut config = managed(&layer, workers(2, 1).0, 2);
        config.variables.insert("FAKE_EXTENSION".to_owned(), script.to_owned());
        let environment = Arc::new(start(config).await);
        assert_eq!(invoke(&environment, event).await.unwrap().0.as_deref(), Some(expected));
        assert_eq!(invoke(&environment, "again").await.unwrap().0.as_deref(), Some("Runtime.Unavailable"));
        let started = environment.event_log().count(|event| matches!(event, Event::ProcessStarted { .. }));
        assert_eq!(started, if event == "exit" { 1 } else { 2 }, "nothing is started again");
        assert_eq!(said_json(&environment, "collector", "event")[0]["shutdownReason"], "failure");
        assert!(!environment.event_log().lines(&extension("collector")).is_empty());
    }
}
