//! Functions that could not be loaded: a failed initialisation and its second try are of one trace (L-8.21).

use super::endings::{HEADER, HEADER_TRACE, MILLISECOND, ended, handler, platform, shutdown, told};
use super::*;
use crate::invocation::Collected;
use crate::invocation::origin::attribute;
use crate::received::Exit;
use crate::received::platform::{
    Finished, InitStart, InvocationDone, Phase, PlatformRecord, Start, Status, Tracing,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::{Status as SpanStatus, status::StatusCode};

/// With an agent that has said hello while the function loads.
pub(super) fn loading_in(phase: Phase) -> Machine {
    let mut machine = with_agent();
    let start = InitStart { initialization_type: "on-demand".into(), phase, ..InitStart::default() };
    machine.receive(platform(PlatformRecord::InitStart(start)), 5 * MILLISECOND);
    machine
}

fn failed_load(id: u8) -> Box<Span> {
    let status = Some(SpanStatus { code: StatusCode::Error.into(), message: String::new() });
    Box::new(Span {
        name: "load app.handler".into(),
        trace_id: vec![id; 16],
        flags: 0x101,
        attributes: vec![attribute("faas.coldstart", Any::BoolValue(true))],
        status,
        ..*span(id)
    })
}

/// `platform.start`: of the initialisation within an invocation it comes when that is over (L-6.9).
fn waits(span_id: &str, header: &str) -> Received {
    let tracing = Tracing { span_id: span_id.into(), value: header.into() };
    platform(PlatformRecord::Start(Start { request_id: "r1".into(), tracing }))
}

/// What the first process leaves.
fn first_try() -> Vec<Collected> {
    let mut first = loading_in(Phase::Init);
    first.receive(Received::Ended(AGENT, failed_load(7)), 20 * MILLISECOND);
    first.receive(ended(Exit::Status(1)), 22 * MILLISECOND);
    first.shut_down(&shutdown("failure"), 25 * MILLISECOND);
    let left = first.hand_over();
    assert_eq!(first.take_load().whole().spans.len(), 0, "told by the next process only");
    assert!(first.take_accounts().balance(1), "carried");
    left
}

/// Names, traces and parents.
fn places(machine: &mut Machine) -> Vec<(u8, Vec<u8>, Vec<u8>)> {
    let spans = machine.take_load().whole().spans;
    let mut places: Vec<_> = spans
        .into_iter()
        .map(|one| (one.span.span_id[0], one.span.trace_id, one.span.parent_span_id))
        .collect();
    places.sort();
    places
}

#[test]
fn a_call_that_failed_meanwhile_is_not_why_the_function_could_not_be_loaded() {
    let mut machine = loading_in(Phase::Init);
    let call = Box::new(Span { name: "config.example".into(), attributes: vec![], ..*failed_load(7) });
    machine.receive(Received::Ended(AGENT, call), 20 * MILLISECOND);
    machine.receive(ended(Exit::Status(1)), 22 * MILLISECOND);
    machine.shut_down(&shutdown("failure"), 25 * MILLISECOND);
    let names =
        |spans: Vec<Collected>| spans.into_iter().map(|one| one.span.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(machine.hand_over()), ["load the function"]);
    assert_eq!(names(machine.take_load().whole().spans), ["config.example"]);
}

#[test]
fn pl_82_what_a_function_has_called_until_it_could_not_be_loaded_goes_with_that() {
    let call = |load: u8, id: u8| {
        Box::new(Span {
            name: "secrets.example".into(),
            span_id: vec![id; 8],
            trace_id: vec![load; 16],
            parent_span_id: vec![load; 8],
            kind: SpanKind::Client.into(),
            ..*span(id)
        })
    };
    let mut first = loading_in(Phase::Init);
    first.receive(Received::Ended(AGENT, failed_load(7)), 20 * MILLISECOND);
    first.receive(Received::Ended(AGENT, call(7, 70)), 20 * MILLISECOND);
    first.receive(ended(Exit::Status(1)), 22 * MILLISECOND);
    first.shut_down(&shutdown("failure"), 25 * MILLISECOND);
    assert_eq!(first.held_spans(), 2);
    let left = first.hand_over();
    assert_eq!(left.len(), 2);

    let mut machine = loading_in(Phase::Invoke);
    machine.take_over(left);
    machine.receive(waits(LAMBDAS, HEADER), 30 * MILLISECOND);
    machine.receive(Received::Ended(AGENT, failed_load(8)), 40 * MILLISECOND);
    for id in 80..80 + 70 {
        machine.receive(Received::Ended(AGENT, call(8, id)), 40 * MILLISECOND);
    }
    machine.receive(ended(Exit::Status(1)), 42 * MILLISECOND);
    machine.shut_down(&shutdown("failure"), 45 * MILLISECOND);
    assert!(machine.hand_over().is_empty());
    let places = places(&mut machine);
    let trace = HEADER_TRACE.to_vec();
    for (id, parent) in [(7, vec![0xaa; 8]), (8, vec![0xaa; 8]), (70, vec![7; 8]), (80, vec![8; 8])] {
        assert!(places.contains(&(id, trace.clone(), parent)), "{id}");
    }
    let is_call = |(id, trace_id, parent): &&(u8, Vec<u8>, Vec<u8>)| {
        *id >= 80 && *trace_id == trace && *parent == [8; 8]
    };
    assert_eq!(
        places.iter().filter(is_call).count(),
        63,
        "with that of the first try, no more than are kept"
    );
    let mut accounts = machine.take_accounts();
    accounts.restore(2);
    assert!(accounts.balance(73));
}

const LAMBDAS: &str = "53995c3f42cd8ad8";

#[test]
fn l_8_21_both_tries_are_told_in_the_trace_of_the_invocation_that_waits() {
    let root = HEADER_TRACE.to_vec();
    let parent = vec![0xaa; 8];
    let own_trace = vec![8; 16];
    // Under Active tracing both hang below Lambda's own segment, else the first below the second, which is the function's.
    for (span_id, header, second, first) in [
        (LAMBDAS, HEADER, (root.clone(), parent.clone()), (root.clone(), parent.clone())),
        ("", HEADER, (root.clone(), parent.clone()), (root.clone(), vec![8; 8])),
        // Of an invocation that is not sampled, Lambda names no trace.
        ("", "", (own_trace.clone(), vec![]), (own_trace.clone(), vec![8; 8])),
    ] {
        for is_told_before in [true, false] {
            let mut machine = loading_in(Phase::Invoke);
            if is_told_before {
                machine.receive(waits(span_id, header), 30 * MILLISECOND);
            }
            machine.receive(Received::Ended(AGENT, failed_load(8)), 40 * MILLISECOND);
            let finished = Finished { status: Status::Error, ..Finished::default() };
            machine.receive(platform(PlatformRecord::InitRuntimeDone(finished)), 41 * MILLISECOND);
            machine.receive(ended(Exit::Status(1)), 42 * MILLISECOND);
            if !is_told_before {
                machine.receive(waits(span_id, header), 43 * MILLISECOND);
                let done = InvocationDone {
                    request_id: "r1".into(),
                    status: Status::Error,
                    ..InvocationDone::default()
                };
                machine.receive(platform(PlatformRecord::RuntimeDone(done)), 44 * MILLISECOND);
            }
            machine.take_over(first_try());
            assert_eq!(machine.held_spans(), 2);
            machine.shut_down(&shutdown("failure"), 45 * MILLISECOND);
            assert!(machine.hand_over().is_empty());
            let expected = [(7, first.0.clone(), first.1.clone()), (8, second.0.clone(), second.1.clone())];
            assert_eq!(places(&mut machine), expected, "{span_id:?} {header:?} {is_told_before}");
            let mut accounts = machine.take_accounts();
            accounts.restore(1);
            assert!(accounts.balance(2));
        }
    }
}

#[test]
fn l_8_21_a_second_try_that_succeeds_has_the_first_in_its_trace() {
    for (event, parent_of_load) in [(LAMBDAS, [0xaa; 8]), ("aaaaaaaaaaaaaaaa", [1; 8])] {
        let mut machine = loading_in(Phase::Invoke);
        let span_id = if parent_of_load == [1; 8] { "" } else { LAMBDAS };
        machine.receive(waits(span_id, HEADER), 30 * MILLISECOND);
        machine.take_over(first_try());
        machine.invoke(&invoke("r1", &sampled(event)), 31 * MILLISECOND);
        machine.receive(entered("r1", HEADER), 31 * MILLISECOND);
        machine.receive(Received::Started(AGENT, handler()), 32 * MILLISECOND);
        machine.receive(Received::Ended(AGENT, handler()), 33 * MILLISECOND);
        assert_eq!(machine.receive(done("r1"), 34 * MILLISECOND), Signal::Over);
        let handlers_trace = vec![1; 16];
        let expected =
            [(1, handlers_trace, vec![0xaa; 8]), (7, HEADER_TRACE.to_vec(), parent_of_load.to_vec())];
        assert_eq!(places(&mut machine), expected, "{event}");
    }
}

#[test]
fn l_8_21_a_second_try_that_crashes_has_the_first_in_its_trace() {
    for (span_id, header, says) in [
        ("", HEADER, "Runtime.ExitError: signal 11, SIGSEGV"),
        ("", "", "Runtime.ExitError: signal 11, SIGSEGV, while the function was being loaded"),
    ] {
        let mut machine = loading_in(Phase::Invoke);
        machine.take_over(first_try());
        machine.receive(ended(Exit::Signal(11)), 42 * MILLISECOND);
        machine.receive(waits(span_id, header), 43 * MILLISECOND);
        machine.shut_down(&shutdown("failure"), 45 * MILLISECOND);
        let spans = machine.take_load().whole().spans;
        let (first, second): (Vec<_>, Vec<_>) = spans.iter().partition(|one| one.span.span_id == [7; 8]);
        assert_eq!((first.len(), second.len()), (1, 1), "{header:?}");
        assert_eq!(told(second[0]), says);
        assert_eq!(first[0].span.trace_id, second[0].span.trace_id);
        assert_eq!(first[0].span.parent_span_id, second[0].span.span_id);
    }
}

#[test]
fn an_initialisation_that_nobody_tries_again_is_told_by_its_own_process() {
    let cases = [("provisioned-concurrency", Phase::Init), ("on-demand", Phase::Unsaid), ("", Phase::Init)];
    for (kind, phase) in cases {
        let mut machine = with_agent();
        let start = InitStart { initialization_type: kind.into(), phase, ..InitStart::default() };
        machine.receive(platform(PlatformRecord::InitStart(start)), 5 * MILLISECOND);
        machine.receive(Received::Ended(AGENT, failed_load(7)), 20 * MILLISECOND);
        machine.shut_down(&shutdown("failure"), 25 * MILLISECOND);
        assert!(machine.hand_over().is_empty(), "{kind}");
        assert_eq!(places(&mut machine), [(7, vec![7; 16], vec![])], "{kind}");
    }
    let mut nowhere = loading_in(Phase::Init);
    nowhere.receive(Received::Ended(AGENT, failed_load(7)), 20 * MILLISECOND);
    nowhere.shut_down(&shutdown("failure"), 25 * MILLISECOND);
    let left = nowhere.hand_over();
    nowhere.keep(left);
    assert_eq!(places(&mut nowhere), [(7, vec![7; 16], vec![])], "where nothing can be left");
    assert!(nowhere.take_accounts().balance(1));
}

#[test]
fn what_earlier_processes_left_is_bounded_and_none_is_lost() {
    let mut machine = loading_in(Phase::Invoke);
    let left: Vec<Collected> = (0..9).flat_map(|_| first_try()).collect();
    machine.take_over(left);
    machine.shut_down(&shutdown("spindown"), 45 * MILLISECOND);
    assert_eq!(places(&mut machine).len(), 9);
}

pub(super) fn loading() -> Machine {
    let mut machine = with_agent();
    machine.receive(platform(PlatformRecord::InitStart(InitStart::default())), 5 * MILLISECOND);
    machine
}

#[test]
fn a_runtime_that_dies_while_it_loads_the_function_is_told_in_a_trace_of_its_own() {
    for (reason, says) in [
        ("failure", "Runtime.ExitError: signal 11, SIGSEGV, while the function was being loaded"),
        ("timeout", "Timeout: the initialisation was not finished after 0.05 s"),
    ] {
        let mut machine = loading();
        machine.receive(ended(Exit::Signal(11)), 55 * MILLISECOND);
        machine.shut_down(&shutdown(reason), 60 * MILLISECOND);
        let batch = machine.take_load().whole();
        assert_eq!(batch.spans.iter().map(told).collect::<Vec<_>>(), [says]);
        let span = &batch.spans[0].span;
        assert_eq!((span.trace_id.len(), span.parent_span_id.len()), (16, 0));
        assert_eq!(span.start_time_unix_nano, 5 * MILLISECOND);
    }
    let mut machine = loading();
    machine.receive(ended(Exit::Signal(15)), 55 * MILLISECOND);
    machine.shut_down(&shutdown("spindown"), 60 * MILLISECOND);
    assert!(machine.take_load().whole().spans.is_empty(), "an environment that was never needed");
}

#[test]
fn a_failure_to_load_belongs_to_the_invocation_that_waits_for_it() {
    for (span_id, is_own) in [("53995c3f42cd8ad8", false), ("", true)] {
        let mut machine = loading();
        if !is_own {
            let tracing = Tracing { span_id: span_id.into(), value: HEADER.into() };
            let start = Start { request_id: "r1".into(), tracing };
            machine.receive(platform(PlatformRecord::Start(start)), 6 * MILLISECOND);
        }
        machine.receive(Received::Ended(AGENT, failed_load(7)), 20 * MILLISECOND);
        let finished = Finished { status: Status::Error, ..Finished::default() };
        machine.receive(platform(PlatformRecord::InitRuntimeDone(finished)), 21 * MILLISECOND);
        machine.receive(ended(Exit::Status(1)), 22 * MILLISECOND);
        machine.shut_down(&shutdown("failure"), 25 * MILLISECOND);
        let batch = machine.take_load().whole();
        assert_eq!(batch.spans.len(), 1, "told once, by the agent");
        let parent = &batch.spans[0].span.parent_span_id;
        assert_eq!(parent.as_slice(), if is_own { &[][..] } else { &[0xaa; 8][..] });
        assert_eq!(batch.spans[0].request_id.is_none(), is_own);
    }
}
