//! What an X-Ray SDK sends to the daemon's port, in a runtime that has no agent.

use anyhow::Result;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use otel_xray_local::lambda::{LambdaEnvironment, RuntimeKind, ScriptedRuntime};
use otel_xray_tests::Stage;
use prost::Message as _;
use serde_json::json;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

const HEADER: &str = "{\"format\": \"json\", \"version\": 1}\n";

#[tokio::test(flavor = "multi_thread")]
async fn row_11_env_5_documents_of_an_x_ray_sdk_hang_where_the_sdk_put_them() -> Result<()> {
    let stage = Stage::scripted(ScriptedRuntime::handler(|_| b"{}".to_vec())).await?;
    let environment = LambdaEnvironment::start(stage.config.clone()).await?;
    let answers = vec![environment.invoke("{}", None).await?];
    environment.thaw().await?;
    let function = stage.traces()[0].roots[0].children[0].clone();
    let trace = stage.traces()[0].id.clone();
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let send = |body: &str| socket.send_to(format!("{HEADER}{body}").as_bytes(), stage.daemon);
    let work = json!({
        "id": "00000000000000a1", "trace_id": trace, "parent_id": function.text("/id"), "type": "subsegment", "name": "## work",
        "start_time": 1_795_224_538.1, "end_time": 1_795_224_538.4, "annotations": {"order": 7},
        "metadata": {"default": {"note": "as it is"}}, "subsegments": [
            {"id": "00000000000000a2", "name": "S3", "namespace": "aws", "start_time": 1_795_224_538.2,
             "end_time": 1_795_224_538.3, "aws": {"operation": "PutObject", "bucket_name": "b"}}],
    });
    send(&work.to_string())?;
    let nulls = json!({
        "id": "00000000000000b1", "trace_id": trace, "parent_id": function.text("/id"), "type": "subsegment", "name": "## nulls",
        "start_time": 1_795_224_538.1, "end_time": 1_795_224_538.4, "cause": null, "http": null, "sql": null,
        "annotations": {"order": null, "paid": true}, "metadata": {"default": {"note": null}}, "subsegments": [null],
        "aws": {"operation": "GetItem", "retries": null}, "namespace": "aws",
    });
    send(&nulls.to_string())?;
    send("{\"id\":\"x\"}")?;
    send("nonsense")?;
    stage.wait_for_spans(3).await?;

    let span = Span {
        trace_id: vec![0x65; 16],
        span_id: vec![7; 8],
        name: "a distribution's own".into(),
        start_time_unix_nano: 1_795_224_538_000_000_000,
        end_time_unix_nano: 1_795_224_538_500_000_000,
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }],
    };
    send(&format!("T1S{}", BASE64_STANDARD.encode(request.encode_to_vec())))?;
    stage.wait_for_spans(4).await?;

    // As fast as the sender can: what the kernel had no room for is counted.
    for number in 0..5_000 {
        let one = json!({"id": format!("{:016x}", 0x1000 + number), "trace_id": format!("1-6558f1d2-{number:024x}"),
            "name": "many", "start_time": 1_795_224_538, "end_time": 1_795_224_539});
        send(&one.to_string())?;
    }
    until_quiet(&stage).await;
    let run = stage.end(environment, answers).await?;

    let traces = stage.traces();
    let lambdas = traces.iter().find(|one| one.id == trace).expect("Lambda's trace");
    let function = lambdas.find(function.name()).expect("the function's segment");
    assert_eq!(function.text("/origin"), "AWS::Lambda");
    let work = lambdas.find("## work").expect("the SDK's subsegment");
    assert_eq!(work.value("/metadata/default/note"), &json!("as it is"));
    assert_eq!((work.children[0].name(), work.children[0].text("/aws/bucket_name")), ("S3", "b"));
    let nulls = lambdas.find("## nulls").expect("the subsegment with nulls");
    assert_eq!(
        (nulls.value("/annotations"), nulls.text("/aws/operation")),
        (&json!({"paid": true}), "GetItem")
    );
    assert_eq!(nulls.value("/metadata/default"), &json!({"note": null}), "metadata is the user's own");
    assert!(traces.iter().any(|one| one.id != trace), "OTLP in a datagram is OTLP");
    let accounts = run.accounts();
    let count = |path: &str| accounts.pointer(path).and_then(serde_json::Value::as_u64).unwrap_or(0);
    assert_eq!(count("/received"), 5_006);
    assert_eq!(count("/trimmed/document_repaired"), 0, "X-Ray has refused none of them");
    assert_eq!((count("/dropped/invalid_id"), count("/dropped/unreadable")), (1, 1));
    Ok(())
}

/// A runtime of its own, with what an X-Ray SDK does: a datagram to where the environment says that the daemon is.
const RUNTIME: &str = r#"
import http.client, json, os, socket, time
host, port = os.environ["AWS_XRAY_DAEMON_ADDRESS"].split(":")
api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
daemon = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while True:
    api.request("GET", "/2018-06-01/runtime/invocation/next")
    event = api.getresponse()
    event.read()
    header = dict(part.split("=") for part in event.headers["Lambda-Runtime-Trace-Id"].split(";"))
    now = time.time()
    document = {"id": "00000000000000a1", "trace_id": header["Root"], "parent_id": header["Parent"], "type": "subsegment",
                "name": "work", "start_time": now, "end_time": now + 0.001}
    daemon.sendto(b'{"format": "json", "version": 1}\n' + json.dumps(document).encode(), (host, int(port)))
    api.request("POST", "/2018-06-01/runtime/invocation/%s/response" % event.headers["Lambda-Runtime-Aws-Request-Id"], "{}")
    api.getresponse().read()
