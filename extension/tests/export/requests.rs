//! One trouble at a time: what is sent, what is sent again, and what is counted.

use crate::stage::{AMPLE, SHORT, Stage, batch};
use otel_xray_local::xray::Fault;
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn tv_16_51_documents_are_two_requests() {
    let mut stage = Stage::new().await;
    stage.flush(batch(1, 51)).await;
    let mut requests = stage.requests();
    requests.sort_unstable();
    assert_eq!(requests, [(200, 1), (200, 50)]);
    assert_eq!((stage.sent(), stage.stored()), (51, 51));
}

#[tokio::test]
async fn pts_1_pts_2_pts_11_a_request_is_signed_json_and_not_compressed() {
    let mut stage = Stage::new().await;
    stage.flush(batch(1, 3)).await;
    let requests = stage.xray.requests();
    assert_eq!(requests[0].path, "/TraceSegments");
    assert_eq!(requests[0].headers["content-type"], "application/json");
    assert!(requests[0].authorization.contains("/eu-west-1/xray/aws4_request"));
    assert!(!requests[0].headers.contains_key("content-encoding"));
}

#[tokio::test]
async fn tv_17_pts_3_bet_31_a_refused_document_goes_once_more_and_alone() {
    let mut stage = Stage::new().await;
    stage.xray.faults().refuse_documents(|document| {
        (document["name"] == "work 3" && document.get("metadata").is_some())
            .then(|| ("InvalidName", "told to".to_owned()))
    });
    stage.flush(batch(1, 10)).await;
    assert_eq!(stage.requests(), [(200, 10), (200, 1)]);
    assert_eq!((stage.sent(), stage.stored(), stage.xray.store().duplicates()), (10, 10, 0));
    assert_eq!(stage.accounts("xray")["trimmed"], json!({"document_repaired": 1}));
}

#[tokio::test]
async fn tv_17_pts_5_what_is_refused_again_or_for_good_is_counted_with_its_code() {
    let mut stage = Stage::new().await;
    stage.xray.faults().refuse_documents(|document| match document["name"].as_str() {
        Some("work 3") => Some(("InvalidName", "told to".to_owned())),
        Some("work 4") => Some(("InvalidTraceId", "told to".to_owned())),
        _ => None,
    });
    for trace in 1..=3 {
        stage.flush(batch(trace, 10)).await;
    }
    assert_eq!(stage.requests(), [(200, 10), (200, 1), (200, 10), (200, 1), (200, 10), (200, 1)]);
    assert_eq!((stage.sent(), stage.stored()), (24, 24));
    assert_eq!(stage.accounts("xray")["rejected"], json!({"InvalidName": 3, "InvalidTraceId": 3}));
    // One line per code per minute.
    assert_eq!((stage.said("InvalidName"), stage.said("InvalidTraceId")), (1, 1));
    stage.frozen = Duration::from_secs(61);
    stage.flush(batch(4, 10)).await;
    assert_eq!((stage.said("InvalidName"), stage.said("InvalidTraceId")), (2, 2));
}

#[tokio::test]
async fn pts_8_a_document_refused_without_its_id_is_found_by_halves() {
    let mut stage = Stage::new().await;
    stage.xray.faults().hide_ids(true);
    stage.xray.faults().refuse_documents(|document| {
        (document["name"] == "work 7").then(|| ("InvalidTraceId", "told to".to_owned()))
    });
    stage.flush(batch(1, 20)).await;
    assert_eq!((stage.sent(), stage.stored()), (19, 19));
    assert_eq!(stage.accounts("xray")["rejected"], json!({"InvalidTraceId": 1}));
    let sizes: Vec<usize> = stage.requests().into_iter().map(|(_, documents)| documents).collect();
    assert_eq!((sizes[0], sizes[1], *sizes.last().unwrap()), (20, 10, 1));
    assert!(sizes.len() <= 7, "{sizes:?}");
    // PTS-7, DOC-3: what is sent again in the search is less than one request's worth.
    assert!(stage.xray.store().duplicates() < 20, "{}", stage.xray.store().duplicates());
}

