use super::*;
use crate::invocation::Mode;
use crate::invocation::recent::REMEMBERED;
use crate::received::Hello;
use crate::received::platform::{PlatformEvent, PlatformRecord, Start, Tracing};
use crate::received::{Exit, Fate};
use opentelemetry_proto::tonic::trace::v1::Span;

const ROOT: &str = "Root=1-5759e988-bd862e3fe1be46a994272793";
const AGENT: Connection = Connection(0);

fn machine(tracing_mode: TracingMode) -> Machine {
    machine_that(tracing_mode, Sampling::Auto, "none", 1 << 20)
}

fn machine_that(tracing_mode: TracingMode, sampling: Sampling, keep: &str, buffer_bytes: usize) -> Machine {
    let (keep, service_name) = (Keep::parse(keep).unwrap(), "shop".to_owned());
    Machine::new(Config {
        tracing_mode,
        ledger: Ledger::new(buffer_bytes),
        keeps_whole_traces: false,
        sampling,
        keep,
        service_name,
        memory_mb: Some(512),
    })
}

fn with_agent() -> Machine {
    agent_in(machine(TracingMode::Auto))
}

fn agent_in(mut machine: Machine) -> Machine {
    let hello = Hello { agent: "a".into(), runtime: "python".into(), ..Hello::default() };
    assert_eq!(machine.receive(Received::Hello(AGENT, Box::new(hello)), 0), Signal::Nothing);
    machine
}

fn invoke(request_id: &str, trace_header: &str) -> Invoke {
    Invoke {
        request_id: request_id.into(),
        deadline_ms: 1000,
        function_arn: "arn:f".into(),
        trace_header: trace_header.into(),
    }
}

fn entered(request_id: &str, trace_header: &str) -> Received {
    Received::Entered(
        AGENT,
        Entered { request_id: request_id.into(), trace_header: trace_header.into(), deadline_ms: 0 },
    )
}

fn done(request_id: &str) -> Received {
    Received::Done(AGENT, Done { request_id: request_id.into(), raised: false, spans_dropped: 0 })
}

fn span(id: u8) -> Box<Span> {
    Box::new(Span { trace_id: vec![1; 16], span_id: vec![id; 8], ..Span::default() })
}

fn sampled(parent: &str) -> String {
    format!("{ROOT};Parent={parent};Sampled=1")
}

#[test]
fn an_invocation_is_held_until_its_done_frame() {
    let mut machine = with_agent();
    assert_eq!(machine.invoke(&invoke("r1", &sampled("53995c3f42cd8ad8")), 0), Hold::UntilOver);
    machine.receive(entered("r1", &sampled("aaaaaaaaaaaaaaaa")), 0);
    machine.receive(Received::Started(AGENT, span(1)), 0);
    assert_eq!(machine.receive(Received::Ended(AGENT, span(1)), 0), Signal::Nothing);
    assert_eq!(machine.receive(done("another"), 0), Signal::Nothing);
    assert_eq!(machine.receive(done("r1"), 0), Signal::Over);
    let batch = machine.take_load().whole();
    assert_eq!(batch.spans.len(), 1);
    assert_eq!(batch.spans[0].request_id.as_deref(), Some("r1"));
    let invocation = batch.invocations.last().unwrap();
    assert_eq!(invocation.function_arn, "arn:f");
    assert_eq!(invocation.header.unwrap().parent.unwrap().to_string(), "aaaaaaaaaaaaaaaa");
}

#[test]
fn sim_8_a_done_frame_that_overtakes_the_event_is_not_waited_for() {
    let mut machine = with_agent();
    machine.receive(entered("r1", &sampled("aaaaaaaaaaaaaaaa")), 0);
    machine.receive(Received::Ended(AGENT, span(1)), 0);
    assert_eq!(machine.receive(done("r1"), 0), Signal::Nothing, "the mode is not known yet");
    assert_eq!(machine.invoke(&invoke("r1", &sampled("53995c3f42cd8ad8")), 0), Hold::AlreadyOver);
    assert_eq!(machine.take_load().whole().invocations[0].mode, Mode::Active);
    assert_eq!(machine.invoke(&invoke("r2", &sampled("53995c3f42cd8ad8")), 0), Hold::UntilOver);
}

