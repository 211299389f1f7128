//! Initialisation, invocation, freeze and shutdown with real extension processes and a scripted runtime.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{config, extension, layer, quiet, said, said_json, start, until};
use otel_xray_local::lambda::{
    Entry, Event, InvocationStatus, Origin, ProcessExit, RuntimeKind, ScriptedRuntime, ShutdownReason,
    TraceHeader, Tracing,
};
use serde_json::{Value, json};

fn call(origin: Origin, path: &'static str) -> impl Fn(&Event) -> bool {
    move |event| matches!(event, Event::ApiCall { origin: by, path: to, .. } if *by == origin && to == path)
}

fn answered(origin: Origin, path: &'static str) -> impl Fn(&Event) -> bool {
    move |event| matches!(event, Event::ApiAnswer { origin: by, path: to, .. } if *by == origin && to == path)
}

const NEXT: &str = "/2020-01-01/extension/event/next";
const RUNTIME_NEXT: &str = "/2018-06-01/runtime/invocation/next";
const REGISTER: &str = "/2020-01-01/extension/register";

#[tokio::test]
async fn l_1_2_the_runtime_starts_after_the_last_registration() {
    let layer = layer(&["one", "two"]);
    let environment = start(config(&layer, &json!({}))).await;
    assert_eq!(environment.init_report().failure, None);
    let log = environment.event_log();
    let runtime = log.position(0, call(Origin::Runtime, RUNTIME_NEXT)).unwrap();
    for name in ["one", "two"] {
        let registered = log.position(0, answered(extension(name), REGISTER)).unwrap();
        assert!(registered < runtime, "{name} registered first");
        assert_eq!(log.count(call(extension(name), NEXT)), 1);
    }
    let registered = said(&environment, "one", "registered");
    let (status, body) = registered[0].split_once(' ').unwrap();
    assert_eq!(status, "200");
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        body,
        json!({"functionName": "function", "functionVersion": "$LATEST", "handler": "app.handler"})
    );
    environment.shutdown().await.unwrap();
}

#[tokio::test]
async fn invocations_answer_bytes_and_both_sides_hear_of_each_once() {
    let layer = layer(&["collector"]);
    let environment = start(config(&layer, &json!({}))).await;
    let mut ids = Vec::new();
    for payload in [&b"{\"a\": 1}"[..], b"", b"\xff\x00 not json"] {
        let answer = environment.invoke(payload.to_vec(), None).await.unwrap();
        assert!(answer.is_success());
        assert_eq!(answer.payload, payload);
        ids.push((answer.request_id, answer.extension_trace_header));
    }
    environment.shutdown().await.unwrap();
    let events = said_json(&environment, "collector", "event");
    assert_eq!(events.len(), 4);
    for (event, (id, header)) in events.iter().zip(&ids) {
        assert_eq!(event["eventType"], "INVOKE");
        assert_eq!(event["requestId"], json!(id));
        assert_eq!(event["tracing"], json!({"type": "X-Amzn-Trace-Id", "value": header}));
        assert_eq!(event["invokedFunctionArn"], "arn:aws:lambda:us-east-1:123456789012:function:function");
    }
    assert_eq!(events[3]["eventType"], "SHUTDOWN");
    assert_eq!(events[3]["shutdownReason"], "spindown");
    let reports = environment.invocation_reports();
    assert_eq!(reports.len(), 3);
    assert!(reports.iter().all(|report| report.status == InvocationStatus::Success));
    assert!(reports[0].init_duration.is_some() && reports[1].init_duration.is_none());
    assert!(reports.iter().all(|report| report.extension_overhead.is_some()));
}

#[tokio::test]
async fn sim_9_the_caller_does_not_wait_for_extensions_and_sim_10_the_end_does() {
    let layer = layer(&["collector"]);
    let environment = start(config(&layer, &json!({"*": {"tail_ms": 150}}))).await;
    environment.invoke("{}", None).await.unwrap();
    environment.idle().await.unwrap();
    let log = environment.event_log();
    let released = log.position(0, |event| matches!(event, Event::InvocationReleased { .. })).unwrap();
    let delivered = log.position(released, |event| matches!(event, Event::AnswerDelivered { .. })).unwrap();
    let waiting = log.position(released, call(extension("collector"), NEXT)).unwrap();
    let ended = log.position(released, |event| matches!(event, Event::InvocationEnded { .. })).unwrap();
    let frozen = log.position(released, |event| matches!(event, Event::Frozen { .. })).unwrap();
    assert!(delivered < waiting && waiting < ended && ended < frozen);
}

