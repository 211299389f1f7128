//! What the platform says of invocations and initialisations (section 6.3). It may come late, twice and disordered.

use super::super::Mode;
use super::super::trace_header::{Sampled, TraceHeader};
use super::{Machine, Signal};
use crate::received::platform::{Finished, InvocationDone, PlatformEvent, PlatformRecord, Start, Status};
use std::time::Duration;

impl Machine {
    pub(super) fn platform(&mut self, event: &PlatformEvent, now_unix_nano: u64) -> Signal {
        self.has_telemetry = true;
        let at = if event.time_unix_nano == 0 { now_unix_nano } else { event.time_unix_nano };
        match &event.record {
            PlatformRecord::InitStart(start) => self.initialising.started(start, at),
            PlatformRecord::RestoreStart => self.initialising.restore_started(at),
            PlatformRecord::InitRuntimeDone(done)
            | PlatformRecord::InitReport(done)
            | PlatformRecord::RestoreRuntimeDone(done)
            | PlatformRecord::RestoreReport(done) => {
                self.initialising.ended(at, error_type(done));
                return self.initialised();
            }
            PlatformRecord::Start(start) => self.started(start, at),
            PlatformRecord::RuntimeDone(done) | PlatformRecord::Report(done) => {
                return self.ended(done, now_unix_nano);
            }
        }
        Signal::Nothing
    }

    /// The invocation that waited for it may be over and sent.
    fn initialised(&mut self) -> Signal {
        let first =
            self.recent.iter().find(|record| self.initialising.of(&record.invocation.request_id).is_some());
        self.initialised_late =
            first.is_some_and(|record| record.invocation.is_over && !self.recent.awaits_mode(record));
        if self.initialised_late && self.held.is_none() { Signal::FlushSoon } else { Signal::Nothing }
    }

    fn started(&mut self, start: &Start, at_unix_nano: u64) {
        let header = TraceHeader::parse(&start.tracing.value);
        // LAM-20: Lambda names its own segment only where it writes one.
        if !start.tracing.span_id.is_empty() {
            self.recent.show(Mode::Active);
        } else if header.is_some_and(|header| header.sampled == Sampled::Yes) {
            self.recent.show(Mode::PassThrough);
        }
        self.recent.learn_decision(header);
        let mode = self.recent.mode();
        let record = self.recent.note(&start.request_id, at_unix_nano);
        record.has_begun = true;
        record.has_started = true;
        record.awaits_mode = false;
        record.begun_unix_nano = record.begun_unix_nano.min(at_unix_nano);
        record.invocation.mode = mode;
        record.invocation.header = record.invocation.header.or(header);
        self.initialising.invoked(&start.request_id, at_unix_nano);
    }

    fn ended(&mut self, done: &InvocationDone, now_unix_nano: u64) -> Signal {
        self.note_memory(done);
        let Some(record) = self.recent.get_mut(&done.request_id).filter(|one| !one.invocation.is_over) else {
            return Signal::Nothing;
        };
        let ms = done.metrics.duration_ms.unwrap_or_default().max(0.0);
        let took = Duration::try_from_secs_f64(ms / 1000.0).unwrap_or_default();
        record.deciding.note(false, false, took);
        let ended_badly = match done.status {
            Status::Success | Status::Unsaid => false,
            Status::Timeout => {
                record.said_timeout = true;
                true
            }
            Status::Failure | Status::Error | Status::Other(_) => true,
        };
        if !ended_badly {
            return self.over(&done.request_id, now_unix_nano);
        }
        record.deciding.outcome.failed = true;
        if !done.error_type.is_empty() {
            record.error_type = Some(done.error_type.clone());
        }
        if record.death.is_some() || !self.agents.run(&done.request_id) {
            return self.explain(&done.request_id, None, now_unix_nano);
        }
        // Its agent lives and may still write; the end of file tells more.
        self.expect_end(&done.request_id, now_unix_nano);
        Signal::Nothing
    }

    fn note_memory(&mut self, done: &InvocationDone) {
        self.config.memory_mb = self.config.memory_mb.or(done.metrics.memory_size_mb);
        self.max_memory_used_mb = self.max_memory_used_mb.max(done.metrics.max_memory_used_mb);
    }
}

fn error_type(done: &Finished) -> Option<&str> {
    let failed = !matches!(done.status, Status::Success | Status::Unsaid);
    failed.then_some(if done.error_type.is_empty() { "Runtime.Unknown" } else { &done.error_type })
}
