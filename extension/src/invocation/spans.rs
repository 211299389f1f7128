//! Spans on their way through: open ones, and those that wait for the flush.

use super::trace_header::{SpanId, TraceId};
use super::{Collected, Origin};
use crate::accounts::{Accounts, Reason};
use crate::receive::Connection;
use crate::receive::frame::Hello;
use crate::translate::sdk::SdkDocument;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{Span, Status, span::Event, status::StatusCode};
use prost::Message as _;
use std::collections::{BTreeMap, VecDeque};

/// The resource that an agent's hello describes.
pub(super) fn origin_of_agent(hello: &Hello) -> Origin {
    let mut attributes = vec![
        text("telemetry.sdk.name", &hello.agent),
        text("telemetry.sdk.version", &hello.agent_version),
        text("telemetry.sdk.language", &hello.runtime),
        text("process.runtime.version", &hello.runtime_version),
    ];
    let named = [
        ("AWS_EXECUTION_ENV", "aws.lambda.execution_env"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "aws.log.group.names"),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "aws.log.stream.names"),
        ("_HANDLER", "faas.handler"),
    ];
    attributes.extend(
        named
            .iter()
            .filter_map(|(variable, attribute)| hello.env.get(*variable).map(|value| text(attribute, value))),
    );
    attributes.retain(|attribute| {
        !matches!(&attribute.value, Some(AnyValue { value: Some(any_value::Value::StringValue(value)) }) if value.is_empty())
    });
    Origin { resource: Resource { attributes, ..Resource::default() }, scope: None }
}

fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

#[derive(Debug)]
struct Open {
    collected: Collected,
    connection: Connection,
    bytes: usize,
}

/// The spans held in memory, bounded in bytes.
#[derive(Debug)]
pub(super) struct Store {
    open: BTreeMap<(TraceId, SpanId), Open>,
    complete: VecDeque<(Collected, usize)>,
    documents: VecDeque<SdkDocument>,
    bytes: usize,
    limit_bytes: usize,
    pub(super) accounts: Accounts,
}

impl Store {
    pub(super) fn new(limit_bytes: usize) -> Self {
        Self {
            open: BTreeMap::new(),
            complete: VecDeque::new(),
            documents: VecDeque::new(),
            bytes: 0,
            limit_bytes,
            accounts: Accounts::default(),
        }
    }

    /// Keeps an open span until its end comes.
    pub(super) fn start(&mut self, connection: Connection, collected: Collected) {
        let Some(key) = key(&collected.span) else {
            self.accounts.receive_and_drop(Reason::InvalidId, 1);
            return;
        };
        let bytes = collected.span.encoded_len();
        self.accounts.receive(1);
        self.bytes += bytes;
        if let Some(earlier) = self.open.insert(key, Open { collected, connection, bytes }) {
            self.bytes -= earlier.bytes;
            self.accounts.drop(Reason::Duplicate, 1);
        }
        self.make_room();
    }

    /// Takes a complete span. A span that was open is the same span, received once.
    pub(super) fn end(&mut self, collected: Collected) {
        let opened = key(&collected.span).and_then(|key| self.open.remove(&key));
        match opened {
            Some(opened) => self.bytes -= opened.bytes,
            None => self.accounts.receive(1),
        }
        self.complete(collected);
    }

    /// Takes a document of an X-Ray SDK.
    pub(super) fn keep_document(&mut self, document: SdkDocument) {
        self.accounts.receive(document.spans());
        self.bytes += document.bytes();
        self.documents.push_back(document);
        self.make_room();
    }

    fn complete(&mut self, collected: Collected) {
        let bytes = collected.span.encoded_len();
        self.bytes += bytes;
        self.complete.push_back((collected, bytes));
        self.make_room();
    }

    fn make_room(&mut self) {
        while self.bytes > self.limit_bytes {
            let (bytes, spans) = if let Some((_, bytes)) = self.complete.pop_front() {
                (bytes, 1)
            } else if let Some(document) = self.documents.pop_front() {
                (document.bytes(), document.spans())
            } else if let Some((_, open)) = self.open.pop_first() {
                (open.bytes, 1)
            } else {
                return;
            };
            self.bytes -= bytes;
            self.accounts.drop(Reason::BufferFull, spans);
        }
    }

