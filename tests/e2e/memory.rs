//! What the extension takes at most, when one invocation leaves sixty thousand spans, and a function that has little
//! memory itself.

use anyhow::{Context as _, Result};
use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanKind, TraceContextExt as _, Tracer as _, TracerProvider as _};
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_proto::tonic::common::v1::{self as common, AnyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};
use otel_xray_local::lambda::{Event, LambdaEnvironment, Origin, RuntimeEvent, ScriptedRuntime};
use otel_xray_tests::{Run, Stage};
use prost::Message as _;
use serde_json::Value as Json;
use std::io::Write as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::sync::Arc;
use std::time::Duration;

const SPANS: usize = 60_000;
const MAX_RSS_MB: f64 = 24.0;

/// The function's side of the local protocol (wrapper/PROTOCOL.md).
struct Agent(UnixStream);

impl Agent {
    fn connect(socket: &str) -> Result<Self> {
        let mut agent = Self(UnixStream::connect_addr(&SocketAddr::from_abstract_name(socket)?)?);
        agent.write(1, br#"{"agent":"test","agent_version":"1","runtime":"rust","runtime_version":"1","pid":1,"env":{}}"#)?;
        Ok(agent)
    }

    fn write(&mut self, kind: u8, payload: &[u8]) -> Result<()> {
        let mut frame = vec![kind];
        frame.extend(u32::try_from(payload.len())?.to_le_bytes());
        frame.extend(payload);
        Ok(self.0.write_all(&frame)?)
    }

    fn invoke(&mut self, event: &RuntimeEvent) -> Result<()> {
        let mut payload = event.deadline_ms.to_le_bytes().to_vec();
        payload.extend(u16::try_from(event.request_id.len())?.to_le_bytes());
        payload.extend(event.request_id.as_bytes());
        payload.extend(event.trace_header.as_deref().unwrap_or_default().as_bytes());
        self.write(2, &payload)
    }

    fn done(&mut self, event: &RuntimeEvent) -> Result<()> {
        let mut payload = vec![0; 5];
        payload.extend(event.request_id.as_bytes());
        self.write(5, &payload)
    }
}

/// Runs one invocation of a function that does this, and returns the extension's peak in MB and the accounts.
async fn measure(
    work: impl Fn(&mut Agent, &RuntimeEvent, &str) -> Result<()> + Send + Sync + 'static,
) -> Result<(f64, Json)> {
    let work = Arc::new(work);
    let mut stage = Stage::scripted(ScriptedRuntime::handler(|_| Vec::new())).await?;
    let socket = format!("otel-xray-memory-{}", stage.otlp.port());
    let otlp = format!("http://{}/v1/traces", stage.otlp);
    stage.set("OTEL_XRAY_AGENT_SOCKET", &socket);
    stage.set("OTEL_XRAY_FLUSH_TIMEOUT_MS", "15000");
    let runtime = ScriptedRuntime::new(move |client| {
        let (work, socket, otlp) = (Arc::clone(&work), socket.clone(), otlp.clone());
        async move {
            let Ok(mut agent) = Agent::connect(&socket) else { return 1 };
            let Ok(event) = client.next().await else { return 1 };
            let (work, request_id) = (Arc::clone(&work), event.request_id.clone());
            let worked = tokio::task::spawn_blocking(move || {
                agent.invoke(&event)?;
                work(&mut agent, &event, &otlp)?;
                agent.done(&event)?;
                Ok::<_, anyhow::Error>(agent)
            });
            // The end of the agent's connection would be the end of the function's process.
            let Ok(Ok(_agent)) = worked.await else { return 1 };
            if client.respond(&request_id, "{}").await.is_err() {
                return 1;
            }
            let _ = client.next().await;
            0
        }
    });
    stage.config.timeout = Duration::from_mins(2);
    stage.config.runtime = otel_xray_local::lambda::RuntimeKind::Scripted(runtime);
    let environment = LambdaEnvironment::start(stage.config.clone()).await?;
    let answer = environment.invoke("{}", None).await?;
    anyhow::ensure!(answer.is_success(), "the function failed: {answer:?}");
    environment.idle().await?;
    let peak = peak_mb(&environment)?;
    environment.shutdown().await?;
    let log = environment.event_log();
    let run = Run {
        answers: vec![answer],
        lines: log.lines(&Origin::Extension("otel-xray".to_owned())),
        function_lines: Vec::new(),
    };
    Ok((peak, run.accounts()))
}

/// The most that was ever resident of the extension's process.
fn peak_mb(environment: &LambdaEnvironment) -> Result<f64> {
    let entries = environment.event_log().entries();
    let pid = entries.iter().find_map(|entry| match &entry.event {
        Event::ProcessStarted { origin: Origin::Extension(_), pid } => Some(*pid),
        _ => None,
    });
    let pid = pid.context("no extension was started")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kb: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kb / 1024.0)
}