#[tokio::test]
async fn sim_9_a_late_answer_waits_for_extensions() {
    let layer = layer(&["collector"]);
    let mut config = config(&layer, &json!({"*": {"tail_ms": 50}}));
    config.late_answer = true;
    let environment = start(config).await;
    assert_eq!(environment.invoke("7", None).await.unwrap().payload, "7");
    let log = environment.event_log();
    let released = log.position(0, |event| matches!(event, Event::InvocationReleased { .. })).unwrap();
    let delivered = log.position(released, |event| matches!(event, Event::AnswerDelivered { .. })).unwrap();
    assert!(log.position(released, call(extension("collector"), NEXT)).unwrap() < delivered);
}

#[tokio::test]
async fn sim_8_either_side_can_hear_later() {
    for (runtime_ms, invoke_ms) in [(1_000, 0), (0, 1_000)] {
        let layer = layer(&["collector"]);
        let mut config = config(&layer, &json!({}));
        config.delays.runtime_event = Duration::from_millis(runtime_ms);
        config.delays.invoke_event = Duration::from_millis(invoke_ms);
        let environment = start(config).await;
        environment.invoke("{}", None).await.unwrap();
        environment.idle().await.unwrap();
        let log = environment.event_log();
        let runtime = log.position(0, answered(Origin::Runtime, RUNTIME_NEXT)).unwrap();
        let invoke = log.position(0, answered(extension("collector"), NEXT)).unwrap();
        assert_eq!(invoke < runtime, runtime_ms > 0);
        assert_eq!(environment.invocation_reports()[0].status, InvocationStatus::Success);
    }
}

#[tokio::test]
async fn sim_11_nothing_runs_between_invocations() {
    let layer = layer(&["collector"]);
    let mut config = config(&layer, &json!({"*": {"chatter_ms": 20}}));
    let freezes = Arc::new(Mutex::new(0));
    let counter = freezes.clone();
    config.on_frozen = Some(Arc::new(move || *counter.lock().unwrap() += 1));
    let environment = start(config).await;
    let log = environment.event_log();
    for round in 1..=3 {
        quiet(&environment).await;
        let mark = log.mark();
        environment.sleep(Duration::from_millis(120)).await.unwrap();
        let lines = log.entries_since(mark);
        let chatter = lines
            .iter()
            .filter(|entry| matches!(&entry.event, Event::Line { text, .. } if text == "chatter"));
        assert_eq!(chatter.count(), 0, "before invocation {round}");
        environment.invoke("{}", None).await.unwrap();
    }
    environment.idle().await.unwrap();
    // One freeze after init and one after each invocation, each undone before the next event.
    assert_eq!(log.count(|event| matches!(event, Event::Frozen { pids } if pids.len() == 1)), 4);
    assert_eq!(log.count(|event| matches!(event, Event::Thawed { .. })), 3);
    assert_eq!(*freezes.lock().unwrap(), 4, "SIM-12: the network's turn");
    assert_eq!(log.count(|event| matches!(event, Event::FreezeIncomplete { .. })), 0);
    let mark = log.mark();
    environment.thaw().await.unwrap();
    let talks = |entry: &Entry| matches!(&entry.event, Event::Line { text, .. } if text == "chatter");
    until("it talks while it is thawed", || log.entries_since(mark).iter().any(talks)).await;
    environment.freeze().await.unwrap();
}

