//! Spans a second that an extension takes by OTLP over HTTP, what became of them, and its memory meanwhile.
//!
//! `bench-otlp [--runs N] [--json FILE] PATH`

use anyhow::{Context as _, Result};
use otel_xray_bench::platform::{NEXT, Platform, XRay};
use otel_xray_bench::{median, process, spans};
use prost::Message as _;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// As a batch processor of an OpenTelemetry SDK sends them: 512 at most.
const TRACES_OF_A_REQUEST: usize = 50;
const CONNECTIONS: usize = 4;
const REQUESTS_OF_A_CONNECTION: usize = 500;

#[derive(Debug, Default)]
struct Readings {
    spans_per_s: Vec<f64>,
    sent_per_s: Vec<f64>,
    peak_rss_mb: Vec<f64>,
}

fn main() -> Result<()> {
    let (mut runs, mut json_file, mut path) = (5_usize, None, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--runs" => runs = arguments.next().context("--runs needs a number")?.parse()?,
            "--json" => json_file = Some(arguments.next().context("--json needs a file")?),
            _ => path = Some(argument),
        }
    }
    let path = path.context("give the PATH of the extension")?;
    let request = spans::request(TRACES_OF_A_REQUEST);
    let scopes = request.resource_spans.iter().flat_map(|one| &one.scope_spans);
    let spans_of_a_request: usize = scopes.map(|one| one.spans.len()).sum();
    let body = request.encode_to_vec();
    let spans = spans_of_a_request * CONNECTIONS * REQUESTS_OF_A_CONNECTION;
    let mut readings = Readings::default();
    for _ in 0..runs {
        measure(&path, &body, spans, &mut readings)?;
    }
    let row = json!({
        "runs": runs,
        "spans": spans,
        "spans_of_a_request": spans_of_a_request,
        "connections": CONNECTIONS,
        "bytes_per_span": body.len() as f64 / spans_of_a_request as f64,
        "spans_per_s": median(&mut readings.spans_per_s),
        "sent_per_s": median(&mut readings.sent_per_s),
        "peak_rss_mb": median(&mut readings.peak_rss_mb),
    });
    println!("OTLP over HTTP: {row:#}");
    if let Some(file) = json_file {
        std::fs::write(file, format!("{row:#}\n"))?;
    }
    Ok(())
}

fn measure(path: &str, body: &[u8], spans: usize, readings: &mut Readings) -> Result<()> {
    let platform = Platform::start()?;
    let xray = XRay::start()?;
    let otlp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let mut child = Command::new(path)
        .env_clear()
        .env("AWS_LAMBDA_RUNTIME_API", platform.address.to_string())
        .env("AWS_LAMBDA_FUNCTION_NAME", "bench")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .env("AWS_ENDPOINT_URL_XRAY", format!("http://{}", xray.address))
        .env("OTEL_XRAY_AGENT_SOCKET", format!("otel-xray-bench-otlp-{}", std::process::id()))
        .env("OTEL_XRAY_OTLP_HTTP", otlp.to_string())
        .env("OTEL_XRAY_OTLP_GRPC", "off")
        .env("OTEL_XRAY_DAEMON", "off")
        .env("OTEL_XRAY_SPOOL", "off")
        .env("OTEL_XRAY_LOG_LEVEL", "info")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{path} could not be started"))?;
    let result = observe(&platform, otlp, body, spans, &mut child, readings);
    let _ = child.kill();
    let _ = child.wait();
    result
}

fn observe(
    platform: &Platform,
    otlp: SocketAddr,
    body: &[u8],
    spans: usize,
    child: &mut Child,
    readings: &mut Readings,
) -> Result<()> {
    platform.wait_for(NEXT)?;
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(|| post_all(otlp, body))).collect();
        clients
            .into_iter()
            .try_for_each(|client| client.join().unwrap_or_else(|_| anyhow::bail!("a client panicked")))
    })?;
    let seconds = begin.elapsed().as_secs_f64();
    readings.spans_per_s.push(spans as f64 / seconds);
    readings.peak_rss_mb.push(process::peak_rss_mb(child)?);
    platform.send(&json!({"eventType": "SHUTDOWN", "shutdownReason": "spindown", "deadlineMs": 0}))?;
    let mut said = String::new();
    child.stdout.take().context("no standard output")?.read_to_string(&mut said)?;
    let accounts: Value = said
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .find(|line: &Value| line["event"] == "otel_xray.accounting")
        .with_context(|| format!("no accounts: {said}"))?;
    anyhow::ensure!(accounts["received"] == json!(spans) && accounts["unaccounted"].is_null(), "{accounts}");
    readings.sent_per_s.push(accounts["sent"].as_f64().unwrap_or_default() / seconds);
    Ok(())
}

/// Posts the same request again and again on one connection.
fn post_all(otlp: SocketAddr, body: &[u8]) -> Result<()> {
    let mut stream = TcpStream::connect(otlp)?;
    stream.set_nodelay(true)?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let request = [head.as_bytes(), body].concat();
    for _ in 0..REQUESTS_OF_A_CONNECTION {
        stream.write_all(&request)?;
        let mut line = String::new();
        answers.read_line(&mut line)?;
        anyhow::ensure!(line.starts_with("HTTP/1.1 200"), "the answer was {line:?}");
        // The body of a success is empty.
        while line != "\r\n" {
            line.clear();
            answers.read_line(&mut line)?;
        }
    }
    Ok(())
}
