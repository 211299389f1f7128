//! Mode, header, outcome and settings, and what of it is sent.

use super::*;
use crate::invocation::origin::attribute;
use crate::invocation::trace_header::TraceId;
use crate::sampling::Learned;
use crate::translate::{Function, Masked, Translator};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use serde_json::json;

/// Its end is none that 5 % of all have.
const TRACE: &str = "Root=1-5759e988-bd862e3fe1be46a9ffffffff";
const PARENT: [u8; 8] = [0xaa; 8];
const SECOND: u64 = 1_000_000_000;

/// How an invocation goes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Goes {
    Well,
    /// The handler raises.
    Raises,
    /// It answers 503.
    Answers503,
    /// A call fails, and the handler returns.
    CallFails,
    /// It takes two seconds.
    Slowly,
    /// The process ends in the middle.
    Dies,
}

fn with_trace(span: Span) -> Box<Span> {
    let trace_id = TraceHeader::parse(TRACE).unwrap().root.as_bytes().to_vec();
    Box::new(Span { trace_id, ..span })
}

/// One invocation with an agent, whose own decision is in `flags`.
fn run(machine: &mut Machine, request_id: &str, header: &str, flags: u32, goes: Goes, begin: u64) {
    machine.invoke(&invoke(request_id, header), begin);
    machine.receive(entered(request_id, header), begin);
    let end = begin + if goes == Goes::Slowly { 2 * SECOND } else { SECOND / 10 };
    let mut handler = Span {
        span_id: vec![1; 8],
        parent_span_id: PARENT.to_vec(),
        kind: SpanKind::Server.into(),
        flags,
        start_time_unix_nano: begin,
        ..Span::default()
    };
    machine.receive(Received::Started(AGENT, with_trace(handler.clone())), begin);
    let mut call = Span {
        span_id: vec![2; 8],
        parent_span_id: vec![1; 8],
        flags: flags & !0x200,
        end_time_unix_nano: end,
        ..Span::default()
    };
    if goes == Goes::CallFails {
        call.attributes = vec![attribute("http.response.status_code", Any::IntValue(500))];
    }
    machine.receive(Received::Ended(AGENT, with_trace(call)), begin);
    if goes == Goes::Dies {
        machine.receive(Received::Closed(AGENT, Fate::Unknown), end);
        return;
    }
    handler.end_time_unix_nano = end;
    if goes == Goes::Answers503 {
        handler.attributes = vec![attribute("http.response.status_code", Any::IntValue(503))];
    }
    machine.receive(Received::Ended(AGENT, with_trace(handler)), end);
    let raised = goes == Goes::Raises;
    machine.receive(
        Received::Done(AGENT, Done { request_id: request_id.into(), raised, spans_dropped: 0 }),
        end,
    );
}

/// Documents that leave, segments among them.
fn documents(machine: &mut Machine) -> (usize, usize) {
    let translated =
        Translator::default().translate(&Masked::of(&mut machine.take_load().whole()), &Function::default());
    let segments = translated.documents.iter().filter(|one| !one.json.contains("\"subsegment\""));
    (translated.documents.len(), segments.count())
}

const YES: &str = "1";
const NO: &str = "0";
const NOTHING: &str = "";
const OURS: u32 = 0x301;

#[test]
fn rows_1_to_4_lam_20_mode_header_outcome_and_setting() {
    use Goes::{Answers503, CallFails, Dies, Raises, Slowly, Well};
    use Sampling::{Auto, Respect};
    use TracingMode::{Active, PassThrough};
    // Documents, and segments among them.
    let (no_documents, subsegments, segment) = ((0, 0), (2, 0), (2, 1));
    #[rustfmt::skip]
    let rows = [
        // A caller or Lambda has said yes: whatever the settings.
        (Active, YES, OURS, Well, Auto, "none", subsegments),
        (Active, YES, OURS, Well, Respect, "none", subsegments),
        (PassThrough, YES, OURS, Well, Auto, "none", segment),
        (TracingMode::Auto, YES, OURS, Well, Auto, "none", segment),
        // Lambda has said no.
        (Active, NO, 0, Well, Auto, "none", no_documents),
        (Active, NO, OURS, Raises, Auto, "none", no_documents),
        (Active, NO, 0, Raises, Auto, "errors", segment),
        (Active, NO, 0, Well, Auto, "all", segment),
        // Nobody has said anything: the agent decides, and has told whom it calls.
        (PassThrough, NO, OURS, Well, Auto, "none", segment),
        (TracingMode::Auto, NO, OURS, Well, Auto, "none", segment),
        (TracingMode::Auto, NOTHING, OURS, Well, Auto, "none", segment),
        (PassThrough, NO, 0, Well, Auto, "none", no_documents),
        (PassThrough, NO, 0, Raises, Auto, "none", no_documents),
        (PassThrough, NO, OURS, Well, Respect, "none", no_documents),
        (PassThrough, NOTHING, OURS, Well, Respect, "none", no_documents),
        // What the end decides.
        (PassThrough, NO, 0, Well, Auto, "errors", no_documents),
        (PassThrough, NO, 0, Raises, Auto, "errors", segment),
        (PassThrough, NO, 0, Answers503, Auto, "errors", segment),
        (PassThrough, NO, 0, CallFails, Auto, "errors", segment),
        (PassThrough, NO, 0, Dies, Auto, "errors", segment),
        (PassThrough, NO, 0, Slowly, Auto, "errors,cold", no_documents),
        (PassThrough, NO, 0, Slowly, Auto, "slow:2000", segment),
        (PassThrough, NO, 0, Slowly, Respect, "errors,slow:2000", segment),
        (PassThrough, NO, 0, Slowly, Auto, "slow:2001", no_documents),
        (PassThrough, NO, 0, Dies, Auto, "slow:100", segment),
        (PassThrough, NO, 0, Well, Respect, "all", segment),
    ];
    for row in rows {
        let (mode, sampled, flags, goes, sampling, keep, expected) = row;
        let mut machine = agent_in(machine_that(mode, sampling, keep, 1 << 20));
        let header = match sampled {
            NOTHING => format!("{TRACE};Parent=aaaaaaaaaaaaaaaa"),
            sampled => format!("{TRACE};Parent=aaaaaaaaaaaaaaaa;Sampled={sampled}"),
        };
        run(&mut machine, "r1", &header, flags, goes, SECOND);
        assert_eq!(documents(&mut machine), expected, "{row:?}");
        assert_eq!(machine.held_spans(), 0, "{row:?}");
    }
}

