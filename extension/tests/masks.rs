//! What must not leave (xray.md section 14.3, PL-80): every case of `tests/masks.tsv`, whoever has sent it.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[path = "../../tests/support/masks.rs"]
#[allow(unreachable_pub, reason = "the end-to-end tests share it")]
mod table;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use otel_xray::invocation::{Batch, Config, Machine};
use otel_xray::lambda::Invoke;
use otel_xray::ledger::Ledger;
use otel_xray::receive::agent::frame::{self, Decoder};
use otel_xray::receive::daemon::datagram::{self, Datagram};
use otel_xray::receive::otlp::json as otlp_json;
use otel_xray::received::{Connection, Received};
use otel_xray::settings::TracingMode;
use otel_xray::settings::{Keep, Sampling};
use otel_xray::translate::otlp_decode;
use otel_xray::translate::{Function, Masked, Translator};
use prost::Message as _;
use serde_json::Value;
use table::{Case, cases, tells, texts};

const NOW_UNIX_NANO: u64 = 1_795_224_538_500_000_000;

fn machine() -> Machine {
    let mut machine = Machine::new(Config {
        tracing_mode: TracingMode::PassThrough,
        ledger: Ledger::new(8 * 1024 * 1024),
        keeps_whole_traces: true,
        sampling: Sampling::Auto,
        keep: Keep::default(),
        service_name: "checkout".into(),
        memory_mb: Some(512),
    });
    let invoke = Invoke {
        request_id: "request-1".into(),
        trace_header: "Root=1-65656565-656565656565656565656565;Parent=5353535353535353;Sampled=1".into(),
        function_arn: "arn:aws:lambda:eu-west-1:123456789012:function:checkout".into(),
        deadline_ms: 1_795_224_541_079,
    };
    machine.invoke(&invoke, NOW_UNIX_NANO);
    machine
}

fn function() -> Function {
    Function { name: "shop".into(), region: "eu-west-1".into(), ..Function::default() }
}

/// A frame of the agent's protocol.
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
    [&[kind][..], &length, payload].concat()
}

/// What an agent writes for a span: what it knows of its process, the span's begin, and its end.
fn frames(case: &Case, number: usize) -> Vec<Received> {
    let span = case.span(number).encode_to_vec();
    let hello = br#"{"agent":"script","agent_version":"1","runtime":"python","runtime_version":"3.13","pid":1,"env":{}}"#;
    let mut decoder = Decoder::default();
    decoder.buffer().extend_from_slice(&[frame(1, hello), frame(3, &span), frame(4, &span)].concat());
    std::iter::from_fn(|| decoder.next_frame()).map(|one| frame::received(Connection(1), one)).collect()
}

fn protobuf(case: &Case, number: usize) -> Vec<Received> {
    let decoded = otlp_decode::decode(&case.request(number).encode_to_vec()).unwrap();
    vec![Received::Otlp(decoded.resource_spans)]
}

fn json(case: &Case, number: usize) -> Vec<Received> {
    let body = serde_json::to_vec(&case.request(number)).unwrap();
    let converted = otlp_json::to_protobuf(&body).unwrap();
    let request = ExportTraceServiceRequest::decode(&converted.protobuf[..]).unwrap();
    vec![Received::Otlp(request.resource_spans)]
}

fn document(case: &Case, number: usize) -> Vec<Received> {
    let datagram = format!("{{\"format\":\"json\",\"version\":1}}\n{}", case.document(number));
    match datagram::parse(datagram.as_bytes()) {
        Ok(Datagram::Document(document)) => vec![Received::Document(document)],
        other => panic!("{other:?}"),
    }
}

fn batch(received: Vec<Received>) -> Batch {
    let mut machine = machine();
    for one in received {
        machine.receive(one, NOW_UNIX_NANO);
    }
    machine.take_load().whole()
}

/// The documents of one case, whole and as running.
fn documents(batch: Batch) -> Vec<Value> {
    let whole = Translator::default().translate(&Masked::of(&mut batch.clone()), &function());
    let mut running = Batch { is_progress: true, ..batch };
    let running = Translator::default().translate(&Masked::of(&mut running), &function());
    let all = [whole, running].into_iter().flat_map(|translated| translated.documents);
    all.map(|document| serde_json::from_str(&document.json).unwrap()).collect()
}

fn check(source: &str, received: fn(&Case, usize) -> Vec<Received>, has_resource: bool) {
    let mut wrong = Vec::new();
    for (number, case) in cases().iter().enumerate() {
        if case.place == "resource" && !has_resource {
            continue;
        }
        let documents = documents(batch(received(case, number)));
        assert!(!documents.is_empty(), "{source}: {case:?} has left nothing");
        let mut shown = Vec::new();
        for document in &documents {
            texts(document, &mut shown);
        }
        if let Some(document) = documents.iter().map(Value::to_string).find(|text| tells(text)) {
            wrong.push(format!("{source}: {case:?} tells {document}"));
        }
        // Names are cleaned, and fields are cut.
        let cut: String = case.shown.chars().take(250).collect();
        if case.place != "name" && !shown.contains(&&*case.shown) && !shown.contains(&&*cut) {
            let texts: Vec<_> = shown.iter().filter(|text| text.len() > 20).collect();
            wrong.push(format!("{source}: {case:?} is not among {texts:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases().len(), wrong.join("\n"));
}

#[test]
fn bet_23_pl_80_what_agents_write_leaves_masked() {
    check("frames", frames, false);
}

#[test]
fn bet_23_pl_80_what_comes_over_otlp_leaves_masked() {
    check("protobuf", protobuf, true);
    check("json", json, true);
}

#[test]
fn bet_23_row_11_documents_of_x_ray_sdks_leave_masked() {
    check("document", document, false);
}

#[test]
fn the_table_is_long_and_each_line_is_another() {
    let lines: std::collections::BTreeSet<String> = cases().iter().map(|case| format!("{case:?}")).collect();
    assert_eq!(lines.len(), cases().len());
    assert!(lines.len() > 150);
    let secrets = cases().iter().filter(|case| tells(&case.value)).count();
    assert!(secrets > 130 && cases().iter().all(|case| !tells(&case.shown)), "{secrets}");
}

/// An error goes up from the call to the handler, whose span knows nothing of a database.
#[test]
fn pl_53_what_a_database_has_said_is_masked_wherever_it_is_repeated() {
    let line = |system: &str| Case {
        place: "message".into(),
        name: String::new(),
        value: "the value 'SECRET' is not welcome".into(),
        system: system.into(),
        shown: String::new(),
    };
    let (call, mut handler) = (line("postgresql").span(1), line("").span(2));
    handler.trace_id.clone_from(&call.trace_id);
    let mut request = line("").request(1);
    request.resource_spans[0].scope_spans[0].spans = vec![call, handler];
    let documents = documents(batch(vec![Received::Otlp(request.resource_spans)]));
    let texts: Vec<String> = documents.iter().map(Value::to_string).collect();
    assert!(texts.iter().all(|text| !tells(text)), "{texts:?}");
    let told = texts.iter().filter(|text| text.contains("the value '?' is not welcome")).count();
    // The call and the handler, each of them whole and as running.
    assert_eq!(told, 4, "{texts:?}");
}
