//! Every bad ending, as the spans that leave say it.

use super::failed_loads::loading;
use super::*;
use crate::invocation::Collected;
use crate::invocation::origin::text_of;
use crate::received::Answered;
use crate::received::Exit;
use crate::received::platform::{
    Finished, InitStart, InvocationDone, Metrics, PlatformEvent, PlatformRecord, Start, Status, Tracing,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

pub(super) const MILLISECOND: u64 = 1_000_000;
pub(super) const HEADER: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=aaaaaaaaaaaaaaaa;Sampled=1";

pub(super) fn platform(record: PlatformRecord) -> Received {
    Received::Platform(Box::new(PlatformEvent { time_unix_nano: 0, record }))
}

fn runtime_done(status: Status, error_type: &str) -> Received {
    platform(PlatformRecord::RuntimeDone(InvocationDone {
        request_id: "r1".into(),
        status,
        error_type: error_type.into(),
        ..InvocationDone::default()
    }))
}

pub(super) fn ended(exit: Exit) -> Received {
    Received::Closed(AGENT, Fate::Ended(exit))
}

pub(super) fn handler() -> Box<Span> {
    let parent_span_id = vec![0xaa; 8];
    let kind = SpanKind::Server.into();
    Box::new(Span { parent_span_id, kind, flags: 0x301, name: "app.handler".into(), ..*span(1) })
}

fn call() -> Box<Span> {
    let kind = SpanKind::Client.into();
    let start_time_unix_nano = 200 * MILLISECOND;
    let parent_span_id = vec![1; 8];
    Box::new(Span { parent_span_id, kind, start_time_unix_nano, name: "S3.GetObject".into(), ..*span(2) })
}

/// In the middle of an invocation that has a second to run, with a call that began after 200 ms.
fn in_a_call(has_telemetry: bool) -> Machine {
    let mut machine = with_agent();
    if has_telemetry {
        machine.receive(platform(PlatformRecord::InitStart(InitStart::default())), 0);
    }
    assert_eq!(machine.invoke(&invoke("r1", &sampled("53995c3f42cd8ad8")), 0), Hold::UntilOver);
    machine.receive(entered("r1", HEADER), 0);
    machine.receive(Received::Started(AGENT, handler()), 0);
    machine.receive(Received::Started(AGENT, call()), 200 * MILLISECOND);
    machine
}

pub(super) fn told(collected: &Collected) -> String {
    let attributes = &collected.span.events[0].attributes;
    let text = |name| text_of(attributes, name).unwrap();
    format!("{}: {}", text("exception.type"), text("exception.message"))
}

/// What the handler's span says at the end, and how often the invocation was over.
fn handler_says(machine: &mut Machine) -> String {
    let batch = machine.take_load().whole();
    assert_eq!((batch.spans.len(), machine.held_spans()), (2, 0));
    assert!(batch.invocations.iter().all(|invocation| invocation.is_over));
    told(batch.spans.iter().find(|one| one.span.name == "app.handler").unwrap())
}

#[test]
fn an_exit_status_is_told_at_once() {
    for has_telemetry in [false, true] {
        let mut machine = in_a_call(has_telemetry);
        assert_eq!(machine.receive(ended(Exit::Status(1)), 700 * MILLISECOND), Signal::Over);
        assert_eq!(machine.due_unix_nano(), None);
        assert_eq!(
            handler_says(&mut machine),
            "Runtime.ExitError: exit status 1, while waiting for S3.GetObject (0.50 s)"
        );
    }
}

#[test]
fn a_kill_waits_for_the_platforms_word_within_a_bound() {
    let mut machine = in_a_call(true);
    assert_eq!(machine.receive(ended(Exit::Signal(9)), 700 * MILLISECOND), Signal::Nothing);
    let due = machine.due_unix_nano().unwrap();
    assert_eq!(due, 850 * MILLISECOND);
    assert_eq!(machine.wake(due - 1), Signal::Nothing);
    assert_eq!(machine.wake(due), Signal::Over);
    assert_eq!(
        handler_says(&mut machine),
        "Runtime.ExitError: Runtime exited (signal 9), probably out of memory (limit 512 MB), while waiting for \
         S3.GetObject (0.50 s)"
    );
    assert_eq!(machine.wake(due + 1), Signal::Nothing, "only once");
}

#[test]
fn l_6_11_the_platforms_word_names_the_memory() {
    let mut machine = in_a_call(true);
    let metrics = Metrics { max_memory_used_mb: Some(512), ..Metrics::default() };
    let earlier = InvocationDone { request_id: "r0".into(), metrics, ..InvocationDone::default() };
    machine.receive(platform(PlatformRecord::Report(earlier)), 0);
    machine.receive(ended(Exit::Signal(9)), 700 * MILLISECOND);
    let done = runtime_done(Status::Error, "Runtime.OutOfMemory");
    assert_eq!(machine.receive(done, 730 * MILLISECOND), Signal::Over);
    let says = handler_says(&mut machine);
    assert_eq!(
        says,
        "Runtime.OutOfMemory: Runtime exited (signal 9), out of memory: 512 of 512 MB used, while waiting for \
         S3.GetObject (0.50 s)"
    );
}

#[test]
fn without_telemetry_nothing_is_waited_for() {
    let mut machine = in_a_call(false);
    assert_eq!(machine.receive(ended(Exit::Signal(9)), 700 * MILLISECOND), Signal::Over);
}

#[test]
fn the_platforms_word_before_the_end_of_file_is_kept_for_it() {
    let mut machine = in_a_call(true);
    let done = runtime_done(Status::Error, "Runtime.ExitError");
    assert_eq!(machine.receive(done, 700 * MILLISECOND), Signal::Nothing, "its agent may still write");
    assert_eq!(machine.receive(ended(Exit::Signal(11)), 701 * MILLISECOND), Signal::Over);
    assert_eq!(
        handler_says(&mut machine),
        "Runtime.ExitError: signal 11, SIGSEGV, while waiting for S3.GetObject (0.50 s)"
    );
}

#[test]
fn section_8_4_a_timeout_ends_at_the_deadline_whatever_came_first() {
    type Steps = fn(&mut Machine);
    let ways: [Steps; 4] = [
        |machine| {
            machine.receive(ended(Exit::Signal(9)), 1_020 * MILLISECOND);
        },
        |machine| {
            machine.receive(runtime_done(Status::Timeout, ""), 1_005 * MILLISECOND);
            machine.receive(ended(Exit::Signal(15)), 1_020 * MILLISECOND);
        },
        |machine| machine.shut_down(&shutdown("TIMEOUT"), 1_100 * MILLISECOND),
        |machine| {
            machine.receive(runtime_done(Status::Timeout, ""), 1_005 * MILLISECOND);
            machine.wake(1_200 * MILLISECOND);
        },
    ];
    for (number, way) in ways.into_iter().enumerate() {
        let mut machine = in_a_call(true);
        machine.let_go();
        way(&mut machine);
        let batch = machine.take_load().whole();
        let says: Vec<String> = batch.spans.iter().map(told).collect();
        assert_eq!(
            says,
            [
                "Timeout: ended by Lambda after 1.00 s, while waiting for S3.GetObject (0.80 s)",
                "Timeout: no answer in 0.80 s: ended by Lambda after 1.00 s"
            ],
            "way {number}"
        );
        assert!(batch.spans.iter().all(|one| one.span.end_time_unix_nano == 1_000 * MILLISECOND));
    }
}

pub(super) fn shutdown(reason: &str) -> Shutdown {
    Shutdown { reason: reason.into(), deadline_ms: 0 }
}

#[test]
fn an_agent_that_connects_anew_has_not_died() {
    let mut machine = in_a_call(true);
    assert_eq!(machine.receive(Received::Closed(AGENT, Fate::Alive), 300 * MILLISECOND), Signal::Nothing);
    let again = Connection(1);
    machine.receive(Received::Hello(again, Box::default()), 301 * MILLISECOND);
    let entered = Entered { request_id: "r1".into(), trace_header: HEADER.into(), deadline_ms: 0 };
    machine.receive(Received::Entered(again, entered), 301 * MILLISECOND);
    let ended_call = Box::new(Span { end_time_unix_nano: 302 * MILLISECOND, ..*call() });
    machine.receive(Received::Ended(again, ended_call), 302 * MILLISECOND);
    let done = Done { request_id: "r1".into(), raised: false, spans_dropped: 0 };
    machine.receive(Received::Ended(again, handler()), 303 * MILLISECOND);
    assert_eq!(machine.receive(Received::Done(again, done), 303 * MILLISECOND), Signal::Over);
    let batch = machine.take_load().whole();
    assert!(batch.spans.iter().all(|one| one.span.events.is_empty()), "nothing failed");
    assert!(machine.take_accounts().balance(2));
}

#[test]
fn lam_23_where_no_handler_has_told_the_functions_segment_is_written() {
    for (mode, expected) in [
        (TracingMode::PassThrough, vec!["Timeout: ended by Lambda after 1.00 s"]),
        (TracingMode::Active, vec![]),
    ] {
        let mut machine = machine(mode);
        machine.invoke(&invoke("r1", HEADER), 0);
        machine.shut_down(&shutdown("timeout"), 1_001 * MILLISECOND);
        let batch = machine.take_load().whole();
        assert_eq!(batch.spans.iter().map(told).collect::<Vec<_>>(), expected, "{mode:?}");
        assert!(machine.take_accounts().balance(batch.spans.len() as u64));
        if let Some(one) = batch.spans.first() {
            assert_eq!(
                (one.span.start_time_unix_nano, one.span.parent_span_id.as_slice()),
                (0, &[0xaa; 8][..])
            );
            assert_eq!(one.span.end_time_unix_nano, 1_000 * MILLISECOND);
        }
    }
}

#[test]
fn an_unsampled_invocation_and_a_spindown_make_no_segment() {
    let unsampled = HEADER.replace("Sampled=1", "Sampled=0");
    for (header, reason) in [(unsampled.as_str(), "timeout"), (HEADER, "spindown")] {
        let mut machine = machine_that(TracingMode::PassThrough, Sampling::Respect, "none", 1 << 20);
        machine.invoke(&invoke("r1", header), 0);
        machine.shut_down(&shutdown(reason), 1_001 * MILLISECOND);
        assert!(machine.take_load().whole().spans.is_empty(), "{reason}");
    }
}

#[test]
fn doc_2_a_long_invocation_is_shown_while_it_runs_once() {
    let mut machine = in_a_call(true);
    let at_least = Duration::from_millis(500);
    let progress = machine.progress(at_least, 600 * MILLISECOND).unwrap().whole();
    assert!(progress.is_progress);
    assert_eq!(progress.spans.len(), 1, "the call has not run for so long");
    assert_eq!(progress.open.len(), 2);
    assert_eq!(
        machine.progress(at_least, 800 * MILLISECOND).unwrap().whole().spans[0].span.name,
        "S3.GetObject"
    );
    assert!(machine.progress(at_least, 900 * MILLISECOND).is_none());
    assert_eq!(machine.held_spans(), 2);
    assert!(machine.take_accounts().balance(2), "shown is not sent");
}

#[test]
fn l_8_21_the_first_invocation_has_the_initialisation() {
    let mut machine = loading();
    machine.invoke(&invoke("r1", HEADER), 40 * MILLISECOND);
    machine.invoke(&invoke("r2", HEADER), 90 * MILLISECOND);
    let invocations = machine.take_load().whole().invocations;
    let initialisation = invocations[0].initialisation.as_ref().unwrap();
    assert_eq!((initialisation.start_unix_nano, initialisation.end_unix_nano), (5_000_000, 40_000_000));
    assert_eq!(invocations[1].initialisation, None);
}

#[test]
fn lam_20_the_platforms_tracing_shows_the_mode() {
    for (span_id, header, expected) in
        [("53995c3f42cd8ad8", HEADER, Mode::Active), ("", HEADER, Mode::PassThrough), ("", "", Mode::Unknown)]
    {
        let mut machine = machine(TracingMode::Auto);
        let tracing = Tracing { span_id: span_id.into(), value: header.into() };
        let start = Start { request_id: "r1".into(), tracing };
        machine.receive(platform(PlatformRecord::Start(start)), 0);
        assert_eq!(machine.take_load().whole().invocations[0].mode, expected);
    }
}

#[test]
fn l_9_1_an_sdks_invocation_that_nothing_ends_is_held_until_it_is_quiet() {
    let document = r#"{"trace_id":"1-5759e988-bd862e3fe1be46a994272793","id":"53995c3f42cd8ad8","name":"a"}"#;
    let document = SdkDocument::parse(document.into()).unwrap();
    for comes_first in [Received::Otlp(vec![]), Received::Document(Box::new(document))] {
        let mut machine = machine(TracingMode::Auto);
        assert_eq!(machine.invoke(&invoke("r0", HEADER), 0), Hold::No, "nothing has ever come");
        machine.receive(comes_first, 0);
        assert_eq!(machine.invoke(&invoke("r1", HEADER), 0), Hold::UntilQuiet);
        machine.receive(platform(PlatformRecord::InitStart(InitStart::default())), 0);
        assert_eq!(machine.invoke(&invoke("r2", HEADER), 0), Hold::UntilOver, "the platform will tell");
    }
}

#[test]
fn l_8_23_what_preceded_an_invocation_and_is_told_after_it_leaves_all_the_same() {
    for is_told in [true, false] {
        let mut machine = with_agent();
        machine.invoke(&invoke("r1", HEADER), 9 * MILLISECOND);
        machine.receive(entered("r1", HEADER), 9 * MILLISECOND);
        let record = PlatformRecord::RestoreStart;
        let told = Box::new(PlatformEvent { time_unix_nano: 5 * MILLISECOND, record });
        if is_told {
            machine.receive(Received::Platform(told.clone()), 10 * MILLISECOND);
        }
        assert_eq!(machine.receive(done("r1"), 11 * MILLISECOND), Signal::Over);
        machine.take_load().whole();
        if !is_told {
            machine.receive(Received::Platform(told), 30 * MILLISECOND);
        }
        let ended = platform(PlatformRecord::RestoreReport(Finished::default()));
        assert_eq!(machine.receive(ended, 31 * MILLISECOND), Signal::FlushSoon);
        assert!(machine.has_something_new());
        let initialisation = machine.take_load().whole().invocations[0].initialisation.clone().unwrap();
        assert_eq!((initialisation.name, initialisation.start_unix_nano), ("Restore", 5 * MILLISECOND));
        assert!(!machine.has_something_new());
    }
}

#[test]
fn signal_4_the_platform_ends_what_no_agent_does() {
    let mut machine = machine(TracingMode::Auto);
    assert_eq!(machine.invoke(&invoke("r0", HEADER), 0), Hold::No);
    machine.receive(platform(PlatformRecord::InitStart(InitStart::default())), 0);
    machine.receive(Received::Otlp(vec![]), 0);
    assert_eq!(machine.invoke(&invoke("r1", HEADER), 0), Hold::UntilOver);
    assert_eq!(machine.receive(runtime_done(Status::Success, ""), 0), Signal::Over);
    assert_eq!(machine.receive(runtime_done(Status::Success, ""), 0), Signal::Nothing, "said twice");
}

#[test]
fn signal_5_the_handlers_span_over_otlp_ends_the_invocation() {
    let mut machine = machine(TracingMode::Auto);
    machine.receive(platform(PlatformRecord::InitStart(InitStart::default())), 0);
    machine.receive(Received::Otlp(vec![]), 0);
    machine.invoke(&invoke("r1", HEADER), 0);
    let sent = |span: Box<Span>| {
        let mut span = *span;
        span.trace_id = HEADER_TRACE.to_vec();
        let spans =
            opentelemetry_proto::tonic::trace::v1::ScopeSpans { spans: vec![span], ..Default::default() };
        Received::Otlp(vec![ResourceSpans { scope_spans: vec![spans], ..ResourceSpans::default() }])
    };
    assert_eq!(machine.receive(sent(call()), 0), Signal::Nothing);
    assert_eq!(machine.receive(sent(handler()), 0), Signal::Over);
}

pub(super) const HEADER_TRACE: [u8; 16] =
    [0x57, 0x59, 0xe9, 0x88, 0xbd, 0x86, 0x2e, 0x3f, 0xe1, 0xbe, 0x46, 0xa9, 0x94, 0x27, 0x27, 0x93];

#[test]
fn env_4_invocations_at_once_end_each_for_itself() {
    let mut machine = agent_in(machine(TracingMode::Active));
    machine.expect_no_events();
    for (number, request_id) in ["r1", "r2"].into_iter().enumerate() {
        let header = format!("Root=1-5759e988-{number:024x};Parent=aaaaaaaaaaaaaaaa;Sampled=1");
        machine.receive(entered(request_id, &header), 0);
        let mut handler = handler();
        handler.span_id = vec![10 + u8::try_from(number).unwrap(); 8];
        handler.trace_id =
            [&[0x57, 0x59, 0xe9, 0x88][..], &[0; 11], &[u8::try_from(number).unwrap()]].concat();
        machine.receive(Received::Started(AGENT, handler.clone()), 0);
        if number == 0 {
            continue;
        }
        machine.receive(Received::Ended(AGENT, handler), 0);
    }
    assert_eq!(machine.receive(done("r2"), 0), Signal::FlushSoon);
    let batch = machine.take_load().whole();
    assert_eq!(batch.spans[0].request_id.as_deref(), Some("r2"));
    assert_eq!(machine.receive(ended(Exit::Status(3)), 0), Signal::FlushSoon);
    let batch = machine.take_load().whole();
    assert_eq!(batch.spans[0].request_id.as_deref(), Some("r1"));
    assert_eq!(told(&batch.spans[0]), "Runtime.ExitError: exit status 3");
}

fn answered(at_unix_nano: u64, status: u16) -> Received {
    let trace_id = span(2).trace_id.try_into().unwrap();
    Received::Answered(Answered { trace_id, span_id: [2; 8], at_unix_nano, status })
}

fn status(collected: &Collected) -> Option<Any> {
    let found = collected.span.attributes.iter().find(|one| one.key == "http.response.status_code");
    found.and_then(|one| one.value.clone()?.value)
}

#[test]
fn an_answered_call_is_not_blamed_for_what_comes_later() {
    let mut machine = in_a_call(false);
    machine.receive(answered(300 * MILLISECOND, 204), 300 * MILLISECOND);
    assert_eq!(machine.receive(ended(Exit::Status(1)), 700 * MILLISECOND), Signal::Over);
    let batch = machine.take_load().whole();
    let [handler, call] = ["app.handler", "S3.GetObject"]
        .map(|name| batch.spans.iter().find(|one| one.span.name == name).unwrap());
    assert_eq!(told(handler), "Runtime.ExitError: exit status 1");
    assert_eq!((call.span.end_time_unix_nano, &call.span.status), (300 * MILLISECOND, &None));
    assert_eq!((status(call), call.span.events.len()), (Some(Any::IntValue(204)), 0));
}

#[test]
fn pl_81_whoever_reads_an_answer_waits_for_it_again() {
    let mut machine = in_a_call(false);
    machine.receive(answered(300 * MILLISECOND, 200), 300 * MILLISECOND);
    machine.receive(answered(0, 0), 400 * MILLISECOND);
    machine.receive(ended(Exit::Status(1)), 700 * MILLISECOND);
    assert_eq!(
        handler_says(&mut machine),
        "Runtime.ExitError: exit status 1, while waiting for S3.GetObject (0.50 s)"
    );
}

#[test]
fn an_answer_to_no_open_call_is_nothing() {
    let mut machine = in_a_call(false);
    let Received::Answered(other) = answered(1, 200) else { unreachable!() };
    machine.receive(Received::Answered(Answered { span_id: [9; 8], ..other }), 0);
    machine.receive(Received::Answered(Answered { trace_id: [0; 16], ..other }), 0);
    assert_eq!(machine.held_spans(), 2);
}

#[test]
fn what_an_invocation_leaves_open_is_unfinished_and_no_fault() {
    for exit in [None, Some(Exit::Signal(15)), Some(Exit::Status(1))] {
        let mut machine = in_a_call(false);
        machine.receive(Received::Ended(AGENT, Box::new(Span { end_time_unix_nano: 1, ..*handler() })), 0);
        machine.receive(done("r1"), 500 * MILLISECOND);
        let hours = 7_200_000 * MILLISECOND;
        if let Some(exit) = exit {
            machine.receive(ended(exit), hours);
        }
        machine.shut_down(&shutdown("spindown"), hours);
        let batch = machine.take_load().whole();
        let call = batch.spans.iter().find(|one| one.span.name == "S3.GetObject").unwrap();
        assert_eq!((&call.span.status, call.span.events.len()), (&None, 0), "{exit:?}");
        assert_eq!(call.span.end_time_unix_nano, 500 * MILLISECOND, "with its invocation");
        let marked = call.span.attributes.iter().find(|one| one.key == "unfinished").unwrap();
        assert_eq!(marked.value.as_ref().unwrap().value, Some(Any::BoolValue(true)));
        assert_eq!(machine.held_spans(), 0);
    }
}
