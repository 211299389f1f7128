//! Spans that leave as spans, so that a Collector's X-Ray exporter (xray.md section 12) names them as their documents.

use crate::attributes::Attributes;
use crate::attributes::key::Key;
use crate::compose::name::{self, Remote};
use crate::compose::subject::Subject;
use crate::document::name::clean;
use crate::function::Function;
use crate::plan::Planned;
use crate::plan::place::Place;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::{Link, SpanKind};

/// Who the spans are for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Target {
    /// Anybody: nothing is said otherwise than the span said it.
    #[default]
    Any,
    /// X-Ray, by a Collector's exporter: it makes a segment, which is a node, of whatever has the kind of a server.
    Xray,
}

/// A copy of the span for that target.
pub(super) fn span(planned: &Planned<'_>, function: &Function, target: Target) -> Box<Span> {
    let subject = Subject::new(planned, function);
    let mut span = planned.collected.span.clone();
    let remote = name::remote_kind(&subject);
    name_remote(&subject, remote, &mut span);
    if target == Target::Xray {
        put_in_place(&subject, remote, &mut span);
    }
    span
}

/// Says what is called, where the exporter would not see it (MAP-10 to MAP-19). What the span itself says of that stays.
fn name_remote(subject: &Subject<'_>, remote: Remote, span: &mut Span) {
    let attributes = &subject.attributes;
    if remote == Remote::No || attributes.has(Key::PeerService) || attributes.has(Key::AwsRemoteService) {
        return;
    }
    let is_known_as_aws = attributes.peek_text(&[Key::RpcSystem]).is_some_and(|system| system == "aws-api");
    let key = match remote {
        // The name of a peer would hide that it is one of AWS (MAP-11, MAP-12).
        Remote::Aws if !is_known_as_aws && attributes.has(Key::AwsService) => return,
        Remote::Aws if !is_known_as_aws => "aws.service",
        _ => "peer.service",
    };
    let named = name::of_subsegment(subject, remote);
    let named = clean(&named).unwrap_or_else(|| named.into_owned());
    // Nothing but the span's own name is known of it.
    if named != subject.span.name || remote == Remote::Aws {
        add(span, key, &named);
    }
}

/// Makes the exporter put the span where its document is: below Lambda's segment where Lambda has written one, into the
/// function's own otherwise (xray.md section 15).
fn put_in_place(subject: &Subject<'_>, remote: Remote, span: &mut Span) {
    let planned = subject.planned;
    span.trace_id = planned.trace_id.as_bytes().to_vec();
    let serves = matches!(subject.kind, SpanKind::Server | SpanKind::Consumer);
    match planned.placement.place {
        Place::Subsegment { parent } => {
            span.parent_span_id = parent.as_bytes().to_vec();
            if serves {
                span.set_kind(SpanKind::Internal);
            }
        }
        Place::Segment { parent } => {
            span.parent_span_id = parent.map(|parent| parent.as_bytes().to_vec()).unwrap_or_default();
            // A consumer would be taken for a call to what it consumes from (MAP-5).
            if serves {
                span.set_kind(SpanKind::Server);
            } else {
                add_unless_there(span, "aws.span.kind", "LOCAL_ROOT");
            }
            add_unless_there(span, "aws.local.service", &name::of_segment(subject));
        }
    }
    if subject.kind == SpanKind::Producer
        && remote == Remote::Other
        && !subject.attributes.has(Key::AwsRemoteService)
    {
        // Without it a producer calls nobody (MAP-10, MAP-19).
        let named = name::of_subsegment(subject, remote);
        add(span, "aws.remote.service", &clean(&named).unwrap_or_else(|| named.into_owned()));
    }
    if let Some((trace_id, span_id)) = planned.placement.link {
        span.links.push(Link {
            trace_id: trace_id.as_bytes().to_vec(),
            span_id: span_id.as_bytes().to_vec(),
            ..Link::default()
        });
    }
}

fn add(span: &mut Span, key: &str, value: &str) {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) });
    span.attributes.push(KeyValue { key: key.to_owned(), value, ..KeyValue::default() });
}

