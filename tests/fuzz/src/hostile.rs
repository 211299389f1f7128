//! Spans as nobody should send them, made from the fuzzer's bytes.

use crate::NOW_UNIX_NANO;
use arbitrary::{Arbitrary, Unstructured};
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use otel_xray::settings::{Keep, Sampling, TracingMode};
use otel_xray::translate::Function;
use std::sync::LazyLock;

/// Values within values; the wire format allows about this many.
const MAX_NESTING: usize = 40;

/// The texts that some rule of the translation looks for.
static WORDS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let lines = include_str!("../words.dict").lines();
    lines.map(|line| line.trim_matches('"').replace("\\x0a", "\n").replace("\\x09", "\t")).collect()
});

/// The trace header of the invocation that the spans mostly belong to, as far as the decision.
pub const HEADER: &str = "Root=1-67676767-676767676767676767676767;Parent=0101010101010101";

/// A function as it is without settings of its own.
pub fn function() -> Function {
    Function {
        name: "checkout".into(),
        version: "$LATEST".into(),
        region: "eu-west-1".into(),
        account_id: Some("123456789012".into()),
        memory_mb: "512".into(),
        annotations: vec!["tenant".into(), "http.route".into()],
        ..Function::default()
    }
}

/// One request with one exception, and nothing else that is of interest.
pub fn stack(language: &str, text: &str) -> Vec<ResourceSpans> {
    let string = |key: &str, value: &str| key_value(key, any_value::Value::StringValue(value.to_owned()));
    let event = Event {
        name: "exception".into(),
        attributes: vec![string("exception.stacktrace", text)],
        ..Event::default()
    };
    let span = Span {
        trace_id: vec![0x67; 16],
        span_id: vec![2; 8],
        parent_span_id: vec![1; 8],
        name: "work".into(),
        start_time_unix_nano: NOW_UNIX_NANO,
        end_time_unix_nano: NOW_UNIX_NANO + 1_000,
        events: vec![event],
        ..Span::default()
    };
    request(vec![string("telemetry.sdk.language", language)], None, vec![span])
}

/// What a function sends until two or three flushes later, and how it has been set up.
#[derive(Debug)]
pub struct Traffic {
    pub tracing_mode: TracingMode,
    pub trace_header: String,
    pub sampling: Sampling,
    pub keep: Keep,
    pub function: Function,
    pub flushes: Vec<Vec<ResourceSpans>>,
}

impl<'a> Arbitrary<'a> for Traffic {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let function = Function {
            annotations: some(u, 3, text)?,
            annotates_all: u.arbitrary()?,
            adopt: u.arbitrary()?,
            ..function()
        };
        let sampled = *u.choose(&["1", "0", "?"])?;
        let failures = Keep { errors: true, ..Keep::default() };
        let all = Keep { all: true, ..Keep::default() };
        let count = u.int_in_range(1..=3)?;
        Ok(Self {
            tracing_mode: *u.choose(&[TracingMode::Auto, TracingMode::Active, TracingMode::PassThrough])?,
            trace_header: format!("{HEADER};Sampled={sampled}"),
            sampling: *u.choose(&[Sampling::Auto, Sampling::Respect, Sampling::Rules])?,
            keep: *u.choose(&[Keep::default(), failures, all])?,
            function,
            flushes: (0..count).map(|_| flush(u)).collect::<arbitrary::Result<_>>()?,
        })
    }
}

fn flush(u: &mut Unstructured<'_>) -> arbitrary::Result<Vec<ResourceSpans>> {
    let resource = attributes(u)?;
    let scope = u.arbitrary::<bool>()?.then(|| scope(u)).transpose()?;
    let count = u.int_in_range(1..=4)?;
    let mut spans = (0..count).map(|_| span(u)).collect::<arbitrary::Result<Vec<_>>>()?;
    // Many at once are put into each other: the same span again under ids of its own, in a chain or side by side.
    if u.ratio(1, 12)? {
        let (copies, is_chain) = (u.int_in_range(40..=120_u8)?, u.arbitrary::<bool>()?);
        let pattern = spans[0].clone();
        spans.extend((10..10 + copies).map(|id| Span {
            span_id: vec![id; 8],
            parent_span_id: vec![if is_chain { id - 1 } else { 9 }; 8],
            ..pattern.clone()
        }));
    }
    Ok(request(resource, scope, spans))
}

