//! Two environments on one machine at once, on the ports that the extension usually has: neither sees the other.

use anyhow::Result;
use otel_xray_local::lambda::LambdaEnvironment;
use otel_xray_tests::Stage;
use serde_json::json;
use std::collections::BTreeSet;

/// What an OpenTelemetry SDK and an X-Ray SDK do with nothing set: OTLP to the usual port, and a datagram to the
/// daemon, where the agent points the SDK.
const FUNCTION: &str = r#"
import json, os, socket, time, urllib.request

def handler(event, context):
    fields = dict(part.split("=") for part in os.environ["_X_AMZN_TRACE_ID"].split(";"))
    trace, parent, now = fields["Root"], fields["Parent"], time.time()
    span = {
        "traceId": trace[2:].replace("-", ""), "spanId": os.urandom(8).hex(), "parentSpanId": parent, "kind": 1,
        "name": "otlp-" + event["name"], "startTimeUnixNano": str(int(now * 1e9)), "endTimeUnixNano": str(int(now * 1e9) + 1000),
    }
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()
    endpoint = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318") + "/v1/traces"
    request = urllib.request.Request(endpoint, body, {"Content-Type": "application/json"})
    assert urllib.request.urlopen(request).status == 200
    document = {
        "id": os.urandom(8).hex(), "trace_id": trace, "parent_id": parent, "type": "subsegment",
        "name": "sdk-" + event["name"], "start_time": now, "end_time": now + 0.001,
    }
    host, port = os.environ.get("OTEL_XRAY_DAEMON", "127.0.0.1:2000").split(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
        daemon.sendto(b'{"format": "json", "version": 1}\n' + json.dumps(document).encode(), (host, int(port)))
"#;

const ROUNDS: usize = 3;

/// What X-Ray has of the function's own, by name.
fn names(stage: &Stage) -> BTreeSet<String> {
    let traces = stage.traces();
    let nodes = traces.iter().flat_map(|trace| trace.nodes());
    let own = nodes.map(|node| node.name().to_owned());
    own.filter(|name| name.starts_with("otlp-") || name.starts_with("sdk-")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_functions_spans_end_up_in_its_own_x_ray() -> Result<()> {
    let mut stages = [Stage::python(FUNCTION).await?, Stage::python(FUNCTION).await?];
    for stage in &mut stages {
        stage.use_usual_ports();
        stage.set("OTEL_XRAY_TRACING_MODE", "active");
    }
    let [first, second] = &stages;
    let environments = [
        LambdaEnvironment::start(first.config.clone()).await?,
        LambdaEnvironment::start(second.config.clone()).await?,
    ];
    assert!(environments[1].note().is_some(), "the first has the usual ports, or somebody else");
    let mut answers = [Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        let event = |name: &str| json!({"name": format!("{name}-{round}")}).to_string();
        let both =
            tokio::join!(environments[0].invoke(event("a"), None), environments[1].invoke(event("b"), None));
        answers[0].push(both.0?);
        answers[1].push(both.1?);
        environments[0].idle().await?;
        environments[1].idle().await?;
    }
    for (((stage, environment), answers), name) in
        stages.iter().zip(environments).zip(answers).zip(["a", "b"])
    {
        assert!(answers.iter().all(otel_xray_local::lambda::Answer::is_success), "{answers:?}");
        let run = stage.end(environment, answers).await?;
        assert_eq!(run.complaints(), Vec::<&String>::new(), "{name}: no port is taken");
        let expected = (0..ROUNDS).flat_map(|round| ["otlp", "sdk"].map(|by| format!("{by}-{name}-{round}")));
        assert_eq!(names(stage), expected.collect::<BTreeSet<_>>());
    }
    Ok(())
}
