//! Invocations that end badly: when the end is sure, how it is explained, and what is closed then.

use super::super::Collected;
use super::super::closing::{close, fail, leave};
use super::super::ending::{Ending, Evidence, Shut};
use super::super::origin::{attribute, text};
use super::super::recent::{Death, Record};
use super::super::spans::Open;
use super::super::trace_header::{Sampled, SpanId};
use super::super::{Mode, Origin};
use super::init::EndedInInit;
use super::{Machine, Signal};
use crate::received::Connection;
use crate::received::{Exit, Fate};
use crate::sampling::decision::Verdict;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use std::sync::Arc;
use std::time::Duration;

/// How long the platform's word on an end is waited for. It is buffered for 25 ms (L-6.6); the runtime is dead, so
/// that nobody waits but the reset.
const EXPLAINED_WITHIN_NANOS: u64 = 150_000_000;

impl Machine {
    /// The end of file. In the middle of an invocation it means that the function's process is gone.
    pub(super) fn closed(&mut self, connection: Connection, fate: Fate, now_unix_nano: u64) -> Signal {
        let Some(agent) = self.agents.disconnect(connection) else {
            return Signal::Nothing;
        };
        let exit = match fate {
            // It begins anew, with the invocations it is in; its open spans stay open.
            Fate::Alive => return Signal::Nothing,
            Fate::Ended(exit) => Some(exit),
            Fate::Unknown => None,
        };
        if !agent.has_entered && !agent.has_told_failed_load && self.held.is_none() {
            self.ended_in_init = Some(EndedInInit { agent, exit, at_unix_nano: now_unix_nano });
            return Signal::Nothing;
        }
        let mut signal = Signal::Nothing;
        for running in &agent.running {
            // Else a process that the handler's started has ended, not the handler's.
            if !self.agents.run(&running.request_id) {
                signal = signal.or(self.died(&running.request_id, exit, now_unix_nano));
            }
        }
        let dying: Vec<String> = self.dying().collect();
        let is_left = |open: &Open| {
            let request_id = open.request_id();
            open.connection == connection && !dying.iter().any(|id| request_id == Some(id))
        };
        let running: Vec<String> = self.recent.running().map(str::to_owned).collect();
        let is_running =
            |open: &Open| open.request_id().is_some_and(|id| running.iter().any(|running| running == id));
        let evidence = Evidence { exit, ..Evidence::default() };
        self.close_open(|open| is_left(open) && is_running(open), &evidence, now_unix_nano);
        self.leave_unfinished(is_left, now_unix_nano);
        if agent.running.is_empty() && self.agents.is_empty() {
            // Between its INVOKE event and its handler, or with nothing left to tell the end.
            if let Some(request_id) = self.held.clone() {
                signal = signal.or(self.died(&request_id, exit, now_unix_nano));
            }
        }
        signal
    }

    /// The process of an invocation is gone, or the platform says that it ends badly.
    pub(super) fn died(&mut self, request_id: &str, exit: Option<Exit>, now_unix_nano: u64) -> Signal {
        let has_telemetry = self.has_telemetry;
        let record = self.recent.note(request_id, now_unix_nano);
        if record.invocation.is_over {
            return Signal::Nothing;
        }
        let due_unix_nano = now_unix_nano.saturating_add(EXPLAINED_WITHIN_NANOS);
        let death = record.death.get_or_insert(Death { at_unix_nano: now_unix_nano, exit, due_unix_nano });
        death.exit = death.exit.or(exit);
        if record.evidence(None).is_decisive() || !has_telemetry {
            return self.explain(request_id, None, now_unix_nano);
        }
        Signal::Nothing
    }

    /// The platform says that an invocation ends badly while its process may still write.
    pub(super) fn expect_end(&mut self, request_id: &str, now_unix_nano: u64) {
        if let Some(record) = self.recent.get_mut(request_id) {
            let due_unix_nano = now_unix_nano.saturating_add(EXPLAINED_WITHIN_NANOS);
            record.death.get_or_insert(Death { at_unix_nano: now_unix_nano, exit: None, due_unix_nano });
        }
    }

    /// The requests whose end is not explained yet.
    fn dying(&self) -> impl Iterator<Item = String> {
        let dying = |record: &&Record| record.death.is_some() && !record.invocation.is_over;
        self.recent.iter().filter(dying).map(|record| record.invocation.request_id.clone())
    }

    /// Explains those whose time for an explanation is up.
    pub(super) fn explain_overdue(&mut self, is_due: impl Fn(u64) -> bool, now_unix_nano: u64) -> Signal {
        let overdue = |record: &&Record| {
            !record.invocation.is_over && record.death.is_some_and(|death| is_due(death.due_unix_nano))
        };
        let ids: Vec<String> =
            self.recent.iter().filter(overdue).map(|record| record.invocation.request_id.clone()).collect();
        ids.iter().fold(Signal::Nothing, |signal, id| signal.or(self.explain(id, None, now_unix_nano)))
    }