#[test]
fn lam_5_once_somebody_has_said_yes_a_no_is_theirs() {
    let mut machine = agent_in(machine(TracingMode::PassThrough));
    let header = |sampled| format!("{TRACE};Parent=aaaaaaaaaaaaaaaa;Sampled={sampled}");
    for (number, sampled, flags, expected) in [(1, 0, OURS, 2), (2, 1, OURS, 2), (3, 0, OURS, 0)] {
        run(&mut machine, &format!("r{number}"), &header(sampled), flags, Goes::Well, number * SECOND);
        assert_eq!(documents(&mut machine).0, expected, "{number}");
    }
    assert_eq!(machine.invoke(&invoke("r4", &header(0)), 0), Hold::No, "nothing to wait for");
}

#[test]
fn t_18_an_invocation_is_let_go_when_its_agent_has_decided_against_it() {
    let mut machine = agent_in(machine(TracingMode::Auto));
    let header = format!("{TRACE};Parent=aaaaaaaaaaaaaaaa;Sampled=0");
    assert_eq!(machine.invoke(&invoke("r1", &header), 0), Hold::UntilOver);
    machine.receive(entered("r1", &header), 0);
    let handler = Span { kind: SpanKind::Server.into(), parent_span_id: PARENT.to_vec(), ..*span(1) };
    assert_eq!(machine.receive(Received::Started(AGENT, with_trace(handler)), 0), Signal::Over);
}

#[test]
fn spans_wait_for_the_end_and_late_ones_follow_their_invocation() {
    let mut machine = agent_in(machine_that(TracingMode::PassThrough, Sampling::Auto, "errors", 1 << 20));
    let header = format!("{TRACE};Parent=aaaaaaaaaaaaaaaa;Sampled=0");
    machine.invoke(&invoke("r1", &header), SECOND);
    machine.receive(entered("r1", &header), SECOND);
    let call = |id| with_trace(Span { span_id: vec![id; 8], ..Span::default() });
    machine.receive(Received::Ended(AGENT, call(3)), SECOND);
    assert!(!machine.has_something_new(), "not before it is known how it ends");
    assert_eq!((machine.take_load().whole().spans.len(), machine.held_spans()), (0, 1));
    run(&mut machine, "r1", &header, 0, Goes::Raises, SECOND);
    assert_eq!(documents(&mut machine).0, 3);
    machine.receive(Received::Ended(AGENT, call(4)), 2 * SECOND);
    assert_eq!(documents(&mut machine).0, 1, "late, and kept");
}

#[test]
fn what_an_earlier_invocation_left_running_keeps_no_later_one() {
    let mut machine = agent_in(machine_that(TracingMode::PassThrough, Sampling::Respect, "errors", 1 << 20));
    let header = |trace: &str| format!("{trace};Parent=aaaaaaaaaaaaaaaa;Sampled=0");
    run(&mut machine, "r1", &header(TRACE), 0, Goes::Well, SECOND);
    assert_eq!(documents(&mut machine).0, 0);
    machine.invoke(&invoke("r2", &header(ROOT)), 2 * SECOND);
    machine.receive(entered("r2", &header(ROOT)), 2 * SECOND);
    let failed = vec![attribute("http.response.status_code", Any::IntValue(500))];
    let late =
        Span { span_id: vec![4; 8], parent_span_id: vec![9; 8], attributes: failed, ..Span::default() };
    machine.receive(Received::Ended(AGENT, with_trace(late)), 2 * SECOND);
    machine.receive(done("r2"), 2 * SECOND);
    let batch = machine.take_load().whole();
    let kept: Vec<_> = batch.invocations.iter().map(|one| (one.request_id.as_str(), one.is_kept)).collect();
    assert!(kept.contains(&("r2", false)), "{kept:?}");
}

