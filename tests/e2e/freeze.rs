//! A long freeze: whatever became of the connections meanwhile, the first flush after it is like any other.

use anyhow::Result;
use otel_xray_local::lambda::LambdaEnvironment;
use otel_xray_local::xray::Cut;
use otel_xray_tests::Stage;
use std::time::Duration;

const FUNCTION: &str = "def handler(event, context):\n    return event\n";
const FREEZE: Duration = Duration::from_mins(1);

async fn freezes(cut: Option<Cut>) -> Result<()> {
    let mut stage = Stage::python(FUNCTION).await?;
    stage.set("OTEL_XRAY_LOG_LEVEL", "info");
    let connections = stage.xray.connections();
    stage.config.on_frozen = Some(std::sync::Arc::new(move || {
        if let Some(cut) = cut {
            connections.cut(cut);
        }
    }));
    let environment = LambdaEnvironment::start(stage.config.clone()).await?;
    let mut answers = vec![environment.invoke("1", None).await?];
    environment.sleep(FREEZE).await?;
    answers.push(environment.invoke("2", None).await?);
    environment.idle().await?;
    assert_eq!(stage.traces().len(), 2, "{cut:?}: sent before the next freeze");
    let run = stage.end(environment, answers).await?;
    assert!(run.complaints().is_empty(), "{cut:?}: {:?}", run.lines);
    let accounts = run.accounts();
    assert_eq!((&accounts["received"], &accounts["sent"]), (&2.into(), &2.into()), "{cut:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn t_3_l_8_6_a_minute_frozen_loses_no_span_and_says_nothing() -> Result<()> {
    let (untouched, closed, reset, stalled) = tokio::join!(
        freezes(None),
        freezes(Some(Cut::Close)),
        freezes(Some(Cut::Reset)),
        freezes(Some(Cut::Stall)),
    );
    untouched.and(closed).and(reset).and(stalled)
}

/// An exporter in the function: one kept-alive connection, with a span for every invocation.
const EXPORTER: &str = r#"
import http.client, json, os, time
connection = http.client.HTTPConnection(os.environ["OTEL_XRAY_OTLP_HTTP"])
connection.auto_open = 0
connection.connect()

def handler(event, context):
    now = time.time_ns()
    span = {"traceId": os.urandom(16).hex(), "spanId": os.urandom(8).hex(), "name": "exported", "kind": 2,
            "startTimeUnixNano": str(now), "endTimeUnixNano": str(now + 1000), "flags": 1}
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]})
    connection.request("POST", "/v1/traces", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    return answer.status
"#;

#[tokio::test(flavor = "multi_thread")]
async fn l_8_5_l_8_6_an_exporters_connection_outlives_freezes() -> Result<()> {
    let stage = Stage::python(EXPORTER).await?;
    let environment = LambdaEnvironment::start(stage.config.clone()).await?;
    let mut answers = vec![environment.invoke("1", None).await?];
    for freeze in [Duration::from_secs(7), FREEZE] {
        environment.sleep(freeze).await?;
        answers.push(environment.invoke("2", None).await?);
    }
    environment.idle().await?;
    let run = stage.end(environment, answers).await?;
    assert!(run.answers.iter().all(|answer| answer.payload == "200"), "{:?}", run.answers);
    let accounts = run.accounts();
    assert_eq!(
        (&accounts["received"], &accounts["sent"]),
        (&9.into(), &9.into()),
        "each handler, its call, and the exported span"
    );
    Ok(())
}