fn add_unless_there(span: &mut Span, key: &str, value: &str) {
    if Attributes::new(&span.attributes).by_name(key).is_none() {
        add(span, key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::Accounts;
    use crate::flush::{Batch, Collected, Invocation, Mode};
    use crate::masks::Masked;
    use crate::trace_header::TraceHeader;
    use std::sync::Arc;

    const LAMBDAS: [u8; 16] = [6; 16];

    fn attribute(key: &str, value: &str) -> KeyValue {
        let value = Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) });
        KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
    }

    /// The first span of its trace, unless `parent` is another's number.
    fn span_of(kind: SpanKind, trace: [u8; 16], parent: u8, attributes: &[(&str, &str)]) -> Span {
        Span {
            trace_id: trace.to_vec(),
            span_id: vec![2; 8],
            parent_span_id: vec![parent; 8],
            name: "named".into(),
            kind: kind.into(),
            start_time_unix_nano: 1,
            end_time_unix_nano: 2,
            flags: 0x101,
            attributes: attributes.iter().map(|(key, value)| attribute(key, value)).collect(),
            ..Span::default()
        }
    }

    fn sent(span: Span, mode: Mode, target: Target) -> Span {
        let header =
            format!("Root=1-{}-{};Parent={};Sampled=1", "06".repeat(4), "06".repeat(12), "01".repeat(8));
        let invocation =
            Invocation { header: TraceHeader::parse(&header), mode, is_over: true, ..Invocation::default() };
        let collected = Collected { span: Box::new(span), origin: Arc::default(), request_id: None };
        let mut batch = Batch { spans: vec![collected], invocations: vec![invocation], ..Batch::default() };
        let function = Function { name: "shop".into(), ..Function::default() };
        let mut selected =
            crate::select(&Masked::of(&mut batch), &function, target, &mut Accounts::default());
        *selected.pop().unwrap().0
    }

    fn value<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
        let mut found = span.attributes.iter().filter(|attribute| attribute.key == key);
        let first = found.next()?;
        assert!(found.next().is_none(), "{key} is there once");
        match first.value.as_ref()?.value.as_ref()? {
            Value::StringValue(text) => Some(text),
            _ => None,
        }
    }

    #[test]
    fn map_10_to_19_what_is_called_is_named_where_the_exporter_would_not_see_it() {
        for (kind, attributes, key, expected) in [
            (
                SpanKind::Client,
                &[("server.address", "api.example.com")][..],
                "peer.service",
                Some("api.example.com"),
            ),
            (
                SpanKind::Client,
                &[("url.full", "https://u:p@api.example.com/x")],
                "peer.service",
                Some("api.example.com"),
            ),
            (
                SpanKind::Client,
                &[("db.namespace", "shop"), ("server.address", "db")],
                "peer.service",
                Some("shop@db"),
            ),
            (
                SpanKind::Client,
                &[("rpc.system", "aws-api"), ("rpc.service", "Secrets Manager")],
                "peer.service",
                Some("SecretsManager"),
            ),
            (
                SpanKind::Client,
                &[("rpc.system.name", "aws-api"), ("rpc.method", "S3/GetObject")],
                "aws.service",
                Some("S3"),
            ),
            (SpanKind::Producer, &[("messaging.system", "aws_sqs")], "aws.service", Some("SQS")),
            (SpanKind::Client, &[("aws.service", "AWS::S3")], "peer.service", None),
            (
                SpanKind::Client,
                &[("peer.service", "mine"), ("server.address", "a")],
                "peer.service",
                Some("mine"),
            ),
            (
                SpanKind::Client,
                &[("aws.remote.service", "theirs"), ("server.address", "a")],
                "peer.service",
                None,
            ),
            (SpanKind::Client, &[], "peer.service", None),
            (SpanKind::Internal, &[("server.address", "a")], "peer.service", None),
            (SpanKind::Server, &[("server.address", "a")], "peer.service", None),
        ] {
            let span = span_of(kind, LAMBDAS, 9, attributes);
            for target in [Target::Any, Target::Xray] {
                let sent = sent(span.clone(), Mode::Active, target);
                assert_eq!(value(&sent, key), expected, "{attributes:?}");
                if target == Target::Any {
                    let added = usize::from(sent.attributes.len() > span.attributes.len());
                    let kept = Span { attributes: sent.attributes[..span.attributes.len()].to_vec(), ..sent };
                    // But for the user and the password in a URL.
                    assert_eq!(format!("{kept:?}"), format!("{span:?}").replace("u:p@", ""));
                    assert_eq!(added == 1, expected.is_some() && expected != Some("mine"));
                }
            }
        }
    }

    #[test]
    fn section_15_for_x_ray_a_span_goes_where_its_document_goes() {
        const OWN: [u8; 16] = [7; 16];
        use SpanKind::{Client, Consumer, Internal, Server};
        // Kind, trace, parent and mode; then kind, parent, whether it is a local root, and links.
        for ((kind, trace, parent, mode), expected) in [
            ((Server, LAMBDAS, 1, Mode::Active), (Internal, vec![1; 8], false, 0)),
            ((Consumer, LAMBDAS, 1, Mode::Active), (Internal, vec![1; 8], false, 0)),
            ((Client, LAMBDAS, 9, Mode::Active), (Client, vec![1; 8], false, 0)),
            ((Server, LAMBDAS, 1, Mode::PassThrough), (Server, vec![1; 8], false, 0)),
            ((Consumer, LAMBDAS, 1, Mode::PassThrough), (Server, vec![1; 8], false, 0)),
            ((Internal, LAMBDAS, 1, Mode::PassThrough), (Internal, vec![1; 8], true, 0)),
            ((Client, LAMBDAS, 1, Mode::PassThrough), (Client, vec![1; 8], true, 0)),
            ((Internal, OWN, 0, Mode::Active), (Internal, vec![], true, 1)),
            ((Internal, OWN, 9, Mode::Active), (Internal, vec![], true, 1)),
        ] {
            let row = format!("{kind:?} {parent} {mode:?}");
            let sent = sent(span_of(kind, trace, parent, &[]), mode, Target::Xray);
            let is_local_root = value(&sent, "aws.span.kind") == Some("LOCAL_ROOT");
            assert_eq!(
                (sent.kind(), sent.parent_span_id.clone(), is_local_root, sent.links.len()),
                expected,
                "{row}"
            );
            let is_segment = is_local_root || sent.kind() == Server;
            assert_eq!(value(&sent, "aws.local.service"), is_segment.then_some("shop"), "{row}");
        }
    }
}
