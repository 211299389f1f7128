//! What runs on, what came before, and what ended badly, as documents.

use crate::stage::{START, assert_lawful, batch, function, invocation, nodes, span};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use otel_xray::invocation::{Batch, Initialisation, Invocation, Mode};
use otel_xray::translate::{Masked, Translated, Translator};
use serde_json::{Map, Value, json};

fn bodies(translated: &Translated) -> Vec<Map<String, Value>> {
    nodes(translated).into_iter().map(|(body, _)| body).collect()
}

fn running(number: u64, parent: u64) -> Span {
    Span { end_time_unix_nano: 0, ..span(number, parent, vec![]) }
}

#[test]
fn doc_2_a_running_span_is_shown_and_then_replaced_by_its_complete_form() {
    for mode in [Mode::Active, Mode::PassThrough] {
        let mut translator = Translator::default();
        let shown = Batch {
            is_progress: true,
            open: vec![],
            ..batch(vec![running(1, 0), running(2, 1)], invocation(mode, false))
        };
        let progress = translator.translate(&Masked::of(&mut shown.clone()), &function());
        assert_eq!(progress.accounts.dropped(otel_xray::accounts::Reason::Unsampled), 0);
        assert!(progress.documents.iter().all(|document| document.is_progress() && document.spans == 0));
        let complete = translator.translate(
            &Masked::of(&mut batch(vec![span(1, 0, vec![]), span(2, 1, vec![])], invocation(mode, true))),
            &function(),
        );
        assert!(complete.documents.iter().all(|document| !document.is_progress()));
        assert_eq!(complete.documents.iter().map(|document| document.spans).sum::<u64>(), 2);
        let (before, after) = (bodies(&progress), bodies(&complete));
        assert_eq!(before.len(), 2);
        for (before, after) in before.iter().zip(&after) {
            for same in ["id", "trace_id", "parent_id", "type", "name", "start_time"] {
                assert_eq!(before.get(same), after.get(same), "{mode:?} {same}");
            }
            assert_eq!((&before["in_progress"], before.get("end_time")), (&json!(true), None));
            assert_eq!(after.get("in_progress"), None);
        }
    }
}

#[test]
fn a_text_that_looks_like_progress_is_none() {
    let mut one = span(1, 0, vec![crate::stage::text("note", r#"{"in_progress":true}"#)]);
    one.name = "in_progress".into();
    let translated = Translator::default()
        .translate(&Masked::of(&mut batch(vec![one], invocation(Mode::Active, true))), &function());
    let mut document = translated.documents[0].clone();
    document.spans = 0;
    assert!(document.json.contains("in_progress") && !document.is_progress());
}

/// A first invocation, after an initialisation of 400 ms.
fn first(mode: Mode, was_ahead: bool) -> Invocation {
    let ended = if was_ahead { START - 3_600_000_000_000 } else { START - 1_000_000 };
    let initialisation = Initialisation {
        name: "Initialization",
        kind: "on-demand".into(),
        start_unix_nano: ended - 400_000_000,
        end_unix_nano: ended,
        was_ahead,
    };
    Invocation { initialisation: Some(initialisation), ..invocation(mode, true) }
}

fn handler() -> Span {
    Span { kind: SpanKind::Server.into(), ..span(1, 0, vec![]) }
}

#[test]
fn lam_2_lam_24_the_initialisation_hangs_below_the_functions_own_segment_and_only_there() {
    for (mode, expected) in [(Mode::PassThrough, 1), (Mode::Unknown, 1), (Mode::Active, 0)] {
        let mut translator = Translator::default();
        let flush = batch(vec![handler(), span(2, 1, vec![])], first(mode, false));
        let translated = translator.translate(&Masked::of(&mut flush.clone()), &function());
        assert_lawful(&flush, &translated);
        let all = bodies(&translated);
        let found: Vec<_> = all.iter().filter(|body| body["name"] == "Initialization").collect();
        assert_eq!(found.len(), expected, "{mode:?}");
        if let Some(found) = found.first() {
            assert_eq!((&found["parent_id"], &found["type"]), (&all[0]["id"], &json!("subsegment")));
            assert_eq!(found["metadata"]["otel"]["initialization_type"], "on-demand");
            let (start, end) = (found["start_time"].as_f64().unwrap(), found["end_time"].as_f64().unwrap());
            assert!((end - start - 0.4).abs() < 0.000_01, "{start} {end}");
        }
        let later = batch(vec![span(9, 0, vec![])], first(mode, false));
        let again = bodies(&translator.translate(&Masked::of(&mut later.clone()), &function()));
        assert!(again.iter().all(|body| body["name"] != "Initialization"), "told once");
    }
}

#[test]
fn the_initialisation_is_told_in_the_invocations_own_trace_and_in_no_other_that_the_function_writes_to() {
    for (mode, expected) in [(Mode::PassThrough, 1), (Mode::Active, 0)] {
        let foreign = Span { trace_id: vec![9; 16], flags: 0x301, ..span(2, 7, vec![]) };
        let mut flush = batch(vec![foreign, handler()], first(mode, false));
        for collected in &mut flush.spans {
            collected.request_id = Some("r".into());
        }
        flush.invocations[0].request_id = "r".into();
        let all = bodies(&Translator::default().translate(&Masked::of(&mut flush.clone()), &function()));
        let found: Vec<_> = all.iter().filter(|body| body["name"] == "Initialization").collect();
        assert_eq!(found.len(), expected, "{mode:?}: {all:?}");
        assert!(found.iter().all(|body| !body["trace_id"].as_str().unwrap().contains("09090909")), "{all:?}");
    }
}

#[test]
fn l_8_23_what_was_told_after_the_segment_had_left_follows_it() {
    for (mode, expected) in [(Mode::PassThrough, 1), (Mode::Active, 0)] {
        let mut translator = Translator::default();
        let left = translator
            .translate(&Masked::of(&mut batch(vec![handler()], invocation(mode, true))), &function());
        let segment = bodies(&left).remove(0);
        let nothing_new = batch(vec![], first(mode, false));
        let late = translator.translate(&Masked::of(&mut nothing_new.clone()), &function());
        assert_lawful(&nothing_new, &late);
        let found = bodies(&late);
        assert_eq!(found.len(), expected, "{mode:?}");
        if let Some(found) = found.first() {
            assert_eq!((&found["name"], &found["parent_id"]), (&json!("Initialization"), &segment["id"]));
        }
        assert_eq!(
            translator.translate(&Masked::of(&mut nothing_new.clone()), &function()).documents.len(),
            0,
            "told once"
        );
        let of_another =
            translator.translate(&Masked::of(&mut batch(vec![], invocation(mode, true))), &function());
        assert_eq!(of_another.documents.len(), 0);
    }
}

#[test]
fn l_8_9_an_initialisation_long_before_is_told_without_stretching_the_trace() {
    for mode in [Mode::PassThrough, Mode::Active] {
        let translated = Translator::default()
            .translate(&Masked::of(&mut batch(vec![handler()], first(mode, true))), &function());
        let all = bodies(&translated);
        assert_eq!(all.len(), 1);
        assert_eq!(all[0]["metadata"]["otel"]["initialized_ahead"], "on-demand: 400 ms, 3600 s before");
    }
}
