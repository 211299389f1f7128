//! When is an invocation over, and what leaves then? A state machine without clock or sockets.

mod dying;
mod init;
mod keeping;
mod platform;

use super::agents::Agents;
use super::ending::Shut;
use super::initialisation::Initialising;
use super::load::Load;
use super::rank::PARENT_IS_REMOTE;
use super::recent::Recent;
use super::spans::Store;
use super::trace_header::{SpanId, TraceHeader};
use super::{Batch, Collected, Origin};
use crate::accounts::{Accounts, Reason, Trim};
use crate::lambda::{Invoke, Shutdown};
use crate::ledger::Ledger;
use crate::received::{Connection, Received, SpansPart};
use crate::received::{Done, Entered};
use crate::sampling::Sampler;
use crate::sampling::decision::Verdict;
use crate::settings::TracingMode;
use crate::settings::{Keep, Sampling};
use crate::translate::sdk::SdkDocument;
use init::{EndedInInit, FailedLoads};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use std::sync::Arc;
use std::time::Duration;

/// What the machine is told at the start.
#[derive(Debug, Clone)]
pub struct Config {
    pub tracing_mode: TracingMode,
    /// Where what is held in memory is counted.
    pub ledger: Ledger,
    /// Something takes more of a trace than X-Ray does.
    pub keeps_whole_traces: bool,
    pub sampling: Sampling,
    pub keep: Keep,
    /// The name that sampling rules know the function by.
    pub service_name: String,
    /// The function's memory, where it is known.
    pub memory_mb: Option<u64>,
}

/// Whether the environment is held after INVOKE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Until a signal says that the invocation is over.
    UntilOver,
    /// Until nothing has come for a while: nothing will say when it is over (L-9.1).
    UntilQuiet,
    /// Only for the flush: the invocation is over already.
    AlreadyOver,
    /// Not at all: ask for the next event at once.
    No,
}

/// What something received means for the flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Nothing,
    /// The invocation that is being held is over.
    Over,
    /// No invocation is held, and what has come should leave soon.
    FlushSoon,
}

impl Signal {
    /// The one that asks for more.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Over, _) | (_, Self::Over) => Self::Over,
            (Self::FlushSoon, _) | (_, Self::FlushSoon) => Self::FlushSoon,
            _ => Self::Nothing,
        }
    }
}

/// Everything the extension knows between events.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is seen by itself, whenever it is")]
pub struct Machine {
    config: Config,
    agents: Agents,
    recent: Recent,
    /// The request whose end is awaited.
    held: Option<Arc<str>>,
    /// Each invocation is announced by an event.
    expects_events: bool,
    initialising: Initialising,
    ended_in_init: Option<EndedInInit>,
    failed_loads: FailedLoads,
    /// The next process knows who waits for what could not be loaded here.
    hands_over: bool,
    /// What preceded an invocation was told when that was over.
    initialised_late: bool,
    /// The Telemetry API has spoken: what it will say of an end can be waited for.
    has_telemetry: bool,
    /// Spans or documents come from an SDK of the function's own.
    has_sdk: bool,
    /// The invocation whose handler's span is in the export request that is being taken in.
    ended_in_request: Option<Arc<str>>,
    /// The most that the platform has seen the environment use.
    max_memory_used_mb: Option<u64>,
    sampler: Sampler,
    spans: Store,
}

impl Machine {
    pub fn new(config: Config) -> Self {
        Self {
            agents: Agents::default(),
            recent: Recent::new(config.tracing_mode),
            held: None,
            expects_events: true,
            initialising: Initialising::default(),
            ended_in_init: None,
            failed_loads: FailedLoads::default(),
            hands_over: false,
            initialised_late: false,
            has_telemetry: false,
            has_sdk: false,
            ended_in_request: None,
            max_memory_used_mb: None,
            sampler: Sampler::default(),
            spans: Store::new(config.ledger.clone(), config.keeps_whole_traces),
            config,
        }
    }

    /// No INVOKE event will come, as on Managed Instances (L-8.26).
    pub fn expect_no_events(&mut self) {
        self.expects_events = false;
    }