fn assert_bounded((peak, accounts): &(f64, Json)) {
    println!("peak {peak:.1} MB, {accounts}");
    assert_eq!(accounts["received"], SPANS as u64, "{accounts}");
    assert!(accounts["sent"].as_u64().unwrap_or_default() > 0, "{accounts}");
    assert!(*peak <= MAX_RSS_MB, "{peak:.1} MB: {accounts}");
}

fn attribute(key: &str, value: &str) -> common::KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.into())) });
    common::KeyValue { key: key.into(), value, ..common::KeyValue::default() }
}

/// Very many calls in Lambda's own trace, as an agent writes them.
fn calls(agent: &mut Agent, event: &RuntimeEvent, _otlp: &str) -> Result<()> {
    let header = event.trace_header.as_deref().context("no trace header")?;
    let field = |name: &str| {
        let text =
            header.split(';').find_map(|field| field.strip_prefix(name)).context("a field is missing")?;
        hexadecimal(&text.replacen("1-", "", usize::from(name == "Root=")).replace('-', ""))
    };
    let (trace_id, parent) = (field("Root=")?, field("Parent=")?);
    for number in 0..SPANS as u64 {
        let start = 1_795_224_538_079_123_456 + number * 100_000;
        let span = Span {
            trace_id: trace_id.clone(),
            span_id: (number + 1).to_be_bytes().to_vec(),
            parent_span_id: if number == 0 { parent.clone() } else { 1_u64.to_be_bytes().to_vec() },
            name: if number == 0 { "app.handler".into() } else { "DynamoDB.GetItem".into() },
            kind: if number == 0 { 2 } else { 3 },
            start_time_unix_nano: start,
            end_time_unix_nano: start + 90_000,
            attributes: vec![
                attribute("rpc.system", "aws-api"),
                attribute("rpc.service", "DynamoDB"),
                attribute("rpc.method", "GetItem"),
                attribute("aws.table_name", "orders"),
                attribute(
                    "aws.request_id",
                    &format!("4KBNVRGD25RG1KEO9UT4V3FQDJVV4KQNSO5AEMVJF66Q9A{number:06}"),
                ),
                attribute("cloud.region", "us-east-1"),
            ],
            flags: if number == 0 { 0x301 } else { 0x101 },
            ..Span::default()
        };
        agent.write(4, &span.encode_to_vec())?;
    }
    Ok(())
}

fn hexadecimal(text: &str) -> Result<Vec<u8>> {
    (0..text.len()).step_by(2).map(|at| Ok(u8::from_str_radix(&text[at..at + 2], 16)?)).collect()
}

