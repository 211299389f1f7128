//! What a span takes up in memory when it is decoded: a multiple of its bytes on the wire.

use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};

/// What an allocation takes besides what is in it, on average.
const ALLOCATION_BYTES: usize = 16;

/// A span, with all that it holds.
pub fn of_span(span: &Span) -> usize {
    let ids = [&span.trace_id, &span.span_id, &span.parent_span_id].map(|id| heap(id.capacity()));
    let status = span.status.as_ref().map_or(0, |status| heap(status.message.capacity()));
    let events = span.events.iter().map(of_event).sum::<usize>();
    let links = span.links.iter().map(of_link).sum::<usize>();
    size_of::<Span>()
        + ids.iter().sum::<usize>()
        + heap(span.trace_state.capacity())
        + heap(span.name.capacity())
        + status
        + of_attributes(&span.attributes)
        + of_list::<Event>(span.events.capacity())
        + events
        + of_list::<Link>(span.links.capacity())
        + links
}

/// A resource and a scope.
pub fn of_origin(resource: &Resource, scope: Option<&InstrumentationScope>) -> usize {
    let scope = scope.map_or(0, |scope| {
        heap(scope.name.capacity()) + heap(scope.version.capacity()) + of_attributes(&scope.attributes)
    });
    size_of::<Resource>() + size_of::<InstrumentationScope>() + of_attributes(&resource.attributes) + scope
}

fn of_event(event: &Event) -> usize {
    heap(event.name.capacity()) + of_attributes(&event.attributes)
}

fn of_link(link: &Link) -> usize {
    let texts =
        heap(link.trace_id.capacity()) + heap(link.span_id.capacity()) + heap(link.trace_state.capacity());
    texts + of_attributes(&link.attributes)
}

fn of_attributes(attributes: &[KeyValue]) -> usize {
    of_list::<KeyValue>(attributes.len()) + attributes.iter().map(of_attribute).sum::<usize>()
}

fn of_attribute(attribute: &KeyValue) -> usize {
    heap(attribute.key.capacity()) + attribute.value.as_ref().map_or(0, of_value)
}

/// What a value holds, besides its own place.
fn of_value(value: &AnyValue) -> usize {
    match &value.value {
        Some(Value::StringValue(text)) => heap(text.capacity()),
        Some(Value::BytesValue(bytes)) => heap(bytes.capacity()),
        Some(Value::ArrayValue(list)) => {
            of_list::<AnyValue>(list.values.capacity()) + list.values.iter().map(of_value).sum::<usize>()
        }
        Some(Value::KvlistValue(list)) => of_attributes(&list.values),
        _ => 0,
    }
}

fn of_list<T>(places: usize) -> usize {
    heap(places * size_of::<T>())
}

fn heap(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { bytes + bytes / 8 + ALLOCATION_BYTES }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(key: &str, value: &str) -> KeyValue {
        let value = Some(AnyValue { value: Some(Value::StringValue(value.into())) });
        KeyValue { key: key.into(), value, ..KeyValue::default() }
    }

    #[test]
    fn everything_in_a_span_counts() {
        let empty = Span { trace_id: vec![1; 16], span_id: vec![2; 8], ..Span::default() };
        let weight = of_span(&empty);
        assert!(weight > size_of::<Span>() + 24 && weight < 500, "{weight}");
        let kilobyte = "k".repeat(1000);
        let list = Value::ArrayValue(opentelemetry_proto::tonic::common::v1::ArrayValue {
            values: vec![AnyValue { value: Some(Value::StringValue(kilobyte.clone())) }],
        });
        let attributes = vec![text("a", &kilobyte)];
        for heavier in [
            Span { name: kilobyte.clone(), ..empty.clone() },
            Span { attributes: attributes.clone(), ..empty.clone() },
            Span {
                attributes: vec![KeyValue { value: Some(AnyValue { value: Some(list) }), ..text("a", "") }],
                ..empty.clone()
            },
            Span {
                events: vec![Event { attributes: attributes.clone(), ..Event::default() }],
                ..empty.clone()
            },
            Span { links: vec![Link { attributes, ..Link::default() }], ..empty.clone() },
            Span { attributes: vec![KeyValue::default(); 1000 / size_of::<KeyValue>() + 1], ..empty.clone() },
        ] {
            assert!(of_span(&heavier) >= weight + 1000, "{heavier:?}");
        }
    }
}
