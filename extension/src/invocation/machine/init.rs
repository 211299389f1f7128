//! Initialisations that failed: whom they are told of, and what is told where the agent could not.

use super::super::agents::Agent;
use super::super::closing::fail;
use super::super::ending::{Evidence, Shut};
use super::super::origin::{attribute, text_of};
use super::super::recent::Death;
use super::super::{Collected, Mode};
use super::Machine;
use crate::receive::Connection;
use crate::receive::process::Exit;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

/// A runtime that ended before its handler ran. Whether that was a failure is known at the shutdown.
#[derive(Debug)]
pub(super) struct EndedInInit {
    pub(super) agent: Agent,
    pub(super) exit: Option<Exit>,
    pub(super) at_unix_nano: u64,
}

impl Machine {
    /// An agent's span that comes before its handler ran, such as the failure to load it. It belongs to the invocation
    /// that waits for the initialisation, where one is known; else it stays in a trace of its own.
    pub(super) fn init_told(&mut self, connection: Connection, collected: &mut Collected) {
        if !self.agents.tells_init(connection) {
            return;
        }
        let waiting =
            self.recent.iter_mut().rev().find(|record| record.has_begun && !record.invocation.is_over);
        let Some(record) = waiting else { return };
        let Some(header) = record.invocation.header else { return };
        let span = &mut *collected.span;
        span.trace_id = header.root.as_bytes().to_vec();
        span.parent_span_id = header.parent.map(|parent| parent.as_bytes().to_vec()).unwrap_or_default();
        collected.request_id = Some(record.invocation.request_id.as_str().into());
        // It speaks for the handler, which will not run.
        record.has_top |= record.invocation.mode != Mode::Active;
    }

    /// At a shutdown because of a failure: the runtime that ended before its handler ran is why.
    pub(super) fn explain_failed_init(&mut self, shut: Shut) {
        let Some(EndedInInit { agent, exit, at_unix_nano }) = self.ended_in_init.take() else { return };
        if shut == Shut::Spindown {
            return;
        }
        let error_type = self.initialising.error_type.clone();
        let waiting = self.recent.iter_mut().rev().find(|record| record.has_begun);
        if let Some(record) = waiting.filter(|record| !record.invocation.is_over) {
            record.death.get_or_insert(Death { at_unix_nano, exit, due_unix_nano: at_unix_nano });
            record.error_type = record.error_type.take().or(error_type);
            return;
        }
        let start_unix_nano = self.initialising.start_unix_nano().unwrap_or(agent.since_unix_nano);
        let seconds =
            std::time::Duration::from_nanos(at_unix_nano.saturating_sub(start_unix_nano)).as_secs_f64();
        let evidence = Evidence {
            exit,
            error_type,
            memory_mb: self.config.memory_mb,
            max_memory_used_mb: self.max_memory_used_mb,
            shut: Some(shut),
            ..Evidence::default()
        };
        let (kind, message) = if shut == Shut::Timeout {
            ("Timeout".to_owned(), format!("the initialisation was not finished after {seconds:.2} s"))
        } else {
            let ending = evidence.ending();
            (ending.kind, format!("{}, while the function was being loaded", ending.message))
        };
        let handler = text_of(&agent.origin.resource.attributes, "faas.handler");
        let mut span = Span {
            trace_id: trace_id(at_unix_nano),
            span_id: random().to_be_bytes().to_vec(),
            flags: 0x101,
            name: format!("load {}", handler.unwrap_or("the function")),
            kind: SpanKind::Internal.into(),
            start_time_unix_nano: start_unix_nano,
            attributes: vec![attribute("faas.coldstart", Any::BoolValue(true))],
            ..Span::default()
        };
        fail(&mut span, &kind, &message, at_unix_nano);
        self.spans.add(&Collected {
            span: Box::new(span),
            origin: Arc::clone(&agent.origin),
            request_id: None,
        });
    }
}

/// A fresh trace id, with the time in front where X-Ray looks for it (ID-1).
fn trace_id(unix_nano: u64) -> Vec<u8> {
    let seconds = u32::try_from(unix_nano / 1_000_000_000).unwrap_or(u32::MAX);
    let random = [random(), random()].map(u64::to_be_bytes).concat();
    seconds.to_be_bytes().into_iter().chain(random).take(16).collect()
}

/// Never zero, which is no id.
fn random() -> u64 {
    RandomState::new().hash_one(0).max(1)
}
