//! Initialisations that failed: whom they are told of, and what is told where the agent could not.

use super::super::agents::Agent;
use super::super::closing::fail;
use super::super::ending::{Evidence, Shut};
use super::super::origin::{attribute, text_of};
use super::super::rank::{attribute_text, has_failed};
use super::super::recent::{Death, Record};
use super::super::trace_header::{Sampled, SpanId};
use super::super::{Collected, Mode};
use super::Machine;
use super::keeping::is_pending;
use crate::received::Connection;
use crate::received::Exit;
use crate::sampling::decision::Verdict;
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

/// Failures of the initialisations that an environment can have had, those of earlier processes included.
const MAX_FAILED_LOADS: usize = 4;
/// Calls of functions that could not be loaded. An agent keeps no more of one.
const MAX_CALLS: usize = 64;

/// What tells why the function could not be loaded, until it is known which invocation waits for it: a failed
/// initialisation is tried again within that (L-8.21), and both are of one trace.
#[derive(Debug, Default)]
pub(super) struct FailedLoads {
    /// Of the processes before.
    earlier: Vec<Collected>,
    /// Of the runtime that this process has seen: it speaks for the handler, which has not run.
    own: Vec<Collected>,
    /// What either has called until it failed.
    calls: Vec<Collected>,
}

impl FailedLoads {
    pub(super) fn len(&self) -> usize {
        self.loads() + self.calls.len()
    }

    fn loads(&self) -> usize {
        self.earlier.len() + self.own.len()
    }

    /// Whether there is room for another.
    fn takes_load(&self) -> bool {
        self.loads() < MAX_FAILED_LOADS
    }

    fn takes_call(&self, span: &Span) -> bool {
        let made = |load: &Collected| {
            load.span.trace_id == span.trace_id && load.span.span_id == span.parent_span_id
        };
        self.calls.len() < MAX_CALLS && self.earlier.iter().chain(&self.own).any(made)
    }

    pub(super) fn speak_for_handler(&self) -> bool {
        !self.own.is_empty()
    }
}

/// Where they go.
struct Destination {
    trace_id: Vec<u8>,
    request_id: Option<Arc<str>>,
    /// Of this process's.
    parent_of_own: Vec<u8>,
    parent_of_earlier: Vec<u8>,
}

impl Machine {
    /// An agent's span that comes before its handler ran. True where it tells that the function could not be loaded, and
    /// is kept until it is known who waits for that. Else it belongs to the invocation that waits for the
    /// initialisation, where one is known, or stays in a trace of its own.
    pub(super) fn init_told(&mut self, connection: Connection, collected: &mut Collected) -> bool {
        if !self.agents.is_loading(connection) {
            return false;
        }
        if is_failed_load(&collected.span) {
            self.agents.note_failed_load(connection);
            if self.failed_loads.takes_load() {
                self.spans.accounts.receive(1);
                self.failed_loads.own.push(collected.clone());
                return true;
            }
        } else if self.failed_loads.takes_call(&collected.span) {
            self.spans.accounts.receive(1);
            self.failed_loads.calls.push(collected.clone());
            return true;
        }
        let waiting =
            self.recent.iter_mut().rev().find(|record| record.has_begun && !record.invocation.is_over);
        let Some(record) = waiting else { return false };
        let Some(header) = record.invocation.header else { return false };
        let span = &mut *collected.span;
        span.trace_id = header.root.as_bytes().to_vec();
        span.parent_span_id = bytes_of(header.parent);
        collected.request_id = Some(record.invocation.request_id.as_str().into());
        false
    }

    /// What an earlier process has left of the initialisation that failed there.
    pub fn take_over(&mut self, failed_loads: Vec<Collected>) {
        for collected in failed_loads {
            if is_failed_load(&collected.span) && self.failed_loads.takes_load() {
                self.failed_loads.earlier.push(collected);
            } else if self.failed_loads.takes_call(&collected.span) {
                self.failed_loads.calls.push(collected);
            } else {
                self.spans.closed(Some(&collected));
            }
        }
    }

    /// At the end of the environment's processes: failures of an initialisation that is tried again within an
    /// invocation, which the next process knows.
    pub fn hand_over(&mut self) -> Vec<Collected> {
        if !self.hands_over {
            return Vec::new();
        }
        let FailedLoads { mut earlier, own, calls } = std::mem::take(&mut self.failed_loads);
        earlier.extend(own);
        earlier.extend(calls);
        earlier
    }