    /// An invocation begins. What an earlier one has left unexplained is explained now.
    pub fn invoke(&mut self, invoke: &Invoke, now_unix_nano: u64) -> Hold {
        self.explain_overdue(|_| true, now_unix_nano);
        if self.expects_events {
            // The platform announces one when the one before has ended, also where nothing else has told that.
            self.settle_all(|earlier| earlier.invocation.request_id != invoke.request_id, now_unix_nano);
        }
        let header = TraceHeader::parse(&invoke.trace_header);
        let record = self.recent.note_headers(&invoke.request_id, header, None, now_unix_nano);
        record.is_announced = true;
        record.awaits_mode = false;
        record.has_begun = true;
        record.deadline_ms = invoke.deadline_ms;
        record.invocation.function_arn.clone_from(&invoke.function_arn);
        let is_over = record.invocation.is_over;
        self.initialising.invoked(&invoke.request_id, now_unix_nano);
        self.held = None;
        let is_hopeless = self.recent.get(&invoke.request_id).is_some_and(|record| self.is_hopeless(record));
        // Where no spans come, waiting would be billed for nothing.
        if is_hopeless || self.agents.is_empty() && !self.has_sdk {
            return Hold::No;
        }
        if is_over {
            return Hold::AlreadyOver;
        }
        self.held = Some(invoke.request_id.as_str().into());
        let is_end_told = !self.agents.is_empty() || self.has_telemetry;
        if is_end_told { Hold::UntilOver } else { Hold::UntilQuiet }
    }

    /// Something arrived on a socket.
    pub fn receive(&mut self, received: Received, now_unix_nano: u64) -> Signal {
        match received {
            Received::Hello(connection, hello) => {
                self.agents.connect(connection, &hello, now_unix_nano);
                Signal::Nothing
            }
            Received::Entered(connection, entered) => {
                self.enter(connection, &entered, now_unix_nano);
                Signal::Nothing
            }
            Received::Started(connection, span) => {
                let collected = self.agents.collected(connection, span);
                self.note_top(&collected, now_unix_nano);
                self.spans.start(connection, &collected);
                self.release_hopeless()
            }
            Received::Ended(connection, span) => {
                let mut collected = self.agents.collected(connection, span);
                if self.init_told(connection, &mut collected) {
                    return Signal::Nothing;
                }
                self.note_top(&collected, now_unix_nano);
                self.note_outcome(&collected);
                self.spans.end(&collected);
                Signal::Nothing
            }
            Received::Answered(answered) => {
                self.spans.answered(&answered);
                Signal::Nothing
            }
            Received::Done(connection, done) => self.done(connection, &done, now_unix_nano),
            Received::Closed(connection, fate) => self.closed(connection, fate, now_unix_nano),
            Received::Otlp(resource_spans) => self.otlp(resource_spans, now_unix_nano),
            Received::Spans(SpansPart { origin, spans, is_last }) => {
                self.take_spans(origin, spans, now_unix_nano);
                if is_last { self.request_taken(now_unix_nano) } else { Signal::Nothing }
            }
            Received::Shortened(spans) => {
                self.spans.accounts.trim(Trim::SpanShortened, spans);
                Signal::Nothing
            }
            // The conductor passes metrics and logs on.
            Received::Relayed(_) | Received::Next(_) => Signal::Nothing,
            Received::Weighed(received, _room) => self.receive(*received, now_unix_nano),
            Received::Platform(event) => self.platform(&event, now_unix_nano),
            Received::Document(document) => self.document(*document),
            Received::Lost { reason, spans } => {
                self.spans.accounts.receive_and_drop(reason, spans);
                Signal::Nothing
            }
        }
    }

    /// When [`Machine::wake`] has something to do, in nanoseconds since the epoch.
    pub fn due_unix_nano(&self) -> Option<u64> {
        let unexplained = self.recent.iter().filter(|record| !record.invocation.is_over);
        let deaths = unexplained.filter_map(|record| Some(record.death?.due_unix_nano));
        deaths.chain(self.recent.mode_due_unix_nano()).min()
    }

