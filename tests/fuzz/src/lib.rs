//! What the fuzz targets have in common: the way of a span through the extension, and what must hold at its end.

pub mod hostile;

use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use otel_xray::accounts::Accounts;
use otel_xray::invocation::{Config, Machine};
use otel_xray::lambda::Invoke;
use otel_xray::ledger::Ledger;
use otel_xray::received::Received;
use otel_xray::settings::{Keep, Sampling, TracingMode};
use otel_xray::translate::sdk::SdkDocument;
use otel_xray::translate::{Function, Masked, Translator};

/// When everything arrives.
pub const NOW_UNIX_NANO: u64 = 1_795_224_538_079_000_000;

/// What the extension aims for, below X-Ray's hard limit (LIM-1).
const MAX_DOCUMENT_BYTES: usize = 64_000;
/// Exceptions of a document, and frames of an exception (BET-21).
const MAX_EXCEPTIONS: usize = 10;
const MAX_FRAMES: usize = 50;
/// What X-Ray reads a whole number as.
const MAX_NUMBER: u64 = i32::MAX as u64;

/// The machine as it is when an invocation has begun.
pub fn machine(tracing_mode: TracingMode, trace_header: &str, sampling: Sampling, keep: Keep) -> Machine {
    let mut machine = Machine::new(Config {
        tracing_mode,
        ledger: Ledger::new(8 * 1024 * 1024),
        keeps_whole_traces: true,
        sampling,
        keep,
        service_name: "checkout".into(),
        memory_mb: Some(512),
    });
    let invoke = Invoke {
        request_id: "request-1".into(),
        trace_header: trace_header.into(),
        function_arn: "arn:aws:lambda:eu-west-1:123456789012:function:checkout".into(),
        deadline_ms: 1_795_224_541_079,
    };
    machine.invoke(&invoke, NOW_UNIX_NANO);
    machine
}

/// Takes spans in as an OTLP request brings them, and checks what becomes of them.
pub fn check_otlp(resource_spans: Vec<ResourceSpans>) {
    let header = format!("{};Sampled=1", hostile::HEADER);
    let mut machine = machine(TracingMode::Auto, &header, Sampling::Auto, Keep::default());
    machine.receive(Received::Otlp(resource_spans), NOW_UNIX_NANO);
    check(&mut machine, &mut Translator::default(), &hostile::function(), 0);
}

/// Flushes the machine: every document must be acceptable, and every span accounted for (P2). `held` spans were left by
/// the flush before; how many this one leaves is returned.
pub fn check(machine: &mut Machine, translator: &mut Translator, function: &Function, held: u64) -> u64 {
    let translated = translator.translate(&Masked::of(&mut machine.take_load().whole()), function);
    let mut accounts = machine.take_accounts();
    accounts.add(translated.accounts);
    let mut documented = 0;
    for document in &translated.documents {
        let accepted = match otel_xray_local::xray::validate(&document.json) {
            Ok(accepted) => accepted,
            Err(rejection) => panic!("{rejection}\n{}", document.json),
        };
        assert_eq!(accepted.id, document.id.to_string());
        assert_eq!(accepted.is_segment, document.is_segment);
        assert!(document.json.len() <= MAX_DOCUMENT_BYTES, "{} bytes", document.json.len());
        check_cause(&accepted.body);
        documented += document.spans;
    }
    let holds = machine.held_spans() as u64;
    accounts.receive(held);
    check_accounts(&accounts, documented + holds);
    holds
}

/// Flushes documents of an X-Ray SDK. Whether X-Ray takes one is the SDK's business; that it is short enough, and counted,
/// is ours.
pub fn check_documents(documents: Vec<SdkDocument>) {
    let mut machine = machine(TracingMode::Auto, "", Sampling::Auto, Keep::default());
    for document in documents {
        machine.receive(Received::Document(Box::new(document)), NOW_UNIX_NANO);
    }
    let translated =
        Translator::default().translate(&Masked::of(&mut machine.take_load().whole()), &hostile::function());
    let mut accounts = machine.take_accounts();
    accounts.add(translated.accounts);
    let mut documented = 0;
    for document in &translated.documents {
        assert!(document.json.len() <= MAX_DOCUMENT_BYTES, "{} bytes", document.json.len());
        documented += document.spans;
    }
    check_accounts(&accounts, documented);
}

fn check_cause(body: &serde_json::Map<String, serde_json::Value>) {
    let nested = body.get("subsegments").and_then(serde_json::Value::as_array);
    nested.into_iter().flatten().filter_map(serde_json::Value::as_object).for_each(check_cause);
    let exceptions = body.get("cause").and_then(|cause| cause["exceptions"].as_array());
    let exceptions = exceptions.map_or(&[][..], Vec::as_slice);
    assert!(exceptions.len() <= MAX_EXCEPTIONS, "{} exceptions", exceptions.len());
    for exception in exceptions {
        let stack = exception["stack"].as_array().map_or(&[][..], Vec::as_slice);
        assert!(stack.len() <= MAX_FRAMES, "{} frames", stack.len());
        let numbers = stack.iter().map(|frame| &frame["line"]);
        for number in numbers.chain([&exception["truncated"], &exception["skipped"]]).filter(|n| !n.is_null())
        {
            assert!(number.as_u64().is_some_and(|number| number <= MAX_NUMBER), "{number}");
        }
    }
}

fn check_accounts(accounts: &Accounts, held: u64) {
    let json = accounts.to_json();
    let total = |field: &str| -> u64 {
        json[field]
            .as_object()
            .into_iter()
            .flat_map(|counts| counts.values())
            .filter_map(serde_json::Value::as_u64)
            .sum()
    };
    let received = json["received"].as_u64().unwrap_or_default();
    assert_eq!(received, held + total("dropped"), "{json}, {held} held or documented");
    assert!(accounts.balance(held), "{json}");
    assert!(json["dropped"].get("translate_failed").is_none(), "{json}");
}
