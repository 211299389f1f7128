//! Which spans of a batch leave by OTLP, and what their resource says of the function. Pure.

use crate::accounts::Accounts;
use crate::export::waiting::buffer::Waits;
use crate::invocation::Origin;
use crate::translate::otlp_decode::{Step, steps};
use crate::translate::wire;
use crate::translate::{self, Function, Masked, Target};
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use otel_xray_allocator::taken_by;
use prost::Message as _;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// Resources whose spans may mix.
const MAX_KNOWN: usize = 8;

/// A span on its way out, as its bytes on the wire: decoded it is a multiple of them in memory.
#[derive(Debug, Clone)]
pub(crate) struct OutgoingSpan {
    pub(crate) encoded: Box<[u8]>,
    pub(super) start_unix_nano: u64,
    /// The same for all spans of one agent or SDK.
    pub(super) origin: Arc<Origin>,
    /// Of the flush that it came with; 0 where an earlier process has left it.
    pub(super) generation: u64,
}

impl OutgoingSpan {
    fn new(span: &Span, origin: &Arc<Origin>) -> Self {
        Self {
            encoded: wire::encode(span),
            start_unix_nano: span.start_time_unix_nano,
            origin: Arc::clone(origin),
            generation: 0,
        }
    }

    pub(super) fn decoded(&self) -> Option<Span> {
        wire::decode(&self.encoded).ok()
    }
}

impl Waits for OutgoingSpan {
    fn generation(&self) -> u64 {
        self.generation
    }

    fn bytes(&self) -> usize {
        self.encoded.len()
    }

    fn held_bytes(&self) -> usize {
        // Its place, where there is room for as many more, and what is in it.
        2 * size_of::<Self>() + taken_by(self.encoded.len())
    }

    fn spans(&self) -> u64 {
        1
    }
}

/// The origins of what has left or waits, so that each is there once.
#[derive(Debug, Default)]
pub(crate) struct KnownOrigins(Vec<Weak<Origin>>);

impl KnownOrigins {
    fn same(&mut self, origin: Origin) -> Arc<Origin> {
        if let Some(known) = self.0.iter().filter_map(Weak::upgrade).find(|known| **known == origin) {
            return known;
        }
        let origin = Arc::new(origin);
        self.0.retain(|known| known.strong_count() > 0);
        if self.0.len() == MAX_KNOWN {
            self.0.remove(0);
        }
        self.0.push(Arc::downgrade(&origin));
        origin
    }
}

/// The spans of a request body that an earlier process has left.
pub(super) fn restored(left: &[u8]) -> Vec<OutgoingSpan> {
    let mut origin = Arc::default();
    let spans = steps(left).ok().into_iter().flatten().filter_map(|step| match step {
        Step::Origin { resource, scope } => {
            let scope = (!scope.is_empty()).then(|| InstrumentationScope::decode(scope).ok()).flatten();
            origin = Arc::new(Origin { resource: Resource::decode(resource).unwrap_or_default(), scope });
            None
        }
        Step::Cut(_) => None,
        Step::Span(span) => Some(OutgoingSpan::new(&wire::decode(span).ok()?, &origin)),
    });
    spans.collect()
}

/// The spans to send: those that X-Ray would get too.
pub(crate) fn select(
    batch: &Masked<'_>,
    function: &Function,
    (target, known): (Target, &mut KnownOrigins),
    accounts: &mut Accounts,
) -> Vec<OutgoingSpan> {
    // With the origins themselves: an address is theirs only as long as they are there.
    let mut origins: HashMap<*const Origin, (Arc<Origin>, Arc<Origin>)> = HashMap::new();
    translate::select(batch, function, target, accounts)
        .into_iter()
        .map(|(span, origin)| {
            let (_, completed) = origins.entry(Arc::as_ptr(&origin)).or_insert_with(|| {
                let completed = known.same(completed(&origin, function));
                (origin, completed)
            });
            OutgoingSpan::new(&span, completed)
        })
        .collect()
}