#[tokio::test]
async fn tv_18_bet_32_pts_6_a_throttled_request_is_sent_again_and_nothing_twice() {
    for fault in [
        Fault::Status(429, "ThrottledException"),
        Fault::Status(500, "InternalFailure"),
        Fault::Status(503, "ServiceUnavailable"),
        Fault::Close,
        Fault::Reset,
    ] {
        let mut stage = Stage::new().await;
        stage.xray.faults().add(&fault, 1);
        stage.flush(batch(1, 5)).await;
        assert_eq!(stage.requests().len(), 2, "{fault:?}");
        assert_eq!((stage.sent(), stage.stored(), stage.xray.store().duplicates()), (5, 5, 0), "{fault:?}");
    }
}

#[tokio::test]
async fn bet_32_bet_30_after_three_tries_the_documents_wait_for_the_next_flush() {
    let mut stage = Stage::new().await;
    stage.xray.faults().add(&Fault::Status(429, "ThrottledException"), 3);
    stage.flush(batch(1, 5)).await;
    assert_eq!(stage.requests().len(), 3);
    assert_eq!((stage.sent(), stage.carried()), (0, 5));
    stage.flush(batch(2, 1)).await;
    assert_eq!((stage.sent(), stage.carried(), stage.stored()), (6, 0, 6));
    assert_eq!(stage.requests().len(), 4, "those that waited leave with the new ones");
}

#[tokio::test]
async fn pts_6_retry_after_is_kept_to_and_too_long_a_one_gives_up_at_once() {
    let mut stage = Stage::new().await;
    let wait = |seconds: &str| {
        Fault::StatusWith(429, "ThrottledException", vec![("retry-after", seconds.to_owned())])
    };
    stage.xray.faults().add(&wait("1"), 1);
    let begun = std::time::Instant::now();
    stage.flush(batch(1, 5)).await;
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!((stage.requests().len(), stage.sent()), (2, 5));
    stage.xray.faults().add(&wait("3600"), 1);
    stage.flush(batch(2, 5)).await;
    assert_eq!((stage.requests().len(), stage.carried()), (3, 5));
    stage.flush(batch(3, 5)).await;
    assert_eq!((stage.requests().len(), stage.carried()), (3, 10), "not before its time");
}

#[tokio::test]
async fn pts_6_400_and_403_are_not_tried_again_and_bet_36_the_permission_is_named_once() {
    let mut stage = Stage::new().await;
    stage.xray.faults().add(&Fault::Status(403, "AccessDeniedException"), 2);
    stage.flush(batch(1, 120)).await;
    assert!(stage.requests().len() <= 3, "{:?}", stage.requests());
    assert_eq!(stage.carried() + stage.sent(), 120);
    let so_far = stage.requests().len();
    stage.flush(batch(2, 1)).await;
    assert_eq!(stage.requests().len(), so_far, "nothing is tried for a while");
    stage.begin_invocation();
    assert_eq!(stage.requests().len(), so_far, "also beside an invocation");
    stage.frozen = Duration::from_mins(2);
    stage.xray.faults().clear();
    stage.begin_invocation();
    stage.flush(batch(3, 1)).await;
    stage.recover().await;
    assert_eq!((stage.sent(), stage.carried(), stage.stored()), (122, 0, 122));
    assert_eq!(stage.said("xray:PutTraceSegments"), 1);
}

#[tokio::test]
async fn pts_6_a_wrong_clock_is_corrected_by_the_answers_date_once() {
    let mut stage = Stage::new().await;
    let skewed =
        |date: &str| Fault::StatusWith(403, "InvalidSignatureException", vec![("date", date.to_owned())]);
    stage.xray.faults().add(&skewed("Sat, 01 Nov 2036 10:00:00 GMT"), 1);
    stage.flush(batch(1, 3)).await;
    assert_eq!((stage.requests().len(), stage.sent()), (2, 3));
    let dates: Vec<String> = stage.xray.requests().iter().map(|r| r.headers["x-amz-date"].clone()).collect();
    assert!(!dates[0].starts_with("2036"), "{dates:?}");
    assert!(dates[1].starts_with("20361101T"), "signed again with the server's time: {dates:?}");
}