fn started(request_id: &str, span_id: &str) -> Received {
    let record = PlatformRecord::Start(Start {
        request_id: request_id.into(),
        tracing: Tracing { span_id: span_id.into(), value: sampled("53995c3f42cd8ad8") },
    });
    Received::Platform(Box::new(PlatformEvent { time_unix_nano: 0, record }))
}

/// An invocation of which nothing but its agent has told.
fn ended_unannounced(machine: &mut Machine) {
    machine.receive(entered("r1", &sampled("aaaaaaaaaaaaaaaa")), 0);
    machine.receive(Received::Ended(AGENT, span_of_root(1)), 0);
    machine.receive(done("r1"), 0);
    assert!(!machine.has_something_new());
    assert_eq!(machine.take_load().total_spans(), 0, "it would be a second node of the function");
}

fn span_of_root(id: u8) -> Box<Span> {
    let root = TraceHeader::parse(&sampled("53995c3f42cd8ad8")).unwrap().root;
    Box::new(Span { trace_id: root.as_bytes().to_vec(), ..*span(id) })
}

fn modes(machine: &mut Machine) -> Vec<Mode> {
    let batch = machine.take_load().whole();
    batch.spans.iter().map(|_| batch.invocations[0].mode).collect()
}

#[test]
fn lam_20_no_span_leaves_before_its_place_is_known() {
    let mut machine = with_agent();
    ended_unannounced(&mut machine);
    machine.invoke(&invoke("r1", &sampled("53995c3f42cd8ad8")), 0);
    assert_eq!(modes(&mut machine), [Mode::Active]);

    for (span_id, mode) in [("53995c3f42cd8ad8", Mode::Active), ("", Mode::PassThrough)] {
        let mut machine = with_agent();
        machine.expect_no_events();
        ended_unannounced(&mut machine);
        machine.receive(started("r1", span_id), 0);
        assert_eq!(modes(&mut machine), [mode], "Managed Instances");
        machine.receive(entered("r2", &sampled("aaaaaaaaaaaaaaaa")), 0);
        machine.receive(Received::Ended(AGENT, span_of_root(2)), 0);
        assert_eq!(modes(&mut machine), [mode], "it holds for the environment");
    }
}

#[test]
fn lam_20_what_shows_the_mode_may_never_come() {
    for ends in [
        |machine: &mut Machine| machine.shut_down(&Shutdown::default(), 1),
        |machine: &mut Machine| {
            let due = machine.due_unix_nano().unwrap();
            assert_eq!(machine.wake(due - 1), Signal::Nothing);
            assert_eq!(machine.wake(due), Signal::FlushSoon);
            assert_eq!(machine.due_unix_nano(), None);
        },
    ] {
        let mut machine = with_agent();
        machine.expect_no_events();
        ended_unannounced(&mut machine);
        ends(&mut machine);
        assert_eq!(modes(&mut machine), [Mode::Unknown]);
    }
    let mut told = machine(TracingMode::Active);
    told.receive(entered("r1", &sampled("aaaaaaaaaaaaaaaa")), 0);
    told.receive(Received::Ended(AGENT, span_of_root(1)), 0);
    assert_eq!(modes(&mut told), [Mode::Active], "the user has said it");
}

#[test]
fn nothing_to_wait_for_means_no_wait() {
    let mut agentless = machine(TracingMode::Auto);
    assert_eq!(agentless.invoke(&invoke("r1", &sampled("53995c3f42cd8ad8")), 0), Hold::No);

    // T-18: a trace that is certain not to be kept.
    let mut unsampled = agent_in(machine(TracingMode::Active));
    assert_eq!(unsampled.invoke(&invoke("r1", &format!("{ROOT};Sampled=0")), 0), Hold::No);
    assert_eq!(unsampled.invoke(&invoke("r2", ""), 0), Hold::UntilOver, "nobody has decided");
}