    /// Completes the open spans of one connection, or of all: what ran them is gone, and `message` says how.
    pub(super) fn close_open(
        &mut self,
        connection: Option<Connection>,
        now_unix_nano: u64,
        error_type: &str,
        message: &str,
    ) {
        let open = std::mem::take(&mut self.open);
        for (key, mut open) in open {
            if connection.is_some_and(|connection| connection != open.connection) {
                self.open.insert(key, open);
                continue;
            }
            self.bytes -= open.bytes;
            let span = &mut open.collected.span;
            span.end_time_unix_nano = now_unix_nano.max(span.start_time_unix_nano);
            span.status = Some(Status { code: StatusCode::Error.into(), message: message.to_owned() });
            span.events.push(Event {
                name: "exception".to_owned(),
                time_unix_nano: span.end_time_unix_nano,
                attributes: vec![text("exception.type", error_type), text("exception.message", message)],
                ..Event::default()
            });
            self.complete(open.collected);
        }
    }

    pub(super) fn take_complete(&mut self) -> Vec<Collected> {
        let taken: Vec<_> = std::mem::take(&mut self.complete).into_iter().collect();
        self.bytes -= taken.iter().map(|(_, bytes)| bytes).sum::<usize>();
        taken.into_iter().map(|(collected, _)| collected).collect()
    }

    pub(super) fn take_documents(&mut self) -> Vec<SdkDocument> {
        self.bytes -= self.documents.iter().map(SdkDocument::bytes).sum::<usize>();
        std::mem::take(&mut self.documents).into()
    }

    pub(super) fn open_ids(&self) -> Vec<(TraceId, SpanId)> {
        self.open.keys().copied().collect()
    }

    pub(super) fn has_complete(&self) -> bool {
        !self.complete.is_empty() || !self.documents.is_empty()
    }

    /// Spans in memory, open and complete.
    pub(super) fn held(&self) -> usize {
        let in_documents = self.documents.iter().map(SdkDocument::spans).sum::<u64>();
        self.open.len() + self.complete.len() + usize::try_from(in_documents).unwrap_or(usize::MAX)
    }
}

fn key(span: &Span) -> Option<(TraceId, SpanId)> {
    Some((TraceId::from_bytes(&span.trace_id)?, SpanId::from_bytes(&span.span_id)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn collected(id: u8, name: &str) -> Collected {
        let span = Span {
            trace_id: vec![7; 16],
            span_id: vec![id; 8],
            name: name.into(),
            start_time_unix_nano: 5,
            ..Span::default()
        };
        Collected { span: Box::new(span), origin: Arc::default(), request_id: None }
    }

    #[test]
    fn a_started_span_is_received_once_and_its_end_replaces_it() {
        let mut store = Store::new(10_000);
        store.start(Connection(0), collected(1, "open"));
        assert!(!store.has_complete());
        store.end(collected(1, "whole"));
        assert_eq!(store.take_complete()[0].span.name, "whole");
        assert!(store.accounts.balance(1), "handed out, not yet sent");
        assert_eq!((store.held(), store.bytes), (0, 0));
    }

    #[test]
    fn closing_says_what_happened_and_touches_only_the_dead_connection() {
        let mut store = Store::new(10_000);
        store.start(Connection(0), collected(1, "handler"));
        store.start(Connection(1), collected(2, "other"));
        store.close_open(Some(Connection(0)), 9, "Runtime.ExitError", "the runtime exited");
        let closed = store.take_complete();
        assert_eq!(closed.len(), 1);
        assert_eq!(closed[0].span.end_time_unix_nano, 9);
        assert_eq!(closed[0].span.status.as_ref().unwrap().message, "the runtime exited");
        assert_eq!(closed[0].span.events.len(), 1);
        assert_eq!(store.held(), 1);
    }

    #[test]
    fn memory_is_bounded_the_oldest_goes_and_is_counted() {
        let mut store = Store::new(200);
        for id in 1..=50 {
            store.end(collected(id, "some span"));
        }
        assert!(store.bytes <= 200);
        assert_eq!(store.complete.back().unwrap().0.span.span_id, vec![50; 8]);
        assert!(store.accounts.balance(store.held() as u64));
        assert!(store.accounts.has_losses());
    }
}