    /// At a shutdown: those that are dying, and when something went wrong, the one that was running.
    pub(super) fn explain_last(&mut self, shut: Shut, now_unix_nano: u64) {
        let is_running = |record: &&Record| record.has_begun && !record.invocation.is_over;
        let last =
            self.recent.iter().rev().find(is_running).map(|record| record.invocation.request_id.clone());
        let mut ids: Vec<String> = self.dying().collect();
        if let Some(last) = last.filter(|last| shut != Shut::Spindown && !ids.contains(last)) {
            ids.push(last);
        }
        for id in &ids {
            self.explain(id, Some(shut), now_unix_nano);
        }
        let running: Vec<String> = self
            .recent
            .iter()
            .filter(is_running)
            .map(|record| record.invocation.request_id.clone())
            .collect();
        for id in running {
            let evidence =
                Evidence { shut: Some(shut), timed_out: shut == Shut::Timeout, ..Evidence::default() };
            self.close_open(|open| open.request_id() == Some(&*id), &evidence, now_unix_nano);
        }
    }

    /// Closes what an invocation has left open, with the best explanation there is, and ends it.
    pub(super) fn explain(&mut self, request_id: &str, shut: Option<Shut>, now_unix_nano: u64) -> Signal {
        let Some(record) = self.recent.get(request_id) else { return Signal::Nothing };
        let evidence = Evidence {
            memory_mb: self.config.memory_mb,
            max_memory_used_mb: self.max_memory_used_mb,
            ..record.evidence(shut)
        };
        let died_at = record.death.map_or(now_unix_nano, |death| death.at_unix_nano);
        let deadline = record.deadline_ms.saturating_mul(1_000_000);
        let took = Duration::from_nanos(died_at.saturating_sub(record.begun_unix_nano));
        if let Some(record) = self.recent.get_mut(request_id) {
            record.deciding.note(true, false, took);
        }
        self.settle(request_id, now_unix_nano);
        let Some(record) = self.recent.get(request_id) else { return Signal::Nothing };
        // What Lambda's own clean-up takes is not the function's.
        let at = if evidence.timed_out && deadline > 0 { died_at.min(deadline) } else { died_at };
        let is_told = record.top.is_some() || self.failed_loads.speak_for_handler();
        let missing = if is_told { None } else { self.missing_top(record, &evidence.ending(), at) };
        self.close_open(|open| open.request_id() == Some(request_id), &evidence, at);
        if let Some(missing) = missing {
            if let Some(record) = self.recent.get_mut(request_id) {
                record.top = SpanId::from_bytes(&missing.span.span_id);
            }
            self.spans.add(&missing);
        }
        self.over(request_id, now_unix_nano)
    }

    /// Closes open spans as faults.
    pub(super) fn close_open(
        &mut self,
        is_closed: impl Fn(&Open) -> bool,
        evidence: &Evidence,
        at_unix_nano: u64,
    ) {
        let open = self.spans.take_open(is_closed);
        close(open, &evidence.ending(), at_unix_nano, |closed| self.spans.closed(closed.as_ref()));
    }

    /// Completes open spans that no bad end is known of: left by invocations that have ended by themselves, with
    /// which they end too, or by none.
    pub(super) fn leave_unfinished(&mut self, is_left: impl Fn(&Open) -> bool, now_unix_nano: u64) {
        for left in self.spans.take_open(is_left) {
            let record = left.packed.request_id().and_then(|request_id| self.recent.get(request_id));
            let over = record.map_or(0, |record| record.over_unix_nano);
            let closed = leave(&left, if over > 0 { over } else { now_unix_nano });
            self.spans.closed(closed.as_ref());
        }
    }

    /// The span of a handler that never began or could not tell, where nobody else writes the function's segment
    /// (LAM-23).
    fn missing_top(&self, record: &Record, ending: &Ending, at_unix_nano: u64) -> Option<Collected> {
        let invocation = &record.invocation;
        let header = invocation.header.filter(|_| invocation.mode != Mode::Active)?;
        let sampled = header.sampled == Sampled::Yes;
        if !sampled && record.deciding.verdict != Verdict::Kept {
            return None;
        }
        let is_first = self.initialising.of(&invocation.request_id).is_some();
        let mut span = Span {
            trace_id: header.root.as_bytes().to_vec(),
            span_id: id_of(&invocation.request_id).to_be_bytes().to_vec(),
            parent_span_id: header.parent.map(|parent| parent.as_bytes().to_vec()).unwrap_or_default(),
            flags: 0x300 | u32::from(sampled),
            name: "handler".to_owned(),
            kind: SpanKind::Server.into(),
            start_time_unix_nano: record.begun_unix_nano,
            attributes: vec![
                text("faas.invocation_id", &invocation.request_id),
                attribute("faas.coldstart", Any::BoolValue(is_first)),
            ],
            ..Span::default()
        };
        fail(&mut span, &ending.kind, &ending.message, at_unix_nano);
        let request_id = Some(Arc::from(invocation.request_id.as_str()));
        Some(Collected { span: Box::new(span), origin: Arc::new(Origin::default()), request_id })
    }
}

/// The id of a span that stands for an invocation: the same whenever it is asked for (FNV-1a; never zero).
fn id_of(request_id: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    request_id.bytes().fold(0xcbf2_9ce4_8422_2325, step).max(1)
}