#[test]
fn smp_15_without_an_agent_the_default_rule_decides() {
    let mut machine = machine(TracingMode::PassThrough);
    let header = format!("{TRACE};Parent=aaaaaaaaaaaaaaaa;Sampled=0");
    let mut kept = Vec::new();
    for (number, at) in [(1, 1), (2, 1), (3, 2)] {
        machine.invoke(&invoke(&format!("r{number}"), &header), at * SECOND);
        let top =
            Span { span_id: vec![number; 8], parent_span_id: PARENT.to_vec(), flags: 0x301, ..*span(1) };
        let scope_spans = opentelemetry_proto::tonic::trace::v1::ScopeSpans {
            spans: vec![*with_trace(top)],
            ..Default::default()
        };
        let resource_spans = vec![ResourceSpans { scope_spans: vec![scope_spans], ..Default::default() }];
        machine.receive(Received::Otlp(resource_spans), at * SECOND);
        kept.push(documents(&mut machine).0);
    }
    assert_eq!(kept, [1, 0, 1], "one a second");
}

#[test]
fn smp_6_rules_decide_by_what_the_handlers_span_says() {
    let mut machine = agent_in(machine_that(TracingMode::PassThrough, Sampling::Rules, "none", 1 << 20));
    assert!(machine.sampling_due(SECOND).unwrap().rules);
    let rule = |name: &str, priority: u32, path: &str, rate: f64| {
        json!({"SamplingRule": {"RuleName": name, "Priority": priority, "ServiceName": "shop", "URLPath": path,
            "ReservoirSize": 0, "FixedRate": rate, "Version": 1}})
    };
    let rules = vec![rule("health", 1, "/health", 0.0), rule("rest", 2, "*", 1.0)];
    machine.learn_sampling(&Learned { rules: Some(rules), targets: None }, SECOND);
    let header = format!("{TRACE};Parent=aaaaaaaaaaaaaaaa;Sampled=0");
    for (number, path, expected) in [(1, "/health", 0), (2, "/orders", 1)] {
        let request_id = format!("r{number}");
        machine.invoke(&invoke(&request_id, &header), 2 * SECOND);
        machine.receive(entered(&request_id, &header), 2 * SECOND);
        let attributes = vec![attribute("url.path", Any::StringValue(path.into()))];
        let (kind, parent_span_id) = (SpanKind::Server.into(), PARENT.to_vec());
        let handler = with_trace(Span { kind, parent_span_id, attributes, ..*span(number) });
        machine.receive(Received::Started(AGENT, handler.clone()), 2 * SECOND);
        machine.receive(Received::Ended(AGENT, handler), 2 * SECOND);
        machine.receive(done(&request_id), 2 * SECOND);
        assert_eq!(documents(&mut machine).0, expected, "{path}");
    }
    let due = machine.sampling_due(20 * SECOND).unwrap();
    assert_eq!(due.statistics.unwrap()["SamplingStatisticsDocuments"].as_array().unwrap().len(), 2);
    assert!(TraceId::parse_xray(&TRACE[5..]).is_some());
}

#[test]
fn smp_16_an_invocation_that_was_left_out_before_its_event_came_is_reported_too() {
    let mut machine = agent_in(machine_that(TracingMode::PassThrough, Sampling::Rules, "none", 1 << 20));
    assert!(machine.has_sampling_due(SECOND), "the rules");
    assert!(machine.sampling_due(SECOND).unwrap().rules);
    let never = json!({"SamplingRule": {"RuleName": "never", "Priority": 1, "ReservoirSize": 0, "FixedRate": 0.0,
        "Version": 1}});
    machine.learn_sampling(&Learned { rules: Some(vec![never]), targets: None }, SECOND);
    assert!(!machine.has_sampling_due(2 * SECOND));
    let header = format!("{TRACE};Parent=aaaaaaaaaaaaaaaa;Sampled=0");
    machine.receive(entered("r1", &header), 2 * SECOND);
    let (kind, parent_span_id) = (SpanKind::Server.into(), PARENT.to_vec());
    let handler = with_trace(Span { kind, parent_span_id, ..*span(1) });
    machine.receive(Received::Started(AGENT, handler.clone()), 2 * SECOND);
    machine.receive(Received::Ended(AGENT, handler), 2 * SECOND);
    assert_eq!(machine.invoke(&invoke("r1", &header), 2 * SECOND), Hold::No);
    assert!(machine.has_sampling_due(2 * SECOND));
    assert!(machine.sampling_due(2 * SECOND).unwrap().statistics.is_some());
    assert!(!machine.has_sampling_due(3 * SECOND), "the next report is due in ten seconds");
}