    /// The time of [`Machine::due_unix_nano`] has come.
    pub fn wake(&mut self, now_unix_nano: u64) -> Signal {
        let signal = self.explain_overdue(|due| due <= now_unix_nano, now_unix_nano);
        let can_leave = self.recent.end_mode_wait(now_unix_nano) && self.held.is_none();
        signal.or(if can_leave { Signal::FlushSoon } else { Signal::Nothing })
    }

    /// The time to hold is used up: let go of the invocation, its spans may still come.
    pub fn let_go(&mut self) {
        self.held = None;
    }

    /// The environment ends: nothing that is open will be completed by its own process.
    pub fn shut_down(&mut self, shutdown: &Shutdown, now_unix_nano: u64) {
        self.held = None;
        let shut = Shut::of(&shutdown.reason);
        self.explain_failed_init(shut);
        self.explain_last(shut, now_unix_nano);
        self.leave_unfinished(|_| true, now_unix_nano);
        self.settle_all(|_| true, now_unix_nano);
        for record in self.recent.iter_mut() {
            record.invocation.is_over = true;
            record.awaits_mode = false;
        }
        self.hands_over = self.is_retried_later(shut);
        if !self.hands_over {
            self.place_failed_loads(true);
        }
    }

    /// Hands out the complete spans.
    pub fn take_load(&mut self) -> Load {
        self.place_failed_loads(false);
        self.initialised_late = false;
        let frame = self.frame(false);
        self.spans.take(keeping::waiting(&self.recent), frame)
    }

    /// Copies of the open spans that have run for `at_least` and that X-Ray does not know of, to be shown as running
    /// (xray.md section 3.1). Each is handed out once (DOC-2); its complete form follows in a load as ever.
    pub fn progress(&mut self, at_least: Duration, now_unix_nano: u64) -> Option<Load> {
        if self.recent.mode_due_unix_nano().is_some() {
            return None;
        }
        let at_least = u64::try_from(at_least.as_nanos()).unwrap_or(u64::MAX);
        let frame = self.frame(true);
        self.spans.untold(now_unix_nano.checked_sub(at_least)?, frame)
    }

    /// What holds for all spans of a flush.
    fn frame(&self, is_progress: bool) -> Batch {
        let invocations = self.recent.iter().map(|record| {
            let mut invocation = record.invocation.clone();
            invocation.is_kept = record.deciding.verdict == Verdict::Kept;
            if !self.recent.awaits_mode(record) {
                invocation.initialisation = self.initialising.of(&invocation.request_id);
            }
            invocation
        });
        let (invocations, open) = (invocations.collect(), self.spans.open_ids());
        Batch { invocations, open, is_progress, ..Batch::default() }
    }

    /// Whether a flush would have something to do.
    pub fn has_something_new(&self) -> bool {
        self.spans.has_complete(keeping::waiting(&self.recent)) || self.initialised_late
    }

    /// Spans in memory, open ones included.
    pub fn held_spans(&self) -> usize {
        self.spans.held() + self.failed_loads.len()
    }

    /// The counts since the last call.
    pub fn take_accounts(&mut self) -> Accounts {
        std::mem::take(&mut self.spans.accounts)
    }

    fn enter(&mut self, connection: Connection, entered: &Entered, now_unix_nano: u64) {
        let header = TraceHeader::parse(&entered.trace_header);
        let record = self.recent.note_headers(&entered.request_id, None, header, now_unix_nano);
        record.has_begun = true;
        record.awaits_mode = !record.is_announced && !record.has_started;
        if record.deadline_ms == 0 {
            record.deadline_ms = entered.deadline_ms;
        }
        // Its process lives: what closed was a connection.
        record.death = None;
        let trace_id = record.invocation.header.map(|header| header.root);
        self.agents.enter(connection, &entered.request_id, trace_id);
        self.initialising.invoked(&entered.request_id, now_unix_nano);
    }

