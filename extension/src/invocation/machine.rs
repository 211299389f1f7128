//! When is an invocation over, and what leaves then? A state machine without clock or sockets.

use super::spans::{Store, origin_of_agent};
use super::trace_header::{Sampled, TraceHeader};
use super::{Batch, Collected, Invocation, Mode, Origin};
use crate::accounts::{Accounts, Reason};
use crate::lambda::{Invoke, Shutdown};
use crate::receive::frame::{Done, Entered};
use crate::receive::platform::{PlatformEvent, PlatformRecord};
use crate::receive::{Connection, Received};
use crate::settings::TracingMode;
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Invocations remembered for their late spans (xray.md section 15, row 10).
const REMEMBERED: usize = 16;

const TIMEOUT: (&str, &str) = ("Timeout", "ended by Lambda: the function's timeout was reached");
const EXITED: (&str, &str) = ("Runtime.ExitError", "the runtime exited before this was finished");

/// What the machine is told at the start.
#[derive(Debug, Clone)]
pub struct Config {
    pub tracing_mode: TracingMode,
    /// How much the spans in memory may take.
    pub buffer_bytes: usize,
    /// Traces that nobody has sampled are looked at too.
    pub keeps_unsampled: bool,
}

/// Whether the environment is held after INVOKE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Until a signal says that the invocation is over.
    UntilOver,
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

#[derive(Debug)]
struct Agent {
    origin: Arc<Origin>,
    /// The invocation its handler is in.
    request_id: Option<Arc<str>>,
}

/// Everything the extension knows between events.
#[derive(Debug)]
pub struct Machine {
    config: Config,
    agents: HashMap<Connection, Agent>,
    invocations: VecDeque<Invocation>,
    /// The request whose end is awaited.
    held: Option<Arc<str>>,
    /// When the newest invocation times out, in epoch milliseconds; 0 when not known.
    deadline_ms: u64,
    /// Requests that were over before their INVOKE event was seen: the two race (SIM-8).
    over_early: VecDeque<Arc<str>>,
    /// What the trace headers have shown of the function's tracing mode so far (LAM-20).
    shown_mode: Mode,
    spans: Store,
}

impl Machine {
    pub fn new(config: Config) -> Self {
        let spans = Store::new(config.buffer_bytes);
        Self {
            config,
            agents: HashMap::new(),
            invocations: VecDeque::new(),
            held: None,
            deadline_ms: 0,
            over_early: VecDeque::new(),
            shown_mode: Mode::Unknown,
            spans,
        }
    }

    /// An invocation begins.
    pub fn invoke(&mut self, invoke: &Invoke) -> Hold {
        self.deadline_ms = invoke.deadline_ms;
        let invocation =
            self.note_headers(&invoke.request_id, TraceHeader::parse(&invoke.trace_header), None);
        invocation.function_arn.clone_from(&invoke.function_arn);
        let certainly_unsampled = invocation.header.is_some_and(|header| header.sampled == Sampled::No);

        let over_early = self.over_early.iter().position(|id| **id == *invoke.request_id);
        if let Some(position) = over_early {
            self.over_early.remove(position);
        }
        self.held = None;
        // Without an agent nothing would tell the end, and waiting would be billed for nothing.
        if self.agents.is_empty() || certainly_unsampled && !self.config.keeps_unsampled {
            return Hold::No;
        }
        if over_early.is_some() {
            return Hold::AlreadyOver;
        }
        self.held = Some(invoke.request_id.as_str().into());
        Hold::UntilOver
    }

    /// Something arrived on a socket.
    pub fn receive(&mut self, received: Received, now_unix_nano: u64) -> Signal {
        match received {
            Received::Hello(connection, hello) => {
                self.agents.insert(
                    connection,
                    Agent { origin: Arc::new(origin_of_agent(&hello)), request_id: None },
                );
                Signal::Nothing
            }
            Received::Entered(connection, entered) => {
                self.enter(connection, &entered);
                Signal::Nothing
            }
            Received::Started(connection, span) => {
                let collected = self.collected(connection, span);
                self.spans.start(connection, collected);
                Signal::Nothing
            }
            Received::Ended(connection, span) => {
                let collected = self.collected(connection, span);
                self.spans.end(collected);
                Signal::Nothing
            }
            Received::Done(connection, done) => self.done(connection, &done),
            Received::Closed(connection) => self.closed(connection, now_unix_nano),
            Received::Otlp(resource_spans) => self.otlp(resource_spans),
            Received::Platform(event) => self.platform(&event),
            Received::Document(document) => {
                self.spans.keep_document(*document);
                self.signal_new()
            }
            Received::Lost { reason, spans } => {
                self.spans.accounts.receive_and_drop(reason, spans);
                Signal::Nothing
            }
        }
    }

    /// The time to hold is used up: let go of the invocation, its spans may still come.
    pub fn let_go(&mut self) {
        self.held = None;
    }

    /// The environment ends: nothing that is open will be completed by its own process.
    pub fn shut_down(&mut self, shutdown: &Shutdown, now_unix_nano: u64) {
        self.held = None;
        let (error_type, message) = match shutdown.reason.to_ascii_lowercase().as_str() {
            "timeout" => TIMEOUT,
            "spindown" => ("Shutdown", "still open when Lambda ended the environment"),
            _ => EXITED,
        };
        self.spans.close_open(None, now_unix_nano, error_type, message);
        for invocation in &mut self.invocations {
            invocation.is_over = true;
        }
    }

    /// Hands out the complete spans.
    pub fn take_batch(&mut self) -> Batch {
        Batch {
            spans: self.spans.take_complete(),
            sdk_documents: self.spans.take_documents(),
            invocations: self.invocations.iter().cloned().collect(),
            open: self.spans.open_ids(),
        }
    }

