//! Processes that fail or take too long: the caller always gets an answer, and the environment starts again.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use otel_xray_local::lambda::{
    Config, Event, InvocationStatus, LambdaEnvironment, Origin, Phase, ProcessExit, RuntimeKind,
    ScriptedRuntime, write_executable,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{config, extension, layer, said, said_json, start, telemetry, until};

/// A runtime that does what the event says.
fn obedient() -> RuntimeKind {
    RuntimeKind::Scripted(ScriptedRuntime::new(|client| async move {
        loop {
            let Ok(event) = client.next().await else { return 1 };
            match &event.payload[..] {
                b"exit" => return 7,
                b"hang" => std::future::pending().await,
                payload => {
                    if client.respond(&event.request_id, payload.to_vec()).await.is_err() {
                        return 1;
                    }
                }
            }
        }
    }))
}

fn obedient_config(layer: &TempDir, script: &Value) -> Config {
    let mut config = config(layer, script);
    config.runtime = obedient();
    config
}

/// Error type and message of a failed invocation.
async fn failure(environment: &LambdaEnvironment, event: &'static str) -> (String, String) {
    let answer = environment.invoke(event, None).await.unwrap();
    let body: Value = serde_json::from_slice(&answer.payload).unwrap();
    let error = answer.error.unwrap();
    assert_eq!(body["errorType"], json!(error.error_type));
    (error.error_type, body["errorMessage"].as_str().unwrap().to_owned())
}

fn shutdown_reasons(environment: &LambdaEnvironment, name: &str) -> Vec<Value> {
    let events = said_json(environment, name, "event");
    events.iter().filter_map(|event| event.get("shutdownReason").cloned()).collect()
}

