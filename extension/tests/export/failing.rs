//! Another side that fails: who waits for it, how often it is asked, and that nothing is lost over it (P1, P2).

use crate::otlp::{Collector, NEVER};
use crate::stage::{Stage, batch};
use otel_xray::export::Occasion;
use otel_xray::invocation::Batch;
use otel_xray::settings::OutletKind;
use otel_xray_local::xray::Fault;
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;

const INVOCATIONS: u32 = 25;
const SHORT: Duration = Duration::from_millis(100);
/// In 25 s after the second failure: after pauses of at least 0.5, 1, 2, 4, 8 and 16 s.
const PROBES: usize = 5;

/// A far end that refuses to talk, and how often it was asked to.
async fn port(is_open: bool) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    if is_open {
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                held.push(stream);
            }
        });
    }
    (address, asked)
}

/// 25 invocations, one a second.
async fn invocations(stage: &mut Stage) {
    for trace in 1..=INVOCATIONS {
        stage.begin_invocation();
        // A flush that waits for an answer has all the time it may need; one that hangs twice has not.
        let time = if trace <= 2 { SHORT } else { Duration::from_hours(1) };
        let flush = stage.flush_within(batch(trace, 2), time);
        tokio::time::timeout(Duration::from_mins(1), flush).await.expect("no flush waits for who fails");
        stage.frozen += Duration::from_secs(1);
    }
}

#[tokio::test]
async fn p1_pts_6_whatever_fails_is_asked_by_time_and_no_invocation_waits_for_it() {
    let throttled =
        |after: &str| Fault::StatusWith(429, "ThrottledException", vec![("retry-after", after.to_owned())]);
    let denied = Fault::Status(403, "AccessDeniedException");
    // The first flush tries three times, the second once more.
    for (fault, most_at_first, probes) in [
        (Fault::Status(503, "ServiceUnavailable"), 4, PROBES),
        (Fault::Status(429, "ThrottledException"), 4, PROBES),
        (throttled("7"), 1, 4),
        (throttled("18446744073709551615"), 1, 0),
        (denied, 1, 0),
        (Fault::Close, 8, PROBES),
        (Fault::Reset, 8, PROBES),
        (Fault::Hang, 2, PROBES),
    ] {
        let mut stage = Stage::new().await;
        let always = fault.clone();
        stage.xray.faults().choose(move |_| Some(always.clone()));
        invocations(&mut stage).await;
        let requests = stage.requests().len();
        assert!(requests <= most_at_first + probes, "{fault:?}: {requests}");
        assert_eq!((stage.sent(), stage.carried()), (0, 50), "{fault:?}");

        stage.xray.faults().choose(|_| None);
        stage.flush_at_last().await;
        assert_eq!((stage.sent(), stage.carried(), stage.stored()), (50, 0, 50), "{fault:?}");
        assert_eq!(stage.xray.store().duplicates(), 0, "PTS-7: {fault:?}");
    }
}

#[tokio::test]
async fn p1_a_flush_makes_no_request_from_the_third_on_however_many_there_are() {
    for fault in [Fault::Status(503, "ServiceUnavailable"), Fault::Reset, Fault::Hang] {
        let mut stage = Stage::new().await;
        let always = fault.clone();
        stage.xray.faults().choose(move |_| Some(always.clone()));
        for trace in 1..=2 {
            stage.flush_within(batch(trace, 1), SHORT).await;
        }
        let before = stage.requests().len();
        for trace in 3..=INVOCATIONS {
            stage.frozen += Duration::from_mins(2);
            stage.flush(batch(trace, 1)).await;
        }
        assert_eq!((stage.requests().len(), stage.carried()), (before, 25), "{fault:?}");
    }
}

#[tokio::test]
async fn p1_no_connection_no_credentials_and_no_collector_hold_nobody_either() {
    for kind in [OutletKind::Xray, OutletKind::Otlp] {
        for is_open in [false, true] {
            let (address, asked) = port(is_open).await;
            let variables = [
                ("AWS_ENDPOINT_URL_XRAY", format!("http://{address}")),
                ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}")),
            ];
            let mut stage = Stage::with(&[kind], &variables, 1 << 20).await;
            invocations(&mut stage).await;
            assert_eq!(stage.carried(), 50);
            let asked = asked.load(Ordering::Relaxed);
            assert!(asked <= 2 + PROBES, "{}: {asked} connections that nobody answers", kind.name());
        }
    }
    let (address, asked) = port(true).await;
    let variables = [
        ("AWS_ACCESS_KEY_ID", String::new()),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("http://{address}/credentials")),
    ];
    let mut stage = Stage::with(&[OutletKind::Xray], &variables, 1 << 20).await;
    invocations(&mut stage).await;
    assert_eq!((stage.carried(), stage.requests().len()), (50, 0));
    assert!(asked.load(Ordering::Relaxed) <= 2 + PROBES);
}

