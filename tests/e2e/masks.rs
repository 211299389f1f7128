//! What must not leave (xray.md section 14.3): the cases of `masks.tsv` through every receiver at once, to X-Ray and to
//! a collector.

use super::outlets::collector;
use anyhow::Result;
use otel_xray_local::lambda::{LambdaEnvironment, RuntimeKind, ScriptedRuntime};
use otel_xray_tests::masks::{cases, tells};
use otel_xray_tests::{Agent, Stage};
use prost::Message as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};

fn post(address: SocketAddr, kind: &str, body: &[u8]) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    anyhow::ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    Ok(())
}

/// Sends every case by every way there is.
fn send(agent: &mut Agent, otlp: SocketAddr, daemon: SocketAddr) -> Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    for (number, case) in cases().iter().enumerate() {
        agent.end(case.span(number))?;
        post(otlp, "application/x-protobuf", &case.request(1000 + number).encode_to_vec())?;
        let document = format!("{{\"format\":\"json\",\"version\":1}}\n{}", case.document(number));
        socket.send_to(document.as_bytes(), daemon)?;
    }
    Ok(())
}

/// A runtime whose one invocation does all of that.
fn runtime(otlp: SocketAddr, daemon: SocketAddr) -> ScriptedRuntime {
    ScriptedRuntime::new(move |client| async move {
        // As real agents do, before the invocation: else nothing says that it has one, and nothing waits for its end.
        let port = client.api.port();
        let Ok(Ok(mut agent)) = tokio::task::spawn_blocking(move || Agent::connect(port)).await else {
            return 1;
        };
        let Ok(event) = client.next().await else { return 1 };
        let request_id = event.request_id.clone();
        let worked = tokio::task::spawn_blocking(move || {
            let handler = agent.enter(&event)?;
            send(&mut agent, otlp, daemon)?;
            agent.end(handler)?;
            agent.done(&event.request_id)?;
            Ok::<_, anyhow::Error>(agent)
        });
        // The end of the agent's connection would be the end of the function's process.
        let Ok(Ok(_agent)) = worked.await else { return 1 };
        if client.respond(&request_id, "{}").await.is_err() {
            return 1;
        }
        let _ = client.next().await;
        0
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn section_14_3_nothing_leaves_that_must_not_by_any_way() -> Result<()> {
    let (address, requests) = collector().await?;
    let mut stage = Stage::scripted(ScriptedRuntime::handler(|_| Vec::new())).await?;
    stage.config.runtime = RuntimeKind::Scripted(runtime(stage.otlp, stage.daemon));
    stage.set("OTEL_XRAY_OUTLETS", "xray,otlp");
    stage.set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &format!("http://{address}/v1/traces"));
    stage.set("OTEL_XRAY_FLUSH_TIMEOUT_MS", "15000");
    let environment = LambdaEnvironment::start(stage.config.clone()).await?;
    let answers = vec![environment.invoke("{}", None).await?];
    assert!(answers[0].is_success(), "{answers:?}");
    environment.idle().await?;
    stage.wait_for_spans(3 * cases().len() + 1).await?;
    stage.end(environment, answers).await?;

    let documents = stage.xray.store().documents();
    let of_sdks = documents
        .iter()
        .filter(|document| document.body["id"].as_str().is_some_and(|id| id.starts_with("000000000000a")));
    assert_eq!(of_sdks.count(), cases().len(), "each document of an SDK");
    for document in &documents {
        let text = serde_json::to_string(&document.body)?;
        assert!(!tells(&text), "{text}");
    }
    let requests = requests.lock().expect("no test panics while it holds this").clone();
    let spans = requests.iter().flat_map(|request| &request.resource_spans).flat_map(|one| &one.scope_spans);
    assert_eq!(spans.map(|scope| scope.spans.len()).sum::<usize>(), 2 * cases().len() + 1);
    assert!(!tells(&format!("{requests:?}")));
    Ok(())
}
