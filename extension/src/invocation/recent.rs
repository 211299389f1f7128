//! The invocations of late, and what is known of each.

use super::ending::{Evidence, Shut};
use super::trace_header::{Sampled, SpanId, TraceHeader, TraceId};
use super::{Collected, Invocation, Mode};
use crate::received::Exit;
use crate::sampling::decision::Deciding;
use crate::settings::TracingMode;
use std::collections::VecDeque;
use std::time::Duration;

/// Invocations remembered for their late spans (xray.md section 15, row 10).
pub(super) const REMEMBERED: usize = 16;
/// The same where so many run at once, as on Managed Instances.
const REMEMBERED_RUNNING: usize = 1024;

/// The event and `platform.start` follow an invocation's begin by milliseconds. What shows the tracing mode is not waited
/// for longer than this.
const MODE_COMES_WITHIN_NANOS: u64 = 2_000_000_000;

/// What is known of the end of an invocation that has not been explained yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Death {
    pub(super) at_unix_nano: u64,
    pub(super) exit: Option<Exit>,
    /// When the explanation must do with what is known.
    pub(super) due_unix_nano: u64,
}

/// One invocation.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each comes from another source, in any order")]
pub(super) struct Record {
    pub(super) invocation: Invocation,
    /// The first that was heard of it.
    pub(super) begun_unix_nano: u64,
    /// Epoch milliseconds of the function's timeout; 0 when not known.
    pub(super) deadline_ms: u64,
    /// Its INVOKE event has come.
    pub(super) is_announced: bool,
    /// Its `platform.start` has come.
    pub(super) has_started: bool,
    /// Either, or its handler's begin.
    pub(super) has_begun: bool,
    /// Only its agent has told of it: what shows the tracing mode is still to come (LAM-20).
    pub(super) awaits_mode: bool,
    /// When it was heard to be over; 0 before.
    pub(super) over_unix_nano: u64,
    /// The span of its handler, complete or open, or what stands for it.
    pub(super) top: Option<SpanId>,
    pub(super) death: Option<Death>,
    /// `errorType` of `platform.runtimeDone` or `platform.report`.
    pub(super) error_type: Option<String>,
    /// The platform says that it was a timeout.
    pub(super) said_timeout: bool,
    /// Whether it is sent, where its header does not say so.
    pub(super) deciding: Deciding,
}

impl Record {
    fn has_trace(&self, trace_id: Option<TraceId>) -> bool {
        self.invocation.header.is_some_and(|header| trace_id == Some(header.root))
    }

    fn mode_due_unix_nano(&self) -> u64 {
        self.begun_unix_nano.saturating_add(MODE_COMES_WITHIN_NANOS)
    }

    pub(super) fn is_past_deadline(&self, unix_nano: u64) -> bool {
        self.deadline_ms > 0 && unix_nano / 1_000_000 >= self.deadline_ms
    }

    /// What its end can be explained with.
    pub(super) fn evidence(&self, shut: Option<Shut>) -> Evidence {
        let died_late = self.death.is_some_and(|death| self.is_past_deadline(death.at_unix_nano));
        let limit_nanos = self.deadline_ms.saturating_mul(1_000_000).checked_sub(self.begun_unix_nano);
        Evidence {
            timed_out: died_late || self.said_timeout || shut == Some(Shut::Timeout),
            limit: limit_nanos.map(Duration::from_nanos),
            exit: self.death.and_then(|death| death.exit),
            error_type: self.error_type.clone(),
            memory_mb: None,
            max_memory_used_mb: None,
            shut,
        }
    }
}

/// The invocations of late, newest last.
#[derive(Debug)]
pub(super) struct Recent {
    records: VecDeque<Record>,
    tracing_mode: TracingMode,
    /// What has been seen of the function's tracing mode so far (LAM-20).
    shown_mode: Mode,
    /// A header has said yes: whoever that was has also said no where one says no.
    somebody_decides: bool,
}