#[tokio::test]
async fn p1_a_collector_that_fails_is_asked_by_time_too_and_costs_x_ray_nothing() {
    for (status, probes) in [(503, PROBES), (429, PROBES), (NEVER, PROBES), (403, 0)] {
        let collector = Collector::start().await;
        collector.will_answer(&[status; 200]);
        let endpoint = [("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", collector.url.clone())];
        let mut stage = Stage::with(&[OutletKind::Xray, OutletKind::Otlp], &endpoint, 1 << 20).await;
        invocations(&mut stage).await;
        let requests = collector.counts().len();
        assert!(requests <= 4 + probes, "{status}: {requests}");
        assert_eq!((stage.sent(), stage.requests().len()), (50, 25), "each with its own invocation");
    }
}

#[tokio::test]
async fn bet_30_after_a_probe_is_taken_everything_leaves_and_not_before() {
    let mut stage = Stage::new().await;
    stage.xray.faults().choose(|_| Some(Fault::Status(503, "ServiceUnavailable")));
    for trace in 1..=3 {
        stage.flush(batch(trace, 60)).await;
    }
    stage.xray.faults().choose(|_| None);
    let before = stage.requests().len();
    stage.begin_invocation();
    assert_eq!(stage.carried(), 180, "what is under way is still held");
    stage.flush(batch(4, 1)).await;
    assert_eq!((stage.requests().len(), stage.sent()), (before, 0), "not before its time");
    stage.frozen += Duration::from_secs(1);
    stage.begin_invocation();
    stage.recover().await;
    assert_eq!((stage.sent(), stage.stored(), stage.xray.store().duplicates()), (181, 181, 0));
    let requests: Vec<usize> = stage.requests()[before..].iter().map(|(_, documents)| *documents).collect();
    assert_eq!(requests[0], 50, "one request is the first");
    assert_eq!(requests[1..].iter().sum::<usize>(), 131);
}

#[tokio::test]
async fn l_8_7_pts_7_a_probe_that_is_frozen_for_long_is_made_anew_and_nothing_is_lost() {
    let mut stage = Stage::new().await;
    stage.xray.faults().choose(|_| Some(Fault::Hang));
    for trace in 1..=2 {
        stage.flush_within(batch(trace, 5), SHORT).await;
    }
    for _ in 0..4 {
        let before = stage.requests().len();
        stage.frozen += Duration::from_mins(5);
        stage.begin_invocation();
        while stage.requests().len() == before {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        stage.flush(Batch::default()).await;
        stage.begin_invocation();
        assert_eq!((stage.requests().len(), stage.carried()), (before + 1, 10), "one at a time");
    }
    stage.xray.faults().choose(|_| None);
    stage.flush_at_last().await;
    assert_eq!((stage.sent(), stage.stored(), stage.xray.store().duplicates()), (10, 10, 0));
}

#[tokio::test]
async fn periodic_flushes_probe_by_themselves_and_wait_for_nothing() {
    let mut stage = Stage::new().await;
    stage.xray.faults().choose(|_| Some(Fault::Hang));
    for trace in 1..=2 {
        stage.flush_in(batch(trace, 1), SHORT, Occasion::Beside).await;
    }
    stage.frozen += Duration::from_secs(1);
    stage.flush_in(batch(3, 1), Duration::from_hours(1), Occasion::Beside).await;
    while stage.requests().len() < 3 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    stage.flush_in(batch(4, 1), Duration::from_hours(1), Occasion::Beside).await;
    assert_eq!((stage.requests().len(), stage.carried()), (3, 4));
}

#[tokio::test]
async fn dmn_2_a_daemon_that_nobody_listens_for_holds_no_invocation() {
    let closed = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let address = [("AWS_XRAY_DAEMON_ADDRESS", closed.to_string())];
    let mut stage = Stage::with(&[OutletKind::Daemon], &address, 1 << 20).await;
    invocations(&mut stage).await;
    assert_eq!(stage.accounts("daemon")["dropped"], json!({}));
    assert!(stage.carried() >= 49);
}