    /// Whether a flush would have something to do.
    pub fn has_complete_spans(&self) -> bool {
        self.spans.has_complete()
    }

    /// Spans in memory, open ones included.
    pub fn held_spans(&self) -> usize {
        self.spans.held()
    }

    /// The counts since the last call.
    pub fn take_accounts(&mut self) -> Accounts {
        std::mem::take(&mut self.spans.accounts)
    }

    fn enter(&mut self, connection: Connection, entered: &Entered) {
        self.note_headers(&entered.request_id, None, TraceHeader::parse(&entered.trace_header));
        if let Some(agent) = self.agents.get_mut(&connection) {
            agent.request_id = Some(entered.request_id.as_str().into());
        }
    }

    fn done(&mut self, connection: Connection, done: &Done) -> Signal {
        self.spans.accounts.receive_and_drop(Reason::AgentWrite, u64::from(done.spans_dropped));
        if let Some(agent) = self.agents.get_mut(&connection) {
            agent.request_id = None;
        }
        self.over(&done.request_id)
    }

    /// The end of file. In the middle of an invocation it means that the function's process is gone.
    fn closed(&mut self, connection: Connection, now_unix_nano: u64) -> Signal {
        let Some(agent) = self.agents.remove(&connection) else {
            return Signal::Nothing;
        };
        // Lambda stops the runtime before it says that the time was up (section 8.4).
        let timed_out = self.deadline_ms > 0 && now_unix_nano / 1_000_000 >= self.deadline_ms;
        let (error_type, message) = if timed_out { TIMEOUT } else { EXITED };
        self.spans.close_open(Some(connection), now_unix_nano, error_type, message);
        match agent.request_id {
            // A process that the handler's started has ended, not the handler's.
            Some(request_id)
                if self.agents.values().any(|other| other.request_id.as_ref() == Some(&request_id)) =>
            {
                Signal::Nothing
            }
            Some(request_id) => self.over(&request_id),
            None if self.agents.is_empty() && self.held.take().is_some() => Signal::Over,
            None => Signal::Nothing,
        }
    }

    /// The platform's word on an invocation ends the wait for it, whatever the agent still owes.
    fn platform(&mut self, event: &PlatformEvent) -> Signal {
        match &event.record {
            PlatformRecord::RuntimeDone(done) | PlatformRecord::Report(done)
                if self.held.as_deref() == Some(&*done.request_id) =>
            {
                self.over(&done.request_id)
            }
            _ => Signal::Nothing,
        }
    }

    fn over(&mut self, request_id: &str) -> Signal {
        let known = self.invocations.iter_mut().rev().find(|invocation| invocation.request_id == request_id);
        if let Some(invocation) = known {
            invocation.is_over = true;
        }
        if self.held.as_deref() == Some(request_id) {
            self.held = None;
            return Signal::Over;
        }
        if self.held.is_some() {
            return Signal::Nothing;
        }
        if self.over_early.len() == REMEMBERED {
            self.over_early.pop_front();
        }
        self.over_early.push_back(request_id.into());
        Signal::FlushSoon
    }

    fn otlp(&mut self, resource_spans: Vec<ResourceSpans>) -> Signal {
        for from_resource in resource_spans {
            let resource = from_resource.resource.unwrap_or_default();
            for from_scope in from_resource.scope_spans {
                let origin = Arc::new(Origin { resource: resource.clone(), scope: from_scope.scope });
                for span in from_scope.spans {
                    let origin = Arc::clone(&origin);
                    self.spans.end(Collected { span: Box::new(span), origin, request_id: None });
                }
            }
        }
        self.signal_new()
    }

    /// Something came that belongs to no agent's invocation.
    fn signal_new(&self) -> Signal {
        if self.held.is_some() { Signal::Nothing } else { Signal::FlushSoon }
    }

    fn collected(
        &self,
        connection: Connection,
        span: Box<opentelemetry_proto::tonic::trace::v1::Span>,
    ) -> Collected {
        let agent = self.agents.get(&connection);
        Collected {
            span,
            origin: agent.map(|agent| Arc::clone(&agent.origin)).unwrap_or_default(),
            request_id: agent.and_then(|agent| agent.request_id.clone()),
        }
    }

    /// Takes down what one side says of an invocation; event and agent may come in either order.
    fn note_headers(
        &mut self,
        request_id: &str,
        event: Option<TraceHeader>,
        runtime: Option<TraceHeader>,
    ) -> &mut Invocation {
        let index = self.invocation_index(request_id);
        let known = self.invocations[index].header;
        self.learn_mode(event.or(known), runtime.or(known));
        let mode = self.mode();
        let invocation = &mut self.invocations[index];
        invocation.header = runtime.or(known).or(event);
        invocation.mode = mode;
        invocation
    }

    fn invocation_index(&mut self, request_id: &str) -> usize {
        if let Some(index) =
            self.invocations.iter().position(|invocation| invocation.request_id == request_id)
        {
            return index;
        }
        if self.invocations.len() == REMEMBERED {
            self.invocations.pop_front();
        }
        let mode = self.mode();
        let request_id = request_id.to_owned();
        self.invocations.push_back(Invocation {
            request_id,
            function_arn: String::new(),
            header: None,
            mode,
            is_over: false,
        });
        self.invocations.len() - 1
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
                self.shown_mode = Mode::Active;
            }
        }
    }

    fn mode(&self) -> Mode {
        match self.config.tracing_mode {
            TracingMode::Active => Mode::Active,
            TracingMode::PassThrough => Mode::PassThrough,
            TracingMode::Auto => self.shown_mode,
        }
    }
}

#[cfg(test)]
mod tests;