#[tokio::test]
async fn pts_6_a_wrong_signature_with_the_right_clock_is_not_tried_again() {
    let mut stage = Stage::new().await;
    stage.xray.faults().add(&Fault::Status(403, "InvalidSignatureException"), 1);
    stage.flush(batch(1, 3)).await;
    assert_eq!((stage.requests().len(), stage.carried()), (1, 3));
}

#[tokio::test]
async fn bet_33_the_oldest_invocation_goes_whole_when_the_buffer_is_full() {
    // With what each document takes besides its text; a quarter of the buffer is for what comes.
    let one: usize =
        crate::stage::documents(&batch(1, 10)).iter().map(|document| document.json.len() + 200).sum();
    let mut stage = Stage::with(&[otel_xray::settings::OutletKind::Xray], &[], one * 5 / 2 * 4 / 3).await;
    stage.xray.faults().choose(|_| Some(Fault::Status(503, "ServiceUnavailable")));
    for trace in 1..=4 {
        stage.flush_within(batch(trace, 10), SHORT).await;
    }
    assert_eq!(
        (stage.carried(), stage.accounts("xray")["dropped"].clone()),
        (20, json!({"buffer_full": 20}))
    );
    stage.xray.faults().clear();
    stage.flush(batch(5, 1)).await;
    stage.flush_at_last().await;
    let traces = stage.xray.store().traces();
    let sizes: Vec<usize> =
        traces.iter().map(|trace| stage.xray.store().documents_of(&trace.id).len()).collect();
    assert_eq!(sizes, [10, 10, 1], "whole invocations, the newest");
}

#[tokio::test]
async fn bet_33_one_invocation_larger_than_the_buffer_is_sent_all_the_same() {
    let mut stage = Stage::with(&[otel_xray::settings::OutletKind::Xray], &[], 1000).await;
    stage.flush(batch(1, 300)).await;
    assert_eq!((stage.sent(), stage.stored()), (300, 300));
}

#[tokio::test]
async fn bet_34_connections_are_kept_and_given_up_after_a_freeze() {
    let mut stage = Stage::new().await;
    for trace in 1..=3 {
        stage.flush(batch(trace, 1)).await;
    }
    let ports = |stage: &Stage| -> Vec<u16> { stage.xray.requests().iter().map(|r| r.peer.port()).collect() };
    let warm = ports(&stage);
    assert!(warm.iter().all(|port| *port == warm[0]), "one connection serves them all: {warm:?}");
    stage.frozen = Duration::from_mins(10);
    stage.flush(batch(4, 1)).await;
    let thawed = ports(&stage);
    assert_ne!(thawed[3], warm[0]);
    assert_eq!(stage.requests().len(), 4, "no try is wasted on a dead connection");
}

#[tokio::test]
async fn p4_bet_28_bet_30_what_is_in_flight_at_the_end_of_the_time_is_kept() {
    let mut stage = Stage::new().await;
    stage.xray.faults().add(&Fault::Hang, 3);
    let begun = std::time::Instant::now();
    stage.flush_within(batch(1, 200), SHORT).await;
    assert!(begun.elapsed() < AMPLE);
    assert_eq!((stage.sent(), stage.carried(), stage.requests().len()), (0, 200, 3));
    assert_eq!(stage.said("did not answer in the time allowed"), 1);
    stage.flush(batch(2, 1)).await;
    assert_eq!((stage.sent(), stage.carried(), stage.stored()), (201, 0, 201));
}

#[tokio::test]
async fn a_request_that_x_ray_refuses_whole_costs_the_documents_that_are_to_blame() {
    let mut stage = Stage::new().await;
    stage.xray.faults().add(&Fault::Status(400, "InvalidRequestException"), 2);
    stage.flush(batch(1, 4)).await;
    let statuses: Vec<u16> = stage.requests().into_iter().map(|(status, _)| status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 400).count(), 2);
    assert_eq!((stage.sent(), stage.stored()), (4, 4));
    let rejected: Value = stage.accounts("xray")["rejected"].clone();
    assert_eq!(rejected, json!({}));
}