    /// There is no next process for what was to be handed over.
    pub fn keep(&mut self, failed_loads: Vec<Collected>) {
        self.take_over(failed_loads);
        self.place_failed_loads(true);
    }

    /// Whether the invocation that waits is known to the next process only.
    pub(super) fn is_retried_later(&self, shut: Shut) -> bool {
        shut != Shut::Spindown
            && self.initialising.is_tried_again()
            && !self.recent.iter().any(|record| record.has_begun)
    }

    /// Gives failed loads to the invocation that has waited, when it is over. In the end, those that no trace of
    /// Lambda's takes have one of their own.
    pub(super) fn place_failed_loads(&mut self, is_last: bool) {
        if self.failed_loads.len() == 0 {
            return;
        }
        let waiting = self.recent.iter().find(|record| record.has_begun);
        let is_settled = waiting.is_some_and(|record| {
            let is_told = record.top.is_some() || self.failed_loads.speak_for_handler();
            record.invocation.is_over && is_told && !self.recent.awaits_mode(record) && !is_pending(record)
        });
        if !is_settled && !is_last {
            return;
        }
        let to_waiting = waiting.and_then(|record| self.to_invocation(record));
        let Some(to) = to_waiting.or_else(|| self.to_each_other()) else { return };
        let FailedLoads { earlier, own, calls } = std::mem::take(&mut self.failed_loads);
        let of_own = own.into_iter().map(|one| (one, Some(&to.parent_of_own)));
        let of_earlier = earlier.into_iter().map(|one| (one, Some(&to.parent_of_earlier)));
        // Calls stay below what has made them.
        let of_calls = calls.into_iter().map(|one| (one, None));
        for (mut collected, parent) in of_own.chain(of_earlier).chain(of_calls) {
            collected.request_id.clone_from(&to.request_id);
            collected.span.trace_id.clone_from(&to.trace_id);
            if let Some(parent) = parent.filter(|parent| collected.span.span_id != **parent) {
                collected.span.parent_span_id.clone_from(parent);
            }
            self.spans.closed(Some(&collected));
        }
    }

    /// Into the trace of an invocation, where that is sent: under Active tracing below Lambda's own segment, else below
    /// what speaks for the handler.
    fn to_invocation(&self, record: &Record) -> Option<Destination> {
        let invocation = &record.invocation;
        let is_sent = |sampled| sampled == Sampled::Yes || record.deciding.verdict == Verdict::Kept;
        let header = invocation.header.filter(|header| is_sent(header.sampled))?;
        let lambdas = bytes_of(header.parent);
        let is_active = invocation.mode == Mode::Active && header.sampled == Sampled::Yes;
        let top = record.top.map(|top| top.as_bytes().to_vec()).filter(|_| !is_active);
        let own = self.failed_loads.own.first().map(|own| own.span.span_id.clone()).filter(|_| !is_active);
        Some(Destination {
            trace_id: header.root.as_bytes().to_vec(),
            request_id: Some(invocation.request_id.as_str().into()),
            parent_of_earlier: top.clone().or(own).unwrap_or_else(|| lambdas.clone()),
            parent_of_own: top.unwrap_or(lambdas),
        })
    }

    /// Into a trace of their own, all below the one.
    fn to_each_other(&self) -> Option<Destination> {
        let FailedLoads { earlier, own, .. } = &self.failed_loads;
        let first = &own.first().or(earlier.first())?.span;
        Some(Destination {
            trace_id: first.trace_id.clone(),
            request_id: None,
            parent_of_own: first.span_id.clone(),
            parent_of_earlier: first.span_id.clone(),
        })
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
            record.error_type = record.error_type.take().or_else(|| error_type.clone());
            // Without one there is no trace in which its end could be told.
            if record.invocation.header.is_some() {
                return;
            }
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
        self.spans.accounts.receive(1);
        let origin = Arc::clone(&agent.origin);
        self.failed_loads.own.push(Collected { span: Box::new(span), origin, request_id: None });
    }
}

/// Whether a span is the loading of the function, and not a call that has failed meanwhile.
fn is_failed_load(span: &Span) -> bool {
    let is_cold_start = || attribute_text(span, "faas.coldstart").as_deref() == Some("true");
    span.parent_span_id.is_empty() && has_failed(span) && is_cold_start()
}

fn bytes_of(id: Option<SpanId>) -> Vec<u8> {
    id.map(|id| id.as_bytes().to_vec()).unwrap_or_default()
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