#[test]
fn otlp_without_an_agent_leaves_soon() {
    let mut machine = machine(TracingMode::Auto);
    machine.invoke(&invoke("r1", &sampled("53995c3f42cd8ad8")), 0);
    let scope_spans = opentelemetry_proto::tonic::trace::v1::ScopeSpans {
        spans: vec![*span(1), *span(2)],
        ..Default::default()
    };
    let resource_spans = vec![ResourceSpans { scope_spans: vec![scope_spans], ..ResourceSpans::default() }];
    assert_eq!(machine.receive(Received::Otlp(resource_spans), 0), Signal::FlushSoon);
    assert_eq!(machine.take_load().whole().spans.len(), 2);
}

#[test]
fn the_end_of_file_in_an_invocation_ends_it_and_closes_what_was_open() {
    let mut machine = with_agent();
    machine.invoke(&invoke("r1", &sampled("53995c3f42cd8ad8")), 0);
    machine.receive(entered("r1", &sampled("aaaaaaaaaaaaaaaa")), 0);
    machine.receive(Received::Started(AGENT, span(1)), 0);
    assert_eq!(machine.receive(Received::Closed(AGENT, Fate::Unknown), 77), Signal::Over);
    let batch = machine.take_load().whole();
    assert_eq!(batch.spans[0].span.end_time_unix_nano, 77);
    assert_eq!(machine.held_spans(), 0);
    assert_eq!(
        machine.invoke(&invoke("r2", &sampled("53995c3f42cd8ad8")), 0),
        Hold::No,
        "nobody is left to wait for"
    );
}

#[test]
fn the_end_of_a_child_process_is_not_the_end_of_the_invocation() {
    let child = Connection(1);
    let mut machine = with_agent();
    machine.invoke(&invoke("r1", &sampled("53995c3f42cd8ad8")), 0);
    machine.receive(entered("r1", &sampled("aaaaaaaaaaaaaaaa")), 0);
    machine.receive(Received::Started(AGENT, span(1)), 0);
    machine.receive(Received::Hello(child, Box::default()), 0);
    let again = Entered { request_id: "r1".into(), trace_header: String::new(), deadline_ms: 0 };
    machine.receive(Received::Entered(child, again), 0);
    machine.receive(Received::Started(child, span(2)), 0);
    assert_eq!(machine.receive(Received::Closed(child, Fate::Unknown), 0), Signal::Nothing);
    assert_eq!(machine.take_load().whole().spans.len(), 1, "what the child had open is closed");
    assert_eq!(machine.receive(done("r1"), 0), Signal::Over);
}

#[test]
fn a_43_the_end_of_a_connection_without_a_word_is_nobodys() {
    for fate in [Fate::Unknown, Fate::Alive, Fate::Ended(Exit::Status(1))] {
        let mut machine = with_agent();
        machine.receive(Received::Closed(Connection(1), fate), 0);
        machine.invoke(&invoke("r1", &sampled("53995c3f42cd8ad8")), 0);
        assert_eq!(machine.receive(Received::Closed(Connection(2), fate), 0), Signal::Nothing);
        machine.receive(entered("r1", &sampled("aaaaaaaaaaaaaaaa")), 0);
        machine.receive(Received::Started(AGENT, span(1)), 0);
        assert_eq!(machine.receive(Received::Closed(Connection(3), fate), 0), Signal::Nothing);
        assert_eq!(machine.held_spans(), 1, "the handler's is open");
        assert_eq!(machine.receive(done("r1"), 0), Signal::Over);
    }
}