    fn done(&mut self, connection: Connection, done: &Done, now_unix_nano: u64) -> Signal {
        self.spans.accounts.receive_and_drop(Reason::AgentWrite, u64::from(done.spans_dropped));
        self.agents.leave(connection, &done.request_id);
        if done.raised
            && let Some(record) = self.recent.get_mut(&done.request_id)
        {
            record.deciding.outcome.failed = true;
        }
        self.over(&done.request_id, now_unix_nano)
    }

    /// An invocation has ended, one way or another. Only the first word counts.
    fn over(&mut self, request_id: &str, now_unix_nano: u64) -> Signal {
        self.settle(request_id, now_unix_nano);
        if let Some(record) = self.recent.get_mut(request_id) {
            if std::mem::replace(&mut record.invocation.is_over, true) {
                return Signal::Nothing;
            }
            record.over_unix_nano = now_unix_nano;
        }
        if self.held.as_deref() == Some(request_id) {
            self.held = None;
            return Signal::Over;
        }
        // The event will come, and with it the other half of what tells the tracing mode: the two race (SIM-8).
        let is_expected = self.expects_events
            && self.recent.get(request_id).is_some_and(|record| record.has_begun && !record.is_announced);
        if self.held.is_some() || is_expected { Signal::Nothing } else { Signal::FlushSoon }
    }

    /// A document of an X-Ray SDK, which belongs to no agent's invocation.
    fn document(&mut self, document: SdkDocument) -> Signal {
        self.has_sdk = true;
        self.spans.keep_document(document);
        if self.held.is_some() { Signal::Nothing } else { Signal::FlushSoon }
    }

    fn otlp(&mut self, resource_spans: Vec<ResourceSpans>, now_unix_nano: u64) -> Signal {
        for from_resource in resource_spans {
            let resource = from_resource.resource.unwrap_or_default();
            for from_scope in from_resource.scope_spans {
                let origin = Arc::new(Origin { resource: resource.clone(), scope: from_scope.scope });
                self.take_spans(origin, from_scope.spans, now_unix_nano);
            }
        }
        self.request_taken(now_unix_nano)
    }

    fn take_spans(&mut self, origin: Arc<Origin>, spans: Vec<Span>, now_unix_nano: u64) {
        let origin = self.spans.same_origin(origin);
        for span in spans {
            let collected = Collected { span: Box::new(span), origin: Arc::clone(&origin), request_id: None };
            let ended = self.note_top(&collected, now_unix_nano);
            self.ended_in_request = self.ended_in_request.take().or(ended);
            self.note_outcome(&collected);
            self.spans.end(&collected);
        }
    }

    /// All of an export request is here.
    fn request_taken(&mut self, now_unix_nano: u64) -> Signal {
        self.has_sdk = true;
        match self.ended_in_request.take().filter(|_| self.agents.is_empty()) {
            // Without an agent nothing comes sooner (L-8.1).
            Some(request_id) => self.over(&request_id, now_unix_nano),
            None if self.held.is_some() => Signal::Nothing,
            None => Signal::FlushSoon,
        }
    }

    /// The invocation of a handler's span, from now on known to have one.
    fn note_top(&mut self, collected: &Collected, now_unix_nano: u64) -> Option<Arc<str>> {
        let record = self.recent.of_span_mut(collected)?;
        let parent = record.invocation.header.and_then(|header| header.parent);
        if !is_top(&collected.span, parent) {
            return None;
        }
        record.top = SpanId::from_bytes(&collected.span.span_id).or(record.top);
        let request_id: Arc<str> = record.invocation.request_id.as_str().into();
        self.decide(&request_id, Some(collected), now_unix_nano);
        Some(request_id)
    }
}

/// Whether a span is the first of the function in its trace.
fn is_top(span: &Span, parent: Option<SpanId>) -> bool {
    let own_parent = SpanId::from_bytes(&span.parent_span_id);
    span.flags & PARENT_IS_REMOTE != 0
        || matches!(span.kind(), SpanKind::Server | SpanKind::Consumer)
            && (own_parent.is_none() || own_parent == parent)
}

#[cfg(test)]
mod tests;
