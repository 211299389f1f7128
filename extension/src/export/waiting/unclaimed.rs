//! Spans that have to wait for the next process, because only that one can know which invocation they belong to.

use super::spool::{Found, Owner, SpoolError};
use crate::accounts::Accounts;
use crate::export::pacing::clocks::Moment;
use crate::invocation::{Collected, Origin};
use crate::settings::Spool;
use crate::translate::otlp_decode;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use prost::Message as _;
use std::sync::Arc;

/// Spans that nobody has sent.
#[derive(Debug, Default)]
pub struct Waiting {
    pub spans: Vec<Collected>,
}

impl Waiting {
    /// Leaves them for the next process.
    pub fn leave(&self, spool: &Spool, now: Moment) -> Result<(), SpoolError> {
        spool.leave(Owner::Waiting, self.spans.len() as u64, &self.to_bytes(), now)
    }

    /// Takes in what a file holds, as far as it can be used, and counts all of it.
    pub(crate) fn restore(&mut self, found: &Found) -> Accounts {
        let (spans, accounts) = found.of_use(|payload| {
            let spans = from_bytes(payload);
            let count = spans.len() as u64;
            (spans, count)
        });
        self.spans.extend(spans.into_iter().flatten());
        accounts
    }

    fn to_bytes(&self) -> Vec<u8> {
        let resource_spans = self.spans.iter().map(|collected| ResourceSpans {
            resource: Some(collected.origin.resource.clone()),
            scope_spans: vec![ScopeSpans {
                scope: collected.origin.scope.clone(),
                spans: vec![(*collected.span).clone()],
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        });
        ExportTraceServiceRequest { resource_spans: resource_spans.collect() }.encode_to_vec()
    }
}

fn from_bytes(payload: &[u8]) -> Vec<Collected> {
    let mut found = Vec::new();
    for from_resource in otlp_decode::decode(payload).unwrap_or_default().resource_spans {
        let resource = from_resource.resource.unwrap_or_default();
        for from_scope in from_resource.scope_spans {
            let origin = Arc::new(Origin { resource: resource.clone(), scope: from_scope.scope });
            found.extend(from_scope.spans.into_iter().map(|span| Collected {
                span: Box::new(span),
                origin: Arc::clone(&origin),
                request_id: None,
            }));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::Reason;
    use crate::export::waiting::spool::Content;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
    use opentelemetry_proto::tonic::resource::v1::Resource;
    use opentelemetry_proto::tonic::trace::v1::Span;
    use std::time::Duration;

    fn collected(id: u8) -> Collected {
        let handler = Some(AnyValue { value: Some(Value::StringValue("app.handler".into())) });
        let attribute = KeyValue { key: "faas.handler".into(), value: handler, ..KeyValue::default() };
        let resource = Resource { attributes: vec![attribute], ..Resource::default() };
        let span =
            Span { trace_id: vec![1; 16], span_id: vec![id; 8], name: "load".into(), ..Span::default() };
        let origin = Arc::new(Origin { resource, scope: None });
        Collected { span: Box::new(span), origin, request_id: None }
    }

    #[test]
    fn what_waits_is_what_the_next_process_finds() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool {
            directory: directory.path().join("spool"),
            limit_bytes: 100_000,
            max_age: Duration::from_mins(1),
        };
        let left = Waiting { spans: vec![collected(1), collected(2)] };
        left.leave(&spool, Moment::now()).unwrap();
        let mut next = Waiting::default();
        let found = spool.take(Moment::now());
        assert_eq!((found.len(), found[0].owner), (1, Owner::Waiting));
        let accounts = next.restore(&found[0]);
        let told = |waiting: &Waiting| -> Vec<_> {
            waiting.spans.iter().map(|one| (one.span.clone(), one.origin.clone())).collect()
        };
        assert_eq!(told(&next), told(&left));
        assert!(accounts.balance(2));
    }

    #[test]
    fn p2_what_is_of_no_use_is_counted() {
        let mut waiting = Waiting::default();
        let whole = Content::Whole(Waiting { spans: vec![collected(1)] }.to_bytes());
        let cases = [
            (whole, true, Reason::SpoolTooOld, 1),
            (Content::Unreadable { spans: 3 }, false, Reason::SpoolUnreadable, 3),
            (Content::Whole(b"\xff\xff".to_vec()), false, Reason::SpoolUnreadable, 0),
        ];
        for (content, is_too_old, reason, spans) in cases {
            let accounts = waiting.restore(&Found { owner: Owner::Waiting, is_too_old, content });
            assert_eq!(accounts.dropped(reason), spans);
            assert!(accounts.balance(0) && waiting.spans.is_empty());
        }
    }
}