#[test]
fn section_8_4_an_end_of_file_past_the_deadline_is_a_timeout() {
    for (now_ms, error_type) in [(999, "Runtime.ExitError"), (1000, "Timeout")] {
        let mut machine = with_agent();
        machine.invoke(&invoke("r1", &sampled("53995c3f42cd8ad8")), 0);
        machine.receive(entered("r1", &sampled("aaaaaaaaaaaaaaaa")), 0);
        machine.receive(Received::Started(AGENT, span(1)), 0);
        machine.receive(Received::Closed(AGENT, Fate::Unknown), now_ms * 1_000_000);
        let seen = format!("{:?}", machine.take_load().whole().spans[0].span.events[0].attributes[0].value);
        assert!(seen.contains(error_type), "{now_ms}: {seen}");
    }
}

#[test]
fn what_is_open_at_a_shutdown_is_closed_by_its_reason() {
    for (reason, error_type) in
        [("TIMEOUT", "Timeout"), ("failure", "Runtime.ExitError"), ("spindown", "Shutdown")]
    {
        let mut machine = with_agent();
        machine.receive(entered("r1", &sampled("aaaaaaaaaaaaaaaa")), 0);
        machine.receive(Received::Started(AGENT, span(1)), 0);
        machine.shut_down(&Shutdown { reason: reason.into(), deadline_ms: 0 }, 5);
        let batch = machine.take_load().whole();
        let event = &batch.spans[0].span.events[0];
        let seen = format!("{:?}", event.attributes[0].value);
        assert!(seen.contains(error_type), "{reason}: {seen}");
    }
}

#[test]
fn lam_20_a_parent_of_lambdas_own_shows_active_tracing_and_is_remembered() {
    let mut machine = with_agent();
    machine.invoke(&invoke("r1", &sampled("53995c3f42cd8ad8")), 0);
    machine.receive(entered("r1", &sampled("53995c3f42cd8ad8")), 0);
    assert_eq!(
        machine.take_load().whole().invocations[0].mode,
        Mode::Unknown,
        "the same parent proves nothing"
    );
    machine.receive(done("r1"), 0);
    machine.receive(entered("r2", &sampled("aaaaaaaaaaaaaaaa")), 0);
    machine.invoke(&invoke("r2", &sampled("53995c3f42cd8ad8")), 0);
    machine.receive(done("r2"), 0);
    machine.invoke(&invoke("r3", ""), 0);
    let invocations = machine.take_load().whole().invocations;
    assert_eq!(invocations[1].mode, Mode::Active);
    assert_eq!(invocations[2].mode, Mode::Active);
}

#[test]
fn an_explicit_mode_wins() {
    let mut machine = machine(TracingMode::PassThrough);
    machine.invoke(&invoke("r1", &sampled("53995c3f42cd8ad8")), 0);
    machine.receive(entered("r1", &sampled("aaaaaaaaaaaaaaaa")), 0);
    assert_eq!(machine.take_load().whole().invocations[0].mode, Mode::PassThrough);
}

#[test]
fn what_is_remembered_is_bounded_and_every_span_is_accounted_for() {
    let mut machine = with_agent();
    for number in 0..100_u8 {
        let request_id = format!("r{number}");
        machine.invoke(&invoke(&request_id, &sampled("53995c3f42cd8ad8")), 0);
        machine.receive(Received::Ended(AGENT, span(number.max(1))), 0);
        machine.receive(Received::Done(AGENT, Done { request_id, raised: true, spans_dropped: 1 }), 0);
    }
    machine.receive(Received::Lost { reason: Reason::Unreadable, spans: 3 }, 0);
    let batch = machine.take_load().whole();
    assert_eq!(batch.invocations.len(), REMEMBERED);
    let accounts = machine.take_accounts();
    assert!(accounts.balance(batch.spans.len() as u64));
    assert_eq!(accounts.to_json()["dropped"], serde_json::json!({"agent_write": 100, "unreadable": 3}));
}

mod endings;
mod failed_loads;
mod interleavings;
mod keeping;
