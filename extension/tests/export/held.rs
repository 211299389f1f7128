//! What an outlet holds stays held: when its flush is cut off, panics, or is told nonsense (P2).

use crate::otlp::Collector;
use crate::stage::{AMPLE, Stage, batch};
use otel_xray::export::Occasion;
use otel_xray::settings::OutletKind;
use otel_xray_local::xray::Fault;
use serde_json::json;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[tokio::test]
async fn l_8_9_a_flush_that_is_cut_off_gives_everything_back_and_the_last_one_sends_it() {
    let mut stage = Stage::new().await;
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    stage.xray.faults().choose(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        Some(Fault::Hang)
    });
    let cut = async move {
        while seen.load(Ordering::Relaxed) < 3 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    stage.flush_until(batch(1, 200), AMPLE * 100, Occasion::Held, cut).await;
    assert_eq!((stage.sent(), stage.carried()), (0, 200));
    stage.xray.faults().choose(|_| None);
    stage.flush_at_last().await;
    assert_eq!((stage.sent(), stage.stored(), stage.xray.store().duplicates()), (200, 200, 0));
}

#[tokio::test]
async fn p2_an_outlet_that_panics_in_a_flush_keeps_what_it_has_and_sends_it_with_the_next() {
    let daemon = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let collector = Collector::start().await;
    let variables = [
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", collector.url.clone()),
        ("AWS_XRAY_DAEMON_ADDRESS", daemon.local_addr().unwrap().to_string()),
    ];
    for kind in [OutletKind::Xray, OutletKind::Otlp] {
        let mut stage = Stage::with(&[kind, OutletKind::Daemon], &variables, 1 << 20).await;
        let mut sent_before = 0;
        if kind == OutletKind::Otlp {
            // It reads its variables before a flush; what it says, it says in the middle.
            stage.flush(batch(9, 2)).await;
            sent_before = 2;
            collector.will_answer(&[503; 3]);
        }
        stage.panics.store(true, Ordering::Relaxed);
        stage.flush(batch(1, 7)).await;
        assert_eq!(stage.said("told to panic"), 1, "{:?}", stage.lines.lock());
        let sent = &stage.accounts("daemon")["sent"];
        assert_eq!((stage.carried(), sent), (7, &json!(7 + sent_before)), "{}", kind.name());
        stage.flush(batch(2, 1)).await;
        stage.flush_at_last().await;
        let accounts = stage.accounts(kind.name());
        assert_eq!(accounts["sent"], json!(8 + sent_before), "{}", kind.name());
        assert_eq!(accounts["dropped"], json!({}), "{}", kind.name());
    }
}

#[tokio::test]
async fn pts_6_a_pause_longer_than_time_itself_costs_no_document() {
    const FOR_EVER: &str = "18446744073709551615";
    let collector = Collector::start().await;
    collector.answers.lock().unwrap().push_back((429, vec![("retry-after", FOR_EVER)], 0));
    let endpoint = [("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", collector.url.clone())];
    let mut stage = Stage::with(&[OutletKind::Xray, OutletKind::Otlp], &endpoint, 1 << 20).await;
    let headers = vec![("retry-after", FOR_EVER.to_owned())];
    stage.xray.faults().add(&Fault::StatusWith(503, "ServiceUnavailable", headers), 1);
    stage.flush(batch(1, 5)).await;
    assert_eq!(stage.carried(), 10);
    assert_eq!(stage.said("panic") + stage.said("failed"), 0, "{:?}", stage.lines.lock());
    stage.flush_at_last().await;
    assert_eq!((stage.sent(), stage.accounts("otlp")["sent"].clone(), stage.carried()), (5, json!(5), 0));
}

#[test]
fn p2_where_no_thread_is_left_to_resolve_a_name_everything_waits() {
    // No stack is as large as this, so that no thread can be made.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_stack_size(1 << 46)
        .build()
        .unwrap();
    runtime.block_on(async {
        let endpoints = [
            ("AWS_ENDPOINT_URL_XRAY", "http://localhost:9".to_owned()),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://localhost:9/v1/traces".to_owned()),
        ];
        let mut stage = Stage::with(&[OutletKind::Xray, OutletKind::Otlp], &endpoints, 1 << 20).await;
        for trace in 1..=5 {
            stage.flush(batch(trace, 3)).await;
            stage.frozen += std::time::Duration::from_mins(2);
            stage.begin_invocation();
        }
        stage.flush_at_last().await;
        for outlet in ["xray", "otlp"] {
            let accounts = stage.accounts(outlet);
            assert_eq!((&accounts["carried"], &accounts["dropped"]), (&json!(15), &json!({})), "{outlet}");
        }
    });
}
