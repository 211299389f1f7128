//! Whatever comes in whatever order: nothing panics, the accounts balance, and an invocation ends once.

use super::*;
use crate::received::Exit;
use crate::received::platform::{
    Finished, InitStart, InvocationDone, PlatformEvent, PlatformRecord, Start, Status, Tracing,
};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use proptest::prelude::*;

/// One thing that can happen. Small numbers name requests, connections and spans, so that they meet.
#[derive(Debug, Clone)]
enum Step {
    Invoke(u8),
    Hello(u8),
    Enter(u8, u8),
    Start(u8, u8),
    End(u8, u8),
    Done(u8, u8),
    Close(u8, u8),
    Otlp(u8),
    InitStart,
    InitDone(bool),
    Restore,
    PlatformStart(u8, bool),
    PlatformEnd(u8, u8),
    Unreadable(u8),
    LetGo,
    Pass(u16),
    Wake,
    Progress,
    Take,
}

fn step() -> impl Strategy<Value = Step> {
    let (request, connection, id) = (0..4_u8, 0..3_u8, 1..8_u8);
    prop_oneof![
        3 => request.clone().prop_map(Step::Invoke),
        3 => connection.clone().prop_map(Step::Hello),
        4 => (connection.clone(), request.clone()).prop_map(|(c, r)| Step::Enter(c, r)),
        4 => (connection.clone(), id.clone()).prop_map(|(c, id)| Step::Start(c, id)),
        4 => (connection.clone(), id.clone()).prop_map(|(c, id)| Step::End(c, id)),
        3 => (connection.clone(), request.clone()).prop_map(|(c, r)| Step::Done(c, r)),
        3 => (connection, 0..4_u8).prop_map(|(c, fate)| Step::Close(c, fate)),
        1 => id.prop_map(Step::Otlp),
        1 => Just(Step::InitStart),
        1 => any::<bool>().prop_map(Step::InitDone),
        1 => Just(Step::Restore),
        1 => (request.clone(), any::<bool>()).prop_map(|(r, active)| Step::PlatformStart(r, active)),
        3 => (request, 0..5_u8).prop_map(|(r, status)| Step::PlatformEnd(r, status)),
        1 => (1..5_u8).prop_map(Step::Unreadable),
        1 => Just(Step::LetGo),
        3 => any::<u16>().prop_map(Step::Pass),
        2 => Just(Step::Wake),
        1 => Just(Step::Progress),
        2 => Just(Step::Take),
    ]
}

/// The machine with what the world around it would count.
struct World {
    machine: Machine,
    now: u64,
    /// A hold that has not ended.
    holds: bool,
    received: Accounts,
    taken: u64,
    /// Requests that have been over.
    over: Vec<String>,
}

impl World {
    fn platform(&mut self, record: PlatformRecord) -> Signal {
        let event = PlatformEvent { time_unix_nano: self.now, record };
        self.machine.receive(Received::Platform(Box::new(event)), self.now)
    }

    fn signal(&mut self, signal: Signal) {
        if signal == Signal::Over {
            assert!(self.holds, "what is not held cannot be let go");
            self.holds = false;
        }
        assert!(signal != Signal::FlushSoon || !self.holds, "an invocation is held: its own flush will come");
    }

    fn take(&mut self) {
        let batch = self.machine.take_load().whole();
        self.taken += batch.spans.len() as u64;
        for one in &batch.spans {
            let span = &one.span;
            assert!(span.end_time_unix_nano >= span.start_time_unix_nano, "{span:?}");
        }
        for over in &self.over {
            let again = batch.invocations.iter().find(|invocation| invocation.request_id == *over);
            assert!(again.is_none_or(|invocation| invocation.is_over), "{over} has begun anew");
        }
        let over = batch.invocations.into_iter().filter(|invocation| invocation.is_over);
        self.over = over.map(|invocation| invocation.request_id).collect();
    }

