//! Whether an invocation is sent that neither Lambda nor a caller has sampled: rows 2 and 4 of xray.md section 15.

use super::super::Collected;
use super::super::packed::Packed;
use super::super::rank::{attribute_text, has_failed};
use super::super::recent::{Recent, Record};
use super::super::trace_header::{Sampled, TraceId};
use super::{Machine, Signal, is_top};
use crate::sampling::decision::{Beginning, Policy, Verdict};
use crate::sampling::{Due, Learned, Request};
use crate::settings::Sampling;
use std::time::Duration;

const FLAG_SAMPLED: u32 = 0x01;

impl Machine {
    fn policy(&self) -> Policy {
        Policy { sampling: self.config.sampling, keep: self.config.keep }
    }

    /// Whether an invocation is certain not to be sent.
    pub(super) fn is_hopeless(&self, record: &Record) -> bool {
        let (mode, somebody_decides) = (self.recent.mode(), self.recent.somebody_decides());
        let by_header = || {
            let header = record.invocation.header;
            header.is_some_and(|header| self.policy().is_hopeless(header.sampled, mode, somebody_decides))
        };
        record.deciding.verdict == Verdict::Dropped || by_header()
    }

    /// Decides what can be decided when the invocation's first span is there, or when it has ended without one.
    pub(super) fn decide(&mut self, request_id: &str, top: Option<&Collected>, now_unix_nano: u64) {
        let (policy, mode) = (self.policy(), self.recent.mode());
        let somebody_decides = self.recent.somebody_decides();
        let Some(record) = self.recent.get_mut(request_id) else { return };
        let header = record.invocation.header;
        let root = header.map(|header| header.root);
        if top.is_some_and(|top| TraceId::from_bytes(&top.span.trace_id) != root) {
            // It continues another trace, which is sent whatever this one's header says.
            record.deciding.verdict = Verdict::Kept;
            return;
        }
        let beginning = Beginning {
            header,
            mode,
            somebody_decides,
            agent: top.filter(|top| top.request_id.is_some()).map(|top| top.span.flags & FLAG_SAMPLED != 0),
            request: Request {
                service_name: &self.config.service_name,
                resource_arn: &record.invocation.function_arn,
                attribute: &|name| top.and_then(|top| attribute_text(&top.span, name)),
            },
            now_s: now_unix_nano / 1_000_000_000,
        };
        record.deciding.begin(&policy, &beginning, &mut self.sampler);
    }

    /// Takes down how a span has ended, for what is decided by that.
    pub(super) fn note_outcome(&mut self, collected: &Collected) {
        let span = &*collected.span;
        let Some(record) = self.recent.of_span_mut(collected) else { return };
        if !is_pending(record) {
            return;
        }
        let parent = record.invocation.header.and_then(|header| header.parent);
        let is_top = is_top(span, parent);
        let nanos = span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano);
        let took = if is_top { Duration::from_nanos(nanos) } else { Duration::ZERO };
        let is_cold = is_top && attribute_text(span, "faas.coldstart").as_deref() == Some("true");
        record.deciding.note(has_failed(span), is_cold, took);
    }

    /// An invocation has ended: what its end decides is decided.
    pub(super) fn settle(&mut self, request_id: &str, now_unix_nano: u64) {
        self.decide(request_id, None, now_unix_nano);
        let is_cold = self.initialising.of(request_id).is_some();
        let policy = self.policy();
        if let Some(record) = self.recent.get_mut(request_id) {
            record.deciding.note(false, is_cold, Duration::ZERO);
            record.deciding.end(&policy);
        }
    }

    /// Settles all for which `is_ended` holds.
    pub(super) fn settle_all(&mut self, is_ended: impl Fn(&Record) -> bool, now_unix_nano: u64) {
        let pending = |record: &&Record| is_pending(record) && is_ended(record);
        let ids: Vec<String> =
            self.recent.iter().filter(pending).map(|record| record.invocation.request_id.clone()).collect();
        for id in &ids {
            self.settle(id, now_unix_nano);
        }
    }

    /// Lets go of the held invocation where it is known now that nothing of it is sent.
    pub(super) fn release_hopeless(&mut self) -> Signal {
        let held = self.held.as_deref().and_then(|request_id| self.recent.get(request_id));
        if held.is_some_and(|record| record.deciding.verdict == Verdict::Dropped) {
            self.held = None;
            return Signal::Over;
        }
        Signal::Nothing
    }

    /// Whether X-Ray is to be asked or told something about the sampling rules.
    pub fn has_sampling_due(&self, now_unix_nano: u64) -> bool {
        self.config.sampling == Sampling::Rules && self.sampler.has_due(now_unix_nano / 1_000_000_000)
    }

    /// What the sampling rules ask of X-Ray, where they are asked for.
    pub fn sampling_due(&mut self, now_unix_nano: u64) -> Option<Due> {
        (self.config.sampling == Sampling::Rules).then(|| self.sampler.due(now_unix_nano / 1_000_000_000))?
    }

    /// What X-Ray has answered to that.
    pub fn learn_sampling(&mut self, learned: &Learned, now_unix_nano: u64) {
        self.sampler.learn(learned, now_unix_nano / 1_000_000_000);
    }
}

/// Which complete spans must wait, because it is not decided yet whether they are sent, or as what.
pub(super) fn waiting(recent: &Recent) -> impl Fn(&Packed) -> bool {
    let is_pending = |record: &Record| is_pending(record) || recent.awaits_mode(record);
    let is_any_pending = recent.iter().any(is_pending);
    move |packed| {
        let of_span = || {
            let trace_id = packed.head().trace_id;
            recent.of_span(packed.request_id(), trace_id).is_some_and(|record| {
                is_pending(record) && record.invocation.header.map(|header| header.root) == trace_id
            })
        };
        is_any_pending && of_span()
    }
}

pub(super) fn is_pending(record: &Record) -> bool {
    record.invocation.header.is_some_and(|header| header.sampled != Sampled::Yes)
        && matches!(record.deciding.verdict, Verdict::Open | Verdict::ByOutcome)
}