#[tokio::test]
async fn l_3_1_an_extension_does_not_see_the_runtimes_variables() {
    let layer = layer(&["collector"]);
    let environment = start(config(&layer, &json!({}))).await;
    let variables = &said_json(&environment, "collector", "environment")[0];
    for hidden in
        ["_HANDLER", "LAMBDA_TASK_ROOT", "AWS_XRAY_DAEMON_ADDRESS", "AWS_LAMBDA_LOG_GROUP_NAME", "HOME"]
    {
        assert_eq!(variables.get(hidden), None, "{hidden}");
    }
    let api = environment.runtime_api();
    assert_eq!(variables["AWS_LAMBDA_RUNTIME_API"], json!(api.to_string()));
    assert_eq!(variables["OTEL_XRAY_AGENT_SOCKET"], json!(format!("otel-xray-{}", api.port())));
    assert_eq!(variables["AWS_LAMBDA_INITIALIZATION_TYPE"], "on-demand");
}

#[tokio::test]
async fn sim_19_an_extension_that_exits_in_time_and_one_that_does_not() {
    let layer = layer(&["good", "deaf", "stubborn"]);
    let script = json!({
        "good": {"exit_status": 0, "shutdown_ms": 10, "last_line": "bye"},
        "deaf": {"events": ["INVOKE"]},
        "stubborn": {"hang_at": "shutdown"},
    });
    let mut config = config(&layer, &script);
    config.shutdown_budgets.total = Duration::from_secs(5);
    let environment = start(config).await;
    let report = environment.shutdown().await.unwrap();
    assert_eq!(report.reason, ShutdownReason::Spindown);
    let ends: Vec<_> =
        report.extensions.iter().map(|end| (end.name.as_str(), end.notified, end.killed, end.exit)).collect();
    let killed = ProcessExit::Signal(9);
    let expected = [
        ("deaf", false, true, killed),
        ("good", true, false, ProcessExit::Code(0)),
        ("stubborn", true, true, killed),
    ];
    assert_eq!(ends, expected);
    assert!(report.extensions[1].time_to_exit >= Duration::from_millis(10));
    assert!(report.extensions[2].time_to_exit >= report.extensions[2].budget);
    assert_eq!(environment.event_log().lines(&extension("good")).last().map(String::as_str), Some("bye"));
    assert!(environment.invoke("{}", None).await.is_err());
}

#[tokio::test]
async fn l_8_9_a_runtime_that_ignores_sigterm_leaves_the_extension_its_share() {
    let layer = layer(&["collector"]);
    let mut config = config(&layer, &json!({}));
    config.runtime = RuntimeKind::Command(shell_runtime("trap '' TERM"));
    let environment = start(config).await;
    let report = environment.shutdown().await.unwrap();
    assert!(report.runtime_killed);
    assert_eq!(report.runtime_exit, Some(ProcessExit::Signal(9)));
    assert!(report.extensions[0].budget <= Duration::from_millis(29_700));
    let log = environment.event_log();
    let sent = |name: &'static str| move |event: &Event| matches!(event, Event::SignalSent { origin: Origin::Runtime, signal } if *signal == name);
    let terminated = log.position(0, sent("SIGTERM")).unwrap();
    let killed = log.position(0, sent("SIGKILL")).unwrap();
    let notified = log.position(0, |event| matches!(event, Event::ShutdownReleased { .. })).unwrap();
    assert!(terminated < killed && killed < notified);
}

/// A runtime in bash that asks for one invocation and waits.
fn shell_runtime(setup: &str) -> Vec<String> {
    let script = format!(
        "{setup}; exec 3<>\"/dev/tcp/${{AWS_LAMBDA_RUNTIME_API%:*}}/${{AWS_LAMBDA_RUNTIME_API#*:}}\"; \
         printf 'GET {RUNTIME_NEXT} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n' >&3; while :; do read -r line <&3; done"
    );
    ["/bin/bash", "-c", &script].map(str::to_owned).to_vec()
}

#[tokio::test]
async fn l_8_9_without_extensions_the_runtime_is_killed_at_once() {
    let layer = layer(&[]);
    let mut config = config(&layer, &json!({}));
    config.runtime = RuntimeKind::Command(shell_runtime(":"));
    let environment = start(config).await;
    let report = environment.shutdown().await.unwrap();
    assert!(report.runtime_killed && report.extensions.is_empty());
    let log = environment.event_log();
    assert_eq!(log.count(|event| matches!(event, Event::SignalSent { signal: "SIGTERM", .. })), 0);
}