    fn balance(&mut self) {
        self.received.add(self.machine.take_accounts());
        let held = self.machine.held_spans() as u64;
        assert!(self.received.balance(self.taken + held), "{}", self.received.to_json_with(held));
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each thing that can happen")]
    fn step(&mut self, step: &Step) {
        let header = |request: u8| {
            format!(
                "Root=1-5759e988-{request:024x};Parent=53995c3f42cd8ad8;Sampled={}",
                u8::from(request != 3)
            )
        };
        let name = |request: u8| format!("r{request}");
        let link = |connection: u8| Connection(u64::from(connection));
        let now = self.now;
        let span = |id: u8| {
            let kind = [SpanKind::Server, SpanKind::Client, SpanKind::Internal][usize::from(id % 3)];
            Box::new(Span {
                trace_id: vec![1; 16],
                span_id: vec![id; 8],
                parent_span_id: vec![id / 2; 8],
                kind: kind.into(),
                start_time_unix_nano: now,
                end_time_unix_nano: now,
                ..Span::default()
            })
        };
        let signal = match *step {
            Step::Invoke(request) => {
                let deadline_ms = now / 1_000_000 + 3_000;
                let invoke = Invoke { deadline_ms, ..invoke(&name(request), &header(request)) };
                let hold = self.machine.invoke(&invoke, now);
                self.holds = matches!(hold, Hold::UntilOver | Hold::UntilQuiet);
                Signal::Nothing
            }
            Step::Hello(connection) => {
                self.machine.receive(Received::Hello(link(connection), Box::default()), now)
            }
            Step::Enter(connection, request) => {
                let entered = Entered {
                    request_id: name(request),
                    trace_header: header(request),
                    deadline_ms: now / 1_000_000 + 3_000,
                };
                self.machine.receive(Received::Entered(link(connection), entered), now)
            }
            Step::Start(connection, id) => {
                let open = Box::new(Span { end_time_unix_nano: 0, ..*span(id) });
                self.machine.receive(Received::Started(link(connection), open), now)
            }
            Step::End(connection, id) => {
                self.machine.receive(Received::Ended(link(connection), span(id)), now)
            }
            Step::Done(connection, request) => {
                let done = Done { request_id: name(request), raised: false, spans_dropped: 1 };
                self.machine.receive(Received::Done(link(connection), done), now)
            }
            Step::Close(connection, fate) => {
                let fate =
                    [Fate::Unknown, Fate::Alive, Fate::Ended(Exit::Status(1)), Fate::Ended(Exit::Signal(9))]
                        [usize::from(fate)];
                self.machine.receive(Received::Closed(link(connection), fate), now)
            }
            Step::Otlp(id) => {
                let scope_spans = opentelemetry_proto::tonic::trace::v1::ScopeSpans {
                    spans: vec![*span(id)],
                    ..Default::default()
                };
                let spans = ResourceSpans { scope_spans: vec![scope_spans], ..ResourceSpans::default() };
                self.machine.receive(Received::Otlp(vec![spans]), now)
            }
            Step::InitStart => self.platform(PlatformRecord::InitStart(InitStart::default())),
            Step::InitDone(well) => {
                let status = if well { Status::Success } else { Status::Error };
                self.platform(PlatformRecord::InitRuntimeDone(Finished { status, ..Finished::default() }))
            }
            Step::Restore => self.platform(PlatformRecord::RestoreStart),
            Step::PlatformStart(request, active) => {
                let span_id = if active { "53995c3f42cd8ad8" } else { "" };
                let tracing = Tracing { span_id: span_id.into(), value: header(request) };
                self.platform(PlatformRecord::Start(Start { request_id: name(request), tracing }))
            }
            Step::PlatformEnd(request, status) => {
                let (status, error_type) = [
                    (Status::Success, ""),
                    (Status::Timeout, ""),
                    (Status::Error, "Runtime.ExitError"),
                    (Status::Failure, "Runtime.OutOfMemory"),
                    (Status::Other("splendid".into()), ""),
                ][usize::from(status)]
                .clone();
                self.platform(PlatformRecord::RuntimeDone(InvocationDone {
                    request_id: name(request),
                    status,
                    error_type: error_type.into(),
                    ..InvocationDone::default()
                }))
            }
            Step::Unreadable(spans) => self
                .machine
                .receive(Received::Lost { reason: Reason::Unreadable, spans: u64::from(spans) }, now),
            Step::LetGo => {
                self.machine.let_go();
                self.holds = false;
                Signal::Nothing
            }
            Step::Pass(milliseconds) => {
                self.now += u64::from(milliseconds) * 100_000;
                Signal::Nothing
            }
            Step::Wake => {
                let signal = self.machine.wake(now);
                assert!(self.machine.due_unix_nano().is_none_or(|due| due > now), "it would wake for ever");
                signal
            }
            Step::Progress => {
                let shown = self.machine.progress(Duration::from_secs(1), now).map(Load::whole);
                assert!(shown.is_none_or(|batch| batch.is_progress && !batch.spans.is_empty()));
                Signal::Nothing
            }
            Step::Take => {
                self.take();
                Signal::Nothing
            }
        };
        self.signal(signal);
        self.balance();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn p2_p5_whatever_comes_every_span_is_accounted_for_and_every_invocation_ends(
        steps in proptest::collection::vec(step(), 0..120),
        mode in prop_oneof![Just(TracingMode::Auto), Just(TracingMode::Active), Just(TracingMode::PassThrough)],
        setting in prop::sample::select(vec!["none", "errors", "slow:1,cold", "all"]),
        buffer_bytes in prop_oneof![Just(300_usize), Just(1 << 20)],
        reason in prop_oneof![Just("spindown"), Just("timeout"), Just("failure"), Just("")],
    ) {
        let mut world = World {
            machine: machine_that(mode, Sampling::Auto, setting, buffer_bytes),
            now: 1_000_000_000,
            holds: false,
            received: Accounts::default(),
            taken: 0,
            over: Vec::new(),
        };
        for step in &steps {
            world.step(step);
        }
        world.machine.shut_down(&Shutdown { reason: reason.into(), deadline_ms: 0 }, world.now);
        world.take();
        world.balance();
        prop_assert_eq!(world.machine.held_spans(), 0, "nothing stays open");
        let batch = world.machine.take_load().whole();
        prop_assert!(batch.spans.is_empty() && batch.open.is_empty());
        prop_assert!(batch.invocations.iter().all(|invocation| invocation.is_over));
        prop_assert_eq!(world.machine.due_unix_nano(), None);
    }
}
