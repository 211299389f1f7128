//! Traces that leave another way, or several ways.

use anyhow::Result;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use otel_xray_local::xray::Fault;
use otel_xray_tests::Stage;
use prost::Message as _;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const FUNCTION: &str = "def handler(event, context):\n    return event\n";

pub(super) type Requests = Arc<Mutex<Vec<ExportTraceServiceRequest>>>;

/// A collector that takes everything.
pub(super) async fn collector() -> Result<(SocketAddr, Requests)> {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let requests = Requests::default();
    let kept = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let kept = Arc::clone(&kept);
            tokio::spawn(async move {
                let _ = serve(stream, &kept).await;
            });
        }
    });
    Ok((address, requests))
}

async fn serve(mut stream: tokio::net::TcpStream, kept: &Requests) -> Result<()> {
    let mut bytes = Vec::new();
    loop {
        let head = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        let length = head.and_then(|end| {
            let text = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let line =
                text.lines().find_map(|line| line.strip_prefix("content-length:").map(str::to_owned))?;
            Some((end + 4, line.trim().parse::<usize>().ok()?))
        });
        match length {
            Some((begin, length)) if bytes.len() >= begin + length => {
                let request = ExportTraceServiceRequest::decode(&bytes[begin..begin + length])?;
                kept.lock().expect("no test panics while it holds this").push(request);
                bytes.drain(..begin + length);
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await?;
            }
            _ if stream.read_buf(&mut bytes).await? == 0 => return Ok(()),
            _ => {}
        }
    }
}

/// The documents in the datagrams that have come.
fn datagrams(socket: &UdpSocket) -> Result<Vec<Value>> {
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    let mut buffer = vec![0; 65_536];
    let mut documents = Vec::new();
    while let Ok(bytes) = socket.recv(&mut buffer) {
        let text = std::str::from_utf8(&buffer[..bytes])?;
        let (_, document) = text.split_once('\n').ok_or_else(|| anyhow::anyhow!("no header line: {text}"))?;
        documents.push(serde_json::from_str(document)?);
    }
    Ok(documents)
}

#[tokio::test(flavor = "multi_thread")]
async fn dmn_2_the_daemon_of_the_runtimes_environment_gets_the_documents() -> Result<()> {
    let daemon = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut stage = Stage::python(FUNCTION).await?;
    stage.set("OTEL_XRAY_OUTLETS", "daemon");
    stage.config.xray_daemon_address = daemon.local_addr()?.to_string();
    let url = "http://127.0.0.1:1";
    stage.set("AWS_ENDPOINT_URL_XRAY", url);
    let run = stage.run(&[json!({"n": 1}), json!({"n": 2})]).await?;
    assert_eq!((&run.accounts()["sent"], &run.accounts()["carried"]), (&json!(2), &json!(0)));
    let documents = datagrams(&daemon)?;
    assert_eq!(documents.len(), 2);
    assert_eq!(documents[1]["name"], "app.handler");
    assert_ne!(documents[0]["trace_id"], documents[1]["trace_id"]);
    assert_eq!(run.complaints(), Vec::<&String>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_the_spans_with_what_is_known_of_the_function() -> Result<()> {
    let (address, requests) = collector().await?;
    let mut stage = Stage::python(FUNCTION).await?;
    stage.set("OTEL_XRAY_OUTLETS", "otlp");
    stage.set("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{address}"));
    stage.set("AWS_ENDPOINT_URL_XRAY", "http://127.0.0.1:1");
    let run = stage.run(&[json!({"n": 1}), json!({"n": 2})]).await?;
    assert_eq!((&run.accounts()["sent"], &run.accounts()["carried"]), (&json!(2), &json!(0)));
    assert_eq!(run.complaints(), Vec::<&String>::new());
    let requests = requests.lock().expect("no test panics while it holds this").clone();
    assert_eq!(requests.len(), 2);
    for request in requests {
        let resource = request.resource_spans[0].resource.clone().unwrap_or_default();
        for key in ["faas.name", "faas.version", "cloud.region", "service.name", "telemetry.sdk.language"] {
            assert!(resource.attributes.iter().any(|attribute| attribute.key == key), "{key}");
        }
        assert_eq!(request.resource_spans[0].scope_spans[0].spans[0].name, "app.handler");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_p4_outlets_fail_each_for_itself_and_have_their_own_accounts() -> Result<()> {
    let daemon = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let (address, requests) = collector().await?;
    let mut stage = Stage::python(FUNCTION).await?;
    stage.set("OTEL_XRAY_OUTLETS", "xray,daemon,otlp");
    stage.set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &format!("http://{address}/v1/traces"));
    stage.set("OTEL_XRAY_FLUSH_TIMEOUT_MS", "2000");
    stage.config.xray_daemon_address = daemon.local_addr()?.to_string();
    stage.xray.faults().choose(|_| Some(Fault::Hang));
    let run = stage.run(&[json!({"n": 1}), json!({"n": 2}), json!({"n": 3})]).await?;
    let accounts = run.accounts();
    let of = |outlet: &str| {
        let fates = &accounts["outlets"][outlet];
        (fates["sent"].as_u64(), fates["carried"].as_u64())
    };
    assert_eq!(of("xray"), (Some(0), Some(3)));
    assert_eq!(of("daemon"), (Some(3), Some(0)));
    assert_eq!(of("otlp"), (Some(3), Some(0)));
    assert_eq!(datagrams(&daemon)?.len(), 3);
    assert_eq!(requests.lock().expect("no test panics while it holds this").len(), 3);
    Ok(())
}