#[tokio::test]
async fn sim_5_trace_headers_and_lambdas_own_segments() {
    let documents: Arc<Mutex<Vec<Value>>> = Arc::default();
    let layer = layer(&["collector"]);
    let headers: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
    let seen = headers.clone();
    let mut config = config(&layer, &json!({}));
    config.runtime = RuntimeKind::Scripted(ScriptedRuntime::new(move |client| {
        let seen = seen.clone();
        async move {
            loop {
                let Ok(event) = client.next().await else { return 1 };
                seen.lock().unwrap().push(event.trace_header);
                let cause =
                    r#"{"working_directory":"/t","exceptions":[{"type":"Bad","message":"m"}],"paths":[]}"#;
                let answer = if event.payload == "fail" {
                    client.fail(&event.request_id, "Bad", "m", Some(cause)).await
                } else {
                    client.respond(&event.request_id, "null").await
                };
                if answer.is_err() {
                    return 1;
                }
            }
        }
    }));
    let sink = documents.clone();
    config.on_segments = Some(Arc::new(move |batch: Vec<String>| {
        let parsed = batch.iter().map(|text| serde_json::from_str::<Value>(text).unwrap());
        sink.lock().unwrap().extend(parsed);
    }));
    let environment = start(config).await;
    let upstream =
        TraceHeader::parse("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1");
    let first = environment.invoke("{}", Some(upstream)).await.unwrap();
    let second = environment.invoke("fail", None).await.unwrap();
    let unsampled = TraceHeader::parse("Root=1-5759e988-000000000000000000000000;Sampled=0");
    environment.invoke("{}", Some(unsampled)).await.unwrap();
    environment.shutdown().await.unwrap();

    let headers = headers.lock().unwrap().clone();
    assert_eq!(headers[0].as_deref(), Some(first.runtime_trace_header.as_str()));
    assert_eq!(headers[2].as_deref(), Some("Root=1-5759e988-000000000000000000000000;Sampled=0"));
    let documents = documents.lock().unwrap();
    assert_eq!(documents.len(), 4, "two for each sampled invocation");
    let runtime_header = TraceHeader::parse(&first.runtime_trace_header);
    let extension_header = TraceHeader::parse(&first.extension_trace_header);
    assert_eq!(documents[0]["id"], json!(extension_header.parent));
    assert_eq!(documents[0]["parent_id"], "53995c3f42cd8ad8");
    assert_eq!(documents[1]["id"], json!(runtime_header.parent));
    assert_eq!(documents[1]["subsegments"][0]["name"], "Init");
    assert!(documents[0].get("fault").is_none());
    assert_eq!(documents[3]["fault"], true);
    assert_eq!(documents[3]["cause"]["working_directory"], "/t");
    assert_eq!(documents[3]["trace_id"], json!(TraceHeader::parse(&second.runtime_trace_header).root));
    let error = second.error.unwrap();
    assert_eq!((error.error_type.as_str(), error.message.as_str()), ("Bad", "m"));
}

#[tokio::test]
async fn pass_through_writes_no_segments() {
    let layer = layer(&[]);
    let mut config = config(&layer, &json!({}));
    config.tracing = Tracing::PassThrough;
    let count = Arc::new(Mutex::new(0));
    let sink = count.clone();
    config.on_segments = Some(Arc::new(move |batch: Vec<String>| {
        *sink.lock().unwrap() += batch.len();
    }));
    let environment = start(config).await;
    let raw = "Sampled=1;Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Lineage=a:0";
    let with = environment.invoke("{}", Some(TraceHeader::parse(raw))).await.unwrap();
    assert_eq!((with.runtime_trace_header.as_str(), with.extension_trace_header.as_str()), (raw, raw));
    let without = environment.invoke("{}", None).await.unwrap();
    assert!(without.runtime_trace_header.ends_with(";Sampled=0"));
    environment.shutdown().await.unwrap();
    assert_eq!(*count.lock().unwrap(), 0);
}