#[tokio::test]
async fn l_1_5_an_extension_that_cannot_start_takes_the_function_down() {
    let foreign = if cfg!(target_arch = "x86_64") { 183 } else { 62 };
    let mut other_machine = b"\x7fELF\x02\x01\x01".to_vec();
    other_machine.resize(18, 0);
    other_machine.extend([foreign, 0]);
    let cases = [
        (b"#!/bin/sh\n".to_vec(), 0o644, "PermissionDenied"),
        (other_machine, 0o755, "UnknownError"),
        (b"#!/no/such/interpreter\n".to_vec(), 0o755, "UnknownError"),
    ];
    for (content, mode, reason) in cases {
        let layer = layer(&[]);
        let path = layer.path().join("extensions/broken");
        write_executable(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let environment = start(config(&layer, &json!({}))).await;
        let init = environment.init_report().failure.clone().unwrap();
        assert_eq!(init.error_type, "Extension.LaunchError");
        assert!(init.message.contains("broken") && init.message.contains(reason), "{}", init.message);
        let (error_type, _) = failure(&environment, "{}").await;
        assert_eq!(error_type, "Extension.LaunchError");
    }
}

#[tokio::test]
async fn l_1_1_directories_in_the_extensions_folder_are_ignored_and_l_1_4_ten_is_the_limit() {
    let names: Vec<String> = (0..11).map(|index| format!("extension-{index:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let ten = layer(&names[..10]);
    fs::create_dir(ten.path().join("extensions/data")).unwrap();
    let environment = start(config(&ten, &json!({}))).await;
    assert_eq!(environment.init_report().failure, None);
    assert_eq!(environment.event_log().count(|event| matches!(event, Event::ProcessStarted { .. })), 10);
    let eleven = layer(&names);
    let environment = start(config(&eleven, &json!({}))).await;
    let failure = environment.init_report().failure.clone().unwrap();
    assert_eq!(failure.error_type, "Extension.LaunchError");
    assert!(failure.message.contains("TooManyExtensions"));
}

#[tokio::test]
async fn l_1_6_an_extension_that_ends_during_the_initialisation() {
    let cases = [
        (json!({"init_error": true, "exit_status": 1}), "Extension.InitError", "Fake.Broken"),
        (json!({"events": ["NOTHING"]}), "Extension.Crash", "collector"),
    ];
    for (script, error_type, part) in cases {
        let layer = layer(&["collector"]);
        let environment = start(config(&layer, &json!({"*": script}))).await;
        let init = environment.init_report().failure.clone().unwrap();
        assert_eq!(init.error_type, error_type);
        assert!(init.message.contains(part), "{}", init.message);
        assert_eq!(failure(&environment, "{}").await.0, error_type);
    }
}

#[tokio::test]
async fn sim_18_an_init_error_of_the_runtime_reaches_the_caller_after_a_second_try() {
    let layer = layer(&["collector"]);
    let mut config = config(&layer, &json!({}));
    config.runtime = RuntimeKind::Scripted(ScriptedRuntime::new(|client| async move {
        let _ = client.fail_init("Runtime.ImportModuleError", "Unable to import module 'app'").await;
        1
    }));
    let environment = start(config).await;
    assert_eq!(environment.init_report().failure.clone().unwrap().error_type, "Runtime.ImportModuleError");
    let answer = environment.invoke("{}", None).await.unwrap();
    let expected = json!({
        "errorMessage": "Unable to import module 'app'", "errorType": "Runtime.ImportModuleError", "stackTrace": []
    });
    assert_eq!(answer.payload, expected.to_string());
    let started = |event: &Event| matches!(event, Event::ProcessStarted { .. });
    assert_eq!(environment.event_log().count(started), 2);
    assert_eq!(shutdown_reasons(&environment, "collector"), ["failure", "failure"]);
    // L-6.9: the invocation begins when the second try is over, and the extension hears of it before it ends.
    let entries = environment.event_log().entries();
    let order: Vec<_> = entries
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::PlatformLine(line) => line.split([' ', '\t']).next().filter(|word| *word != "EXTENSION"),
            Event::Phase(Phase::Down) => Some("down"),
            _ => None,
        })
        .collect();
    assert_eq!(order, ["INIT_REPORT", "down", "INIT_REPORT", "START", "down", "END", "REPORT"]);
}

#[tokio::test]
async fn sim_6_the_init_limit_ends_a_start_that_never_comes() {
    for (hang_at, part) in [("register", "has not registered"), ("next", "has not called event/next")] {
        let layer = layer(&["collector"]);
        let mut config = config(&layer, &json!({"*": {"hang_at": hang_at}}));
        // Long enough to get as far as it will.
        config.init_limit = Duration::from_secs(3);
        config.timeout = Duration::from_secs(3);
        config.shutdown_budgets.total = Duration::from_millis(400);
        let environment = start(config).await;
        let init = environment.init_report().failure.clone().unwrap();
        assert_eq!(init.error_type, "Sandbox.Timedout");
        assert!(init.message.contains(part), "{}", init.message);
        let (error_type, message) = failure(&environment, "{}").await;
        assert_eq!(error_type, "Sandbox.Timedout");
        assert!(message.ends_with("Error: Task timed out after 3.00 seconds"), "{message}");
        let killed =
            |event: &Event| matches!(event, Event::ProcessExited { exit: ProcessExit::Signal(9), .. });
        assert_eq!(environment.event_log().count(killed), 2);
    }
}

#[tokio::test]
async fn l_8_16_a_runtime_that_exits_is_reported_and_replaced() {
    let layer = layer(&["collector"]);
    let environment = start(obedient_config(&layer, &json!({}))).await;
    let (error_type, message) = failure(&environment, "exit").await;
    assert_eq!(error_type, "Runtime.ExitError");
    assert!(message.ends_with("Error: Runtime exited with error: exit status 7"), "{message}");
    assert!(message.starts_with("RequestId: "));
    let answer = environment.invoke("again", None).await.unwrap();
    assert_eq!(answer.payload, "again");
    environment.shutdown().await.unwrap();
    assert_eq!(shutdown_reasons(&environment, "collector"), ["failure", "spindown"]);
    let statuses: Vec<_> = environment.invocation_reports().iter().map(|report| report.status).collect();
    assert_eq!(statuses, [InvocationStatus::Failure, InvocationStatus::Success]);
    assert!(environment.invocation_reports()[1].init_duration.is_some(), "a suppressed init");
}

#[tokio::test]
async fn l_8_4_a_timeout_is_told_and_the_environment_starts_again() {
    let layer = layer(&["collector"]);
    let mut config = obedient_config(&layer, &json!({}));
    config.timeout = Duration::from_secs(5);
    let environment = start(config).await;
    let (error_type, message) = failure(&environment, "hang").await;
    assert_eq!(error_type, "Sandbox.Timedout");
    assert!(message.ends_with("Error: Task timed out after 5.00 seconds"), "{message}");
    assert_eq!(environment.invoke("again", None).await.unwrap().payload, "again");
    environment.shutdown().await.unwrap();
    assert_eq!(shutdown_reasons(&environment, "collector"), ["timeout", "spindown"]);
    let exits = |event: &Event| matches!(event, Event::ProcessExited { exit: ProcessExit::Code(0), .. });
    assert_eq!(environment.event_log().count(exits), 2);
    assert_eq!(environment.invocation_reports()[0].status, InvocationStatus::Timeout);
}

#[tokio::test]
async fn l_8_14_an_extension_that_overruns_counts_as_a_timeout_but_the_answer_stands() {
    let layer = layer(&["collector"]);
    let mut config = config(&layer, &json!({"*": {"tail_ms": 6_000}}));
    config.timeout = Duration::from_secs(5);
    let environment = start(config).await;
    let answer = environment.invoke("fine", None).await.unwrap();
    assert_eq!((answer.is_success(), &answer.payload[..]), (true, &b"fine"[..]));
    environment.idle().await.unwrap();
    assert_eq!(environment.invocation_reports()[0].status, InvocationStatus::Timeout);
    // L-8.13: SHUTDOWN is seen only when the extension asks again, after its tail.
    let lines = environment.event_log().lines(&extension("collector"));
    let tail = lines.iter().position(|line| line == "tail done").unwrap();
    assert!(lines[tail + 1].contains("SHUTDOWN"));
}

#[tokio::test]
async fn l_8_18_an_extension_that_exits_during_an_invocation() {
    let cases = [
        (json!({"exit_on_invoke": 1, "exit_status": 3}), "Extension.Crash"),
        (json!({"exit_error_on_invoke": 1, "exit_status": 3}), "Extension.ExitError"),
    ];
    for (script, error_type) in cases {
        let layer = layer(&["collector", "witness"]);
        let environment = start(obedient_config(&layer, &json!({"collector": script}))).await;
        assert_eq!(failure(&environment, "hang").await.0, error_type);
        environment.idle().await.unwrap();
        let report = &environment.invocation_reports()[0];
        assert_eq!(report.status, InvocationStatus::Failure);
        assert!(report.reset.as_ref().unwrap().contains("collector"));
        assert_eq!(shutdown_reasons(&environment, "witness"), ["failure"]);
        let exit = environment.event_log().count(|event| {
            matches!(event, Event::ProcessExited { origin: Origin::Extension(name), exit: ProcessExit::Code(3) }
                if name == "collector")
        });
        assert_eq!(exit, 1);
    }
}

#[tokio::test]
async fn l_8_21_sim_20_after_a_reset_everything_is_new_but_tmp() {
    let layer = layer(&["collector"]);
    let script = json!({"*": {"subscribe_at": "init", "writes_to_tmp": true}});
    let environment = start(obedient_config(&layer, &script)).await;
    assert_eq!(failure(&environment, "exit").await.0, "Runtime.ExitError");
    assert_eq!(environment.invoke("again", None).await.unwrap().payload, "again");
    assert_eq!(environment.invoke("warm", None).await.unwrap().payload, "warm");
    environment.shutdown().await.unwrap();
    assert_eq!(said(&environment, "collector", "found"), ["false", "true"]);
    for name in ["platform.initStart", "platform.initRuntimeDone", "platform.initReport"] {
        let phases: Vec<_> = telemetry(&environment, "collector", name)
            .into_iter()
            .map(|record| record["phase"].clone())
            .collect();
        assert_eq!(phases, ["init", "invoke"], "{name}");
    }
    // The suppressed init lies within the invocation that paid for it.
    let log = environment.event_log();
    let second = log.position(0, |event| matches!(event, Event::Phase(Phase::Down))).unwrap();
    let begun = log.position(second, |event| matches!(event, Event::Phase(Phase::Invoke))).unwrap();
    let init = log.position(second, |event| matches!(event, Event::Phase(Phase::Init))).unwrap();
    let released = log.position(second, |event| matches!(event, Event::InvocationReleased { .. })).unwrap();
    assert!(begun < init && init < released);
    let registrations = said(&environment, "collector", "subscribed");
    assert_eq!(registrations, [r#"200 "OK""#; 2], "subscriptions are taken again");
}

#[tokio::test]
async fn l_8_22_an_init_past_its_limit_is_repeated_with_the_functions_timeout() {
    let layer = layer(&["collector"]);
    let mut config = obedient_config(&layer, &json!({}));
    // Slower than the limit of the first, faster than that of the second.
    config.runtime = RuntimeKind::Scripted(ScriptedRuntime::new(|client| async move {
        tokio::time::sleep(Duration::from_millis(600)).await;
        let Ok(event) = client.next().await else { return 1 };
        let _ = client.respond(&event.request_id, "late").await;
        let _ = client.next().await;
        1
    }));
    config.init_limit = Duration::from_millis(300);
    let environment = start(config).await;
    assert_eq!(environment.init_report().failure.clone().unwrap().error_type, "Sandbox.Timedout");
    assert_eq!(environment.invoke("{}", None).await.unwrap().payload, "late");
    assert_eq!(shutdown_reasons(&environment, "collector"), ["timeout"]);
}

#[tokio::test]
async fn dropping_an_environment_leaves_no_process_behind() {
    let layer = layer(&["collector"]);
    let environment = start(config(&layer, &json!({}))).await;
    let pid = environment
        .event_log()
        .entries()
        .iter()
        .find_map(|entry| match &entry.event {
            Event::ProcessStarted { pid, .. } => Some(*pid),
            _ => None,
        })
        .unwrap();
    let stat = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    assert!(stat().contains(") T "), "frozen after init");
    drop(environment);
    until("it is gone", || stat().is_empty() || stat().contains(") Z ")).await;
}