impl Recent {
    pub(super) fn new(tracing_mode: TracingMode) -> Self {
        Self { records: VecDeque::new(), tracing_mode, shown_mode: Mode::Unknown, somebody_decides: false }
    }

    pub(super) fn get(&self, request_id: &str) -> Option<&Record> {
        self.records.iter().rev().find(|record| record.invocation.request_id == request_id)
    }

    pub(super) fn get_mut(&mut self, request_id: &str) -> Option<&mut Record> {
        self.records.iter_mut().rev().find(|record| record.invocation.request_id == request_id)
    }

    /// The requests whose end has not been heard of.
    pub(super) fn running(&self) -> impl Iterator<Item = &str> {
        let running = self.records.iter().filter(|record| !record.invocation.is_over);
        running.map(|record| record.invocation.request_id.as_str())
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Record> {
        self.records.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut Record> {
        self.records.iter_mut()
    }

    /// The one with a span's trace, of several the one that its process was in; else that one (row 10).
    pub(super) fn of_span(&self, request_id: Option<&str>, trace_id: Option<TraceId>) -> Option<&Record> {
        self.place_of_span(request_id, trace_id).map(|place| &self.records[place])
    }

    pub(super) fn of_span_mut(&mut self, collected: &Collected) -> Option<&mut Record> {
        let trace_id = TraceId::from_bytes(&collected.span.trace_id);
        let place = self.place_of_span(collected.request_id.as_deref(), trace_id)?;
        self.records.get_mut(place)
    }

    fn place_of_span(&self, request_id: Option<&str>, trace_id: Option<TraceId>) -> Option<usize> {
        let has_trace = |place: &usize| self.records[*place].has_trace(trace_id);
        let named = request_id
            .and_then(|id| self.records.iter().rposition(|record| record.invocation.request_id == id));
        let with_trace = || self.records.iter().rposition(|record| record.has_trace(trace_id));
        named.filter(has_trace).or_else(with_trace).or(named)
    }

    /// What is known of one, from now on at the latest. The oldest that is over makes room.
    pub(super) fn note(&mut self, request_id: &str, now_unix_nano: u64) -> &mut Record {
        let known = self.records.iter().rposition(|record| record.invocation.request_id == request_id);
        let index = known.unwrap_or_else(|| {
            self.make_room();
            self.records.push_back(Record {
                invocation: Invocation {
                    request_id: request_id.to_owned(),
                    mode: self.mode(),
                    ..Invocation::default()
                },
                begun_unix_nano: now_unix_nano,
                deadline_ms: 0,
                is_announced: false,
                has_started: false,
                has_begun: false,
                awaits_mode: false,
                over_unix_nano: 0,
                top: None,
                death: None,
                error_type: None,
                said_timeout: false,
                deciding: Deciding::default(),
            });
            self.records.len() - 1
        });
        &mut self.records[index]
    }

    fn make_room(&mut self) {
        if self.records.len() < REMEMBERED {
            return;
        }
        match self.records.iter().position(|record| record.invocation.is_over) {
            Some(index) => {
                self.records.remove(index);
            }
            // Where nothing tells the ends of invocations, they do not run for ever either.
            None if self.records.len() >= REMEMBERED_RUNNING => {
                self.records.pop_front();
            }
            None => {}
        }
    }

    /// Takes down what one side says of an invocation; event and agent may come in either order.
    pub(super) fn note_headers(
        &mut self,
        request_id: &str,
        event: Option<TraceHeader>,
        runtime: Option<TraceHeader>,
        now_unix_nano: u64,
    ) -> &mut Record {
        let known = self.note(request_id, now_unix_nano).invocation.header;
        self.learn_mode(event.or(known), runtime.or(known));
        self.learn_decision(event.or(runtime));
        let mode = self.mode();
        let record = self.note(request_id, now_unix_nano);
        record.invocation.header = runtime.or(known).or(event);
        record.invocation.mode = mode;
        record
    }

    /// Under Active tracing Lambda puts its own segment between the caller and the function, so the runtime's parent
    /// is not the event's (L-12.3); under `PassThrough` both are the caller's.
    fn learn_mode(&mut self, event: Option<TraceHeader>, runtime: Option<TraceHeader>) {
        if let (Some(event), Some(runtime)) = (event, runtime) {
            let lambda_wrote_a_segment = runtime.sampled == Sampled::Yes
                && event.root == runtime.root
                && runtime.parent.is_some()
                && event.parent != runtime.parent;
            if lambda_wrote_a_segment {
                self.show(Mode::Active);
            }
        }
    }

    /// Takes down that whoever decides has said yes.
    pub(super) fn learn_decision(&mut self, header: Option<TraceHeader>) {
        self.somebody_decides |= header.is_some_and(|header| header.sampled == Sampled::Yes);
    }

    pub(super) fn somebody_decides(&self) -> bool {
        self.somebody_decides
    }

    /// The function's mode has been seen, and holds for the environment.
    pub(super) fn show(&mut self, mode: Mode) {
        self.shown_mode = mode;
    }

    /// Whether the documents of an invocation would be other ones a moment later, when the tracing mode is known.
    pub(super) fn awaits_mode(&self, record: &Record) -> bool {
        let is_sampled = record.invocation.header.is_some_and(|header| header.sampled == Sampled::Yes);
        record.awaits_mode && is_sampled && self.mode() == Mode::Unknown
    }

    /// When the first invocation that waits for the mode has waited for long enough, in nanoseconds since the epoch.
    pub(super) fn mode_due_unix_nano(&self) -> Option<u64> {
        let waiting = self.records.iter().filter(|record| self.awaits_mode(record));
        waiting.map(Record::mode_due_unix_nano).min()
    }

    /// Ends that wait where it is due. Whether it has ended any.
    pub(super) fn end_mode_wait(&mut self, now_unix_nano: u64) -> bool {
        let mut has_ended = false;
        for record in &mut self.records {
            if record.awaits_mode && record.mode_due_unix_nano() <= now_unix_nano {
                record.awaits_mode = false;
                has_ended = true;
            }
        }
        has_ended
    }

    pub(super) fn mode(&self) -> Mode {
        match self.tracing_mode {
            TracingMode::Active => Mode::Active,
            TracingMode::PassThrough => Mode::PassThrough,
            TracingMode::Auto => self.shown_mode,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(recent: &Recent) -> Vec<&str> {
        recent.iter().map(|record| record.invocation.request_id.as_str()).collect()
    }

    #[test]
    fn row_10_the_oldest_that_is_over_is_forgotten_first() {
        let mut recent = Recent::new(TracingMode::Auto);
        for number in 0..REMEMBERED {
            recent.note(&number.to_string(), 0).invocation.is_over = number == 3 || number == 5;
        }
        recent.note("a", 0);
        assert!(!ids(&recent).contains(&"3") && ids(&recent).contains(&"5"));
        recent.note("b", 0);
        assert_eq!((ids(&recent).len(), ids(&recent).contains(&"5")), (REMEMBERED, false));
        recent.note("c", 0);
        assert_eq!(ids(&recent).len(), REMEMBERED + 1, "what runs is kept");
        for number in 0..2 * REMEMBERED_RUNNING {
            recent.note(&format!("more {number}"), 0);
        }
        assert_eq!(ids(&recent).len(), REMEMBERED_RUNNING);
    }

    #[test]
    fn an_end_at_the_deadline_is_a_timeout() {
        for (at_ms, timed_out) in [(2_999, false), (3_000, true)] {
            let mut recent = Recent::new(TracingMode::Auto);
            let record = recent.note("r", 0);
            record.deadline_ms = 3_000;
            record.death = Some(Death { at_unix_nano: at_ms * 1_000_000, exit: None, due_unix_nano: 0 });
            let evidence = record.evidence(None);
            assert_eq!((evidence.timed_out, evidence.limit), (timed_out, Some(Duration::from_secs(3))));
        }
    }
}