/// The origin with what is known of the function, where it does not say that itself.
fn completed(origin: &Origin, function: &Function) -> Origin {
    let mut attributes = origin.resource.attributes.clone();
    let mut add = |key: &str, value: Value| {
        if !attributes.iter().any(|attribute| attribute.key == key) {
            let value = Some(AnyValue { value: Some(value) });
            attributes.push(KeyValue { key: key.to_owned(), value, ..KeyValue::default() });
        }
    };
    add("cloud.provider", Value::StringValue("aws".into()));
    add("cloud.platform", Value::StringValue("aws_lambda".into()));
    let texts = [
        ("service.name", function.name.as_str()),
        ("faas.name", &function.name),
        ("faas.version", &function.version),
        ("cloud.region", &function.region),
        ("cloud.account.id", function.account_id.as_deref().unwrap_or_default()),
    ];
    for (key, value) in texts {
        if !value.is_empty() {
            add(key, Value::StringValue(value.to_owned()));
        }
    }
    if let Ok(megabytes) = function.memory_mb.parse::<i64>() {
        add("faas.max_memory", Value::IntValue(megabytes.saturating_mul(1024 * 1024)));
    }
    let resource = Resource { attributes, ..origin.resource.clone() };
    Origin { resource, scope: origin.scope.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invocation::trace_header::TraceHeader;
    use crate::invocation::{Batch, Collected, Invocation, Mode};

    const ROOT: [u8; 16] = [0x65; 16];

    fn span(trace: [u8; 16], id: u8, flags: u32) -> Collected {
        let span = Span { trace_id: trace.to_vec(), span_id: vec![id; 8], flags, ..Span::default() };
        Collected { span: Box::new(span), origin: Arc::default(), request_id: Some("r".into()) }
    }

    fn batch(sampled: &str, spans: Vec<Collected>) -> Batch {
        let header = TraceHeader::parse(&format!("Root=1-65656565-{};{sampled}", "65".repeat(12)));
        assert!(header.is_some());
        let invocation = Invocation {
            request_id: "r".into(),
            function_arn: String::new(),
            header,
            mode: Mode::Unknown,
            is_over: true,
            ..Invocation::default()
        };
        Batch { spans, invocations: vec![invocation], ..Batch::default() }
    }

    fn selected(batch: &Batch, accounts: &mut Accounts) -> Vec<OutgoingSpan> {
        select(
            &Masked::of(&mut batch.clone()),
            &Function::default(),
            (Target::Any, &mut KnownOrigins::default()),
            accounts,
        )
    }

    fn span_of(outgoing: &OutgoingSpan) -> Span {
        Span::decode(&*outgoing.encoded).unwrap()
    }

    fn ids(batch: &Batch) -> (Vec<u8>, serde_json::Value) {
        let mut accounts = Accounts::default();
        let selected = selected(batch, &mut accounts);
        (
            selected.iter().map(|outgoing| span_of(outgoing).span_id[0]).collect(),
            accounts.to_json()["dropped"].clone(),
        )
    }

    #[test]
    fn section_14_3_spans_leave_masked() {
        let mut secret = span(ROOT, 1, 0x101);
        let value =
            AnyValue { value: Some(Value::StringValue("https://shop.example/?token=hunter2".into())) };
        secret.span.attributes.push(KeyValue {
            key: "url.full".into(),
            value: Some(value),
            ..KeyValue::default()
        });
        let batch = batch("Sampled=1", vec![secret]);
        let selected = selected(&batch, &mut Accounts::default());
        let [outgoing] = &selected[..] else { panic!("{selected:?}") };
        let shown = format!("{:?}", span_of(outgoing));
        assert!(shown.contains("shop.example") && !shown.contains("hunter2"));
    }

    #[test]
    fn rows_4_and_6_what_is_not_sampled_does_not_leave() {
        let spans = || {
            vec![span(ROOT, 1, 0x101), span(ROOT, 2, 0x102), span(ROOT, 3, 0x100), span([7; 16], 4, 0x101)]
        };
        assert_eq!(ids(&batch("Sampled=1", spans())), (vec![1, 3, 4], serde_json::json!({"unsampled": 1})));
        assert_eq!(ids(&batch("Sampled=0", spans())), (vec![4], serde_json::json!({"unsampled": 3})));
        assert_eq!(ids(&batch("", spans())), (vec![4], serde_json::json!({"unsampled": 3})));
    }

    #[test]
    fn row_4_what_is_kept_leaves_by_this_way_too() {
        let mut says_no = span(ROOT, 3, 0);
        says_no.span.attributes.push(KeyValue {
            key: "aws.trace.flag.sampled".into(),
            value: Some(AnyValue { value: Some(Value::BoolValue(false)) }),
            ..KeyValue::default()
        });
        let mut batch = batch("Sampled=0", vec![span(ROOT, 1, 0x101), says_no]);
        for (is_kept, expected) in [(false, vec![]), (true, vec![1])] {
            batch.invocations[0].is_kept = is_kept;
            assert_eq!(ids(&batch).0, expected);
        }
    }

    #[test]
    fn bet_9_id_8_duplicates_and_bad_ids_cost_only_themselves() {
        let mut later = span(ROOT, 1, 0x101);
        later.span.name = "later".into();
        let batch =
            batch("Sampled=1", vec![span(ROOT, 1, 0x101), span(ROOT, 2, 0x101), later, span([0; 16], 3, 0)]);
        assert_eq!(ids(&batch), (vec![1, 2], serde_json::json!({"duplicate": 1, "invalid_id": 1})));
        assert_eq!(span_of(&selected(&batch, &mut Accounts::default())[0]).name, "later");
    }

    #[test]
    fn the_resource_says_what_is_known_of_the_function_and_keeps_its_own() {
        let function = Function {
            name: "shop".into(),
            version: "7".into(),
            region: "eu-west-1".into(),
            memory_mb: "128".into(),
            ..Function::default()
        };
        let own = KeyValue {
            key: "service.name".into(),
            value: Some(AnyValue { value: Some(Value::StringValue("checkout".into())) }),
            ..KeyValue::default()
        };
        let origin =
            Origin { resource: Resource { attributes: vec![own], ..Resource::default() }, scope: None };
        let completed = completed(&origin, &function).resource.attributes;
        let value = |key: &str| {
            let found: Vec<_> = completed.iter().filter(|attribute| attribute.key == key).collect();
            assert!(found.len() <= 1, "{key} is there once");
            found.first().and_then(|attribute| attribute.value.clone()?.value)
        };
        assert_eq!(value("service.name"), Some(Value::StringValue("checkout".into())));
        assert_eq!(value("faas.name"), Some(Value::StringValue("shop".into())));
        assert_eq!(value("faas.max_memory"), Some(Value::IntValue(134_217_728)));
        assert_eq!(value("cloud.region"), Some(Value::StringValue("eu-west-1".into())));
        assert_eq!(value("cloud.account.id"), None);
    }

    #[test]
    fn one_origin_is_held_once_in_however_many_flushes() {
        let mut known = KnownOrigins::default();
        let function = Function { name: "shop".into(), ..Function::default() };
        let mut next = |id: u8| {
            let mut batch = batch("Sampled=1", vec![span(ROOT, id, 0x101)]);
            select(&Masked::of(&mut batch), &function, (Target::Any, &mut known), &mut Accounts::default())
                .remove(0)
        };
        let (first, second) = (next(1), next(2));
        assert!(Arc::ptr_eq(&first.origin, &second.origin));
        drop((first, second));
        assert_eq!(next(3).origin.resource.attributes.len(), 4);
    }
}
