//! The order of things: conformance tests of lambda.md section 15.

use anyhow::Result;
use otel_xray_local::lambda::{Event, LambdaEnvironment, Origin, TelemetryMode};
use otel_xray_tests::Stage;
use serde_json::json;
use std::time::Duration;

const FUNCTION: &str = "def handler(event, context):\n    return event\n";

fn next_calls(event: &Event) -> bool {
    matches!(event, Event::ApiCall { origin: Origin::Extension(_), path, .. } if path.ends_with("/event/next"))
}

#[tokio::test(flavor = "multi_thread")]
async fn t_1_the_sockets_are_open_before_the_runtime_exists() -> Result<()> {
    let stage = Stage::python(FUNCTION).await?;
    let environment = LambdaEnvironment::start(stage.config.clone()).await?;
    let log = environment.event_log();
    let registered = log.position(
        0,
        |event| matches!(event, Event::ApiAnswer { path, status: 200, .. } if path.ends_with("/extension/register")),
    );
    let runtime =
        log.position(0, |event| matches!(event, Event::ProcessStarted { origin: Origin::Runtime, .. }));
    assert!(registered < runtime && registered.is_some(), "{:?}", log.entries());
    assert!(tokio::net::TcpStream::connect(stage.otlp).await.is_ok(), "bound before it registered");
    environment.shutdown().await?;
    Ok(())
}

/// What only the runtime is given (lambda.md section 3).
const RUNTIMES_OWN: [&str; 8] = [
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_XRAY_DAEMON_ADDRESS",
    "AWS_XRAY_CONTEXT_MISSING",
    "LAMBDA_TASK_ROOT",
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
];

#[tokio::test(flavor = "multi_thread")]
async fn t_14_l_3_2_what_only_the_runtime_is_given_reaches_the_trace_all_the_same() -> Result<()> {
    let stage = Stage::python(FUNCTION).await?;
    let environment = LambdaEnvironment::start(stage.config.clone()).await?;
    let started = |event: &Event| match event {
        Event::ProcessStarted { origin: Origin::Extension(_), pid } => Some(*pid),
        _ => None,
    };
    let pid = environment.event_log().entries().iter().find_map(|entry| started(&entry.event));
    let given = std::fs::read(format!("/proc/{}/environ", pid.expect("the extension was started")))?;
    let given = String::from_utf8_lossy(&given);
    for name in RUNTIMES_OWN {
        assert!(!given.split('\0').any(|variable| variable.starts_with(&format!("{name}="))), "{name}");
    }
    environment.invoke("{}", None).await?;
    environment.idle().await?;
    environment.shutdown().await?;
    let traces = stage.traces();
    let handler = traces[0].find("app.handler").expect("the handler's span");
    let told = handler.value("/metadata").to_string() + &handler.value("/aws").to_string();
    assert!(told.contains("AWS_Lambda_python") && told.contains("/aws/lambda/shop"), "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn t_2_t_4_spans_leave_before_the_freeze_with_and_without_telemetry() -> Result<()> {
    for telemetry in [TelemetryMode::Deliver, TelemetryMode::NotSupported] {
        let mut stage = Stage::python(FUNCTION).await?;
        stage.config.telemetry = telemetry;
        let environment = LambdaEnvironment::start(stage.config.clone()).await?;
        for number in 1..=3 {
            environment.invoke(json!({"n": number}).to_string(), None).await?;
            environment.idle().await?;
            assert_eq!(stage.xray.requests().len(), number, "sent before the environment froze");
            environment.sleep(Duration::from_millis(50)).await?;
        }
        assert_eq!(
            environment.event_log().count(next_calls),
            4,
            "one next for each event and one that waits"
        );
        environment.shutdown().await?;
        assert_eq!(stage.traces().len(), 3);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_in_the_handler_still_leaves_its_trace() -> Result<()> {
    let source = "import os\ndef handler(event, context):\n    os._exit(1)\n";
    let mut stage = Stage::python(source).await?;
    stage.set("OTEL_XRAY_TRACING_MODE", "active");
    let environment = LambdaEnvironment::start(stage.config.clone()).await?;
    let answer = environment.invoke("{}", None).await?;
    assert!(!answer.is_success());
    environment.idle().await?;
    let traces = stage.traces();
    let handler =
        traces.iter().find_map(|trace| trace.find("app.handler")).expect("the handler's span arrived");
    assert!(handler.flag("fault"));
    assert_eq!(handler.text("/cause/exceptions/0/type"), "Runtime.ExitError");
    Ok(())
}