/// Thousands of traces of ten spans each, from an OpenTelemetry SDK in the function.
fn thousands_of_traces(_agent: &mut Agent, _event: &RuntimeEvent, otlp: &str) -> Result<()> {
    let exporter = opentelemetry_otlp::SpanExporter::builder().with_http().with_endpoint(otlp).build()?;
    let batch =
        BatchConfigBuilder::default().with_max_queue_size(SPANS).with_max_export_batch_size(512).build();
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batch).build();
    let provider = SdkTracerProvider::builder().with_span_processor(processor).build();
    let tracer = provider.tracer("the function's own");
    for trace in 0..SPANS / 10 {
        let top = tracer.span_builder("consume").with_kind(SpanKind::Consumer).start(&tracer);
        let context = opentelemetry::Context::current_with_span(top);
        for call in 0..9 {
            let attributes = [
                KeyValue::new("http.request.method", "GET"),
                KeyValue::new("url.full", format!("https://api.example.com/v1/{trace}/{call}")),
                KeyValue::new("http.response.status_code", 200),
            ];
            let builder = tracer.span_builder("GET").with_kind(SpanKind::Client).with_attributes(attributes);
            drop(builder.start_with_context(&tracer, &context));
        }
        context.span().end();
    }
    Ok(provider.shutdown()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_sixty_thousand_spans_of_an_agent_take_24_mb_at_most() -> Result<()> {
    assert_bounded(&measure(calls).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_sixty_thousand_spans_by_otlp_take_24_mb_at_most() -> Result<()> {
    assert_bounded(&measure(thousands_of_traces).await?);
    Ok(())
}

/// Holds half of 128 MB, and leaves 60,000 spans with five attributes in each invocation.
const SMALL_FUNCTION: &str = r#"
import os, struct, time, urllib.request

HELD = b"held" * (14 * 1024 * 1024)


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number, value):
    return varint(number << 3 | 2) + varint(len(value)) + value


ATTRIBUTES = b"".join(
    field(9, field(1, b"app.key_%d" % number) + field(2, field(1, b"a value of twenty by"))) for number in range(5)
)


def handler(event, context):
    header = dict(part.split("=") for part in os.environ["_X_AMZN_TRACE_ID"].split(";"))
    trace = field(1, bytes.fromhex(header["Root"].replace("1-", "", 1).replace("-", "")))
    parent = field(4, bytes.fromhex(header["Parent"]))
    times = struct.pack("<BQBQ", 7 << 3 | 1, time.time_ns(), 8 << 3 | 1, time.time_ns() + 1000)
    for begin in range(0, 60_000, 4_000):
        spans = (
            field(2, trace + field(2, struct.pack(">Q", number + 1)) + parent + field(5, b"work") + times + ATTRIBUTES)
            for number in range(begin, begin + 4_000)
        )
        request = urllib.request.Request(
            os.environ["SPANS_TO"],
            field(1, field(2, b"".join(spans))),
            {"Content-Type": "application/x-protobuf"},
        )
        urllib.request.urlopen(request).read()
    return len(HELD)
"#;

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_function_of_128_mb_leaves_sixty_thousand_spans_and_works() -> Result<()> {
    let mut stage = Stage::python(SMALL_FUNCTION).await?;
    stage.config.memory_mb = 128;
    let otlp = format!("http://{}/v1/traces", stage.otlp);
    stage.set("SPANS_TO", &otlp);
    let environment = LambdaEnvironment::start(stage.config.clone()).await?;
    let mut answers = Vec::new();
    for _ in 0..3 {
        answers.push(environment.invoke("{}", None).await?);
        environment.idle().await?;
    }
    let kills = environment.event_log().count(|event| matches!(event, Event::OutOfMemory { .. }));
    let peaks: Vec<u32> =
        environment.invocation_reports().iter().map(|report| report.max_memory_used_mb).collect();
    let run = stage.end(environment, answers).await?;
    assert!(run.answers.iter().all(|answer| &answer.payload[..] == b"58720256"), "{:?}", run.answers);
    assert_eq!(kills, 0, "{peaks:?}");
    let accounts = run.accounts();
    println!("{peaks:?} MB, {accounts}");
    assert!(accounts["received"].as_u64().unwrap_or_default() > 3 * SPANS as u64, "{accounts}");
    assert!(accounts["dropped"]["trace_budget"].as_u64().unwrap_or_default() > 0, "{accounts}");
    let handlers = stage.traces().iter().filter(|trace| trace.find("app.handler").is_some()).count();
    assert_eq!(handlers, 3);
    Ok(())
}