fn request(
    resource: Vec<KeyValue>,
    scope: Option<InstrumentationScope>,
    spans: Vec<Span>,
) -> Vec<ResourceSpans> {
    vec![ResourceSpans {
        resource: Some(Resource { attributes: resource, ..Resource::default() }),
        scope_spans: vec![ScopeSpans { scope, spans, ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    }]
}

fn scope(u: &mut Unstructured<'_>) -> arbitrary::Result<InstrumentationScope> {
    Ok(InstrumentationScope {
        name: text(u)?,
        version: text(u)?,
        attributes: attributes(u)?,
        dropped_attributes_count: u.arbitrary()?,
    })
}

fn span(u: &mut Unstructured<'_>) -> arbitrary::Result<Span> {
    Ok(Span {
        trace_id: id(u, 0x67, 16)?,
        span_id: id(u, 2, 8)?,
        parent_span_id: id(u, 1, 8)?,
        trace_state: text(u)?,
        flags: u.arbitrary()?,
        name: text(u)?,
        kind: number(u, 0..=6)?,
        start_time_unix_nano: time(u)?,
        end_time_unix_nano: time(u)?,
        attributes: attributes(u)?,
        dropped_attributes_count: u.arbitrary()?,
        events: some(u, 4, event)?,
        dropped_events_count: u.arbitrary()?,
        links: some(u, 4, link)?,
        dropped_links_count: u.arbitrary()?,
        status: u.arbitrary::<bool>()?.then(|| status(u)).transpose()?,
    })
}

fn status(u: &mut Unstructured<'_>) -> arbitrary::Result<Status> {
    Ok(Status { message: text(u)?, code: number(u, 0..=3)? })
}

fn event(u: &mut Unstructured<'_>) -> arbitrary::Result<Event> {
    let name = if u.ratio(2, 3)? { "exception".to_owned() } else { text(u)? };
    Ok(Event {
        name,
        time_unix_nano: time(u)?,
        attributes: attributes(u)?,
        dropped_attributes_count: u.arbitrary()?,
    })
}

fn link(u: &mut Unstructured<'_>) -> arbitrary::Result<Link> {
    Ok(Link {
        trace_id: id(u, 0x68, 16)?,
        span_id: id(u, 3, 8)?,
        trace_state: text(u)?,
        attributes: attributes(u)?,
        dropped_attributes_count: u.arbitrary()?,
        flags: u.arbitrary()?,
    })
}

/// Mostly an id of the right length, and one that other spans use too.
fn id(u: &mut Unstructured<'_>, usual: u8, bytes: usize) -> arbitrary::Result<Vec<u8>> {
    Ok(match u.int_in_range(0..=7_u8)? {
        0 => Vec::new(),
        1 => vec![0; bytes],
        2 => u.arbitrary()?,
        3 => vec![u.arbitrary()?; bytes],
        _ => vec![usual; bytes],
    })
}

/// Mostly a moment ago.
fn time(u: &mut Unstructured<'_>) -> arbitrary::Result<u64> {
    Ok(match u.int_in_range(0..=7_u8)? {
        0 => 0,
        1 => u64::MAX,
        2 => u.arbitrary()?,
        _ => NOW_UNIX_NANO + u64::from(u.arbitrary::<u32>()?),
    })
}

fn number(u: &mut Unstructured<'_>, usual: std::ops::RangeInclusive<i32>) -> arbitrary::Result<i32> {
    if u.ratio(1, 16)? { u.arbitrary() } else { u.int_in_range(usual) }
}

/// A word the translation looks for, something like it, or anything; now and then too long for any document.
fn text(u: &mut Unstructured<'_>) -> arbitrary::Result<String> {
    Ok(match u.int_in_range(0..=63_u8)? {
        0 => "long \u{1f980}".repeat(usize::from(u.arbitrary::<u16>()?) % 2_500),
        1..=4 => String::new(),
        5..=16 => u.arbitrary()?,
        17..=28 => format!("{}{}", u.choose(&WORDS)?, u.arbitrary::<&str>()?),
        _ => u.choose(&WORDS)?.clone(),
    })
}

fn attributes(u: &mut Unstructured<'_>) -> arbitrary::Result<Vec<KeyValue>> {
    some(u, 12, |u| attribute(u, 0))
}

fn attribute(u: &mut Unstructured<'_>, depth: usize) -> arbitrary::Result<KeyValue> {
    let key = text(u)?;
    let value = any_value(u, depth)?;
    Ok(KeyValue { key, value: Some(AnyValue { value }), ..KeyValue::default() })
}

fn any_value(u: &mut Unstructured<'_>, depth: usize) -> arbitrary::Result<Option<any_value::Value>> {
    use any_value::Value;
    let kinds = if depth < MAX_NESTING { 9 } else { 6 };
    Ok(Some(match u.int_in_range(0..=kinds)? {
        0 => return Ok(None),
        1 => Value::BoolValue(u.arbitrary()?),
        2 => Value::IntValue(u.arbitrary()?),
        3 => Value::IntValue(number(u, 100..=599)?.into()),
        4 => Value::DoubleValue(u.arbitrary()?),
        5 => Value::BytesValue(u.arbitrary()?),
        6 | 7 => Value::StringValue(text(u)?),
        8 => {
            let item = |u: &mut Unstructured<'_>| Ok(AnyValue { value: any_value(u, depth + 1)? });
            Value::ArrayValue(ArrayValue { values: some(u, 3, item)? })
        }
        _ => Value::KvlistValue(KeyValueList { values: some(u, 3, |u| attribute(u, depth + 1))? }),
    }))
}

/// Up to `most` of something.
fn some<T>(
    u: &mut Unstructured<'_>,
    most: usize,
    mut make: impl FnMut(&mut Unstructured<'_>) -> arbitrary::Result<T>,
) -> arbitrary::Result<Vec<T>> {
    let count = u.int_in_range(0..=most)?;
    (0..count).map(|_| make(u)).collect()
}

fn key_value(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