"#;

#[tokio::test(flavor = "multi_thread")]
async fn env_2_the_wrapper_points_the_sdk_of_a_runtime_without_an_agent_at_the_extension() -> Result<()> {
    let mut stage = Stage::scripted(ScriptedRuntime::handler(|_| b"{}".to_vec())).await?;
    let RuntimeKind::Python { interpreter } = otel_xray_tests::python()? else {
        anyhow::bail!("no Python");
    };
    let ruby = stage.config.task_dir.join("ruby");
    std::fs::write(&ruby, format!("#!{}\n{RUNTIME}", interpreter.display()))?;
    std::fs::set_permissions(&ruby, std::fs::Permissions::from_mode(0o755))?;
    let wrapper = stage.config.layer_dir.join("otel-instrument");
    let command =
        [wrapper, ruby, "/var/runtime/lib/runtime.rb".into()].map(|part| part.display().to_string());
    stage.config.runtime = RuntimeKind::Command(command.into());
    let environment = LambdaEnvironment::start(stage.config.clone()).await?;
    let answers = vec![environment.invoke("{}", None).await?];
    environment.thaw().await?;
    stage.wait_for_spans(1).await?;
    stage.end(environment, answers).await?;

    let traces = stage.traces();
    let work = traces[0].find("work").expect("the SDK's subsegment");
    assert_eq!(work.text("/id"), "00000000000000a1");
    assert_eq!(traces.len(), 1);
    Ok(())
}

/// Whether datagrams wait in the kernel for the extension, by its table of sockets.
fn is_backlogged(stage: &Stage) -> bool {
    let table = std::fs::read_to_string("/proc/net/udp").unwrap_or_default();
    let port = format!(":{:04X}", stage.daemon.port());
    table.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(1).is_some_and(|local| local.ends_with(&port))
            && fields.get(4).is_some_and(|queues| !queues.ends_with(":00000000"))
    })
}

/// Waits until everything has been read, and nothing more arrives.
async fn until_quiet(stage: &Stage) {
    let (mut seen, mut quiet) = (0, 0);
    while quiet < 100 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let arrived = stage.spans_arrived();
        quiet = if arrived == seen && !is_backlogged(stage) { quiet + 1 } else { 0 };
        seen = arrived;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dmn_14_fifty_thousand_documents_at_once_and_the_largest_datagrams_are_all_accounted_for()
-> Result<()> {
    /// As much as IPv4 carries in one datagram.
    const LARGEST: usize = 65_507;
    const MANY: usize = 50_000;
    const LARGE: usize = 20;
    let stage = Stage::scripted(ScriptedRuntime::handler(|_| b"{}".to_vec())).await?;
    let environment = LambdaEnvironment::start(stage.config.clone()).await?;
    let answers = vec![environment.invoke("{}", None).await?];
    environment.thaw().await?;
    let own = stage.spans_arrived();
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let document = |number: usize, note: &str| {
        let one = json!({"id": format!("{:016x}", 1 + number), "name": "many", "start_time": 1_795_224_538,
            "trace_id": format!("1-6558f1d2-{:024x}", 1 + number / 500), "end_time": 1_795_224_539,
            "metadata": {"default": {"note": note}}});
        format!("{HEADER}{one}")
    };
    let sending = std::thread::spawn({
        let (small, daemon) =
            ((0..MANY).map(|number| document(number, "")).collect::<Vec<_>>(), stage.daemon);
        let bare = document(MANY, "").len();
        let large: Vec<String> =
            (MANY..MANY + LARGE).map(|number| document(number, &"x".repeat(LARGEST - bare))).collect();
        move || -> std::io::Result<usize> {
            let mut longest = 0;
            for datagram in small.iter().chain(&large) {
                longest = longest.max(socket.send_to(datagram.as_bytes(), daemon)?);
            }
            Ok(longest)
        }
    });
    let longest = sending.join().expect("the sender does not panic")?;
    assert_eq!(longest, LARGEST);
    until_quiet(&stage).await;
    let arrived = stage.spans_arrived() - own;
    let run = stage.end(environment, answers).await?;

    let accounts = run.accounts();
    assert_eq!(accounts["received"], MANY + LARGE, "{accounts}");
    let dropped = accounts["dropped"].as_object().cloned().unwrap_or_default();
    assert!(!dropped.contains_key("unreadable") && !dropped.contains_key("invalid_id"), "{accounts}");
    let lost: u64 = dropped.values().filter_map(serde_json::Value::as_u64).sum();
    let carried = accounts["carried"].as_u64().unwrap_or_default();
    let sent = accounts["sent"].as_u64().unwrap_or_default();
    assert_eq!(sent + lost + carried, (MANY + LARGE) as u64, "{accounts}");
    assert!(arrived > 0, "{accounts}");
    Ok(())
}
