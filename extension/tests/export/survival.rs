//! From one process to the next: what could not be sent is left in files and sent by another (L-2.2).

use crate::stage::{SHORT, Stage, batch, documents};
use otel_xray::settings::{OutletKind, Spool};
use otel_xray_local::xray::Fault;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

const BUFFER: usize = 1 << 20;

fn spool(directory: &Path) -> Spool {
    Spool { directory: directory.join("spool"), limit_bytes: 1 << 20, max_age: Duration::from_mins(1) }
}

fn files(spool: &Spool) -> usize {
    std::fs::read_dir(&spool.directory).map_or(0, Iterator::count)
}

/// A process whose other side is gone, and what it leaves.
async fn ended(kind: OutletKind, variables: &[(&str, String)], spans: u64) -> Stage {
    let mut stage = Stage::with(&[kind], variables, BUFFER).await;
    stage.xray.faults().choose(|_| Some(Fault::Status(503, "ServiceUnavailable")));
    stage.flush_within(batch(1, spans), SHORT).await;
    assert_eq!(stage.carried(), spans);
    stage
}

#[tokio::test]
async fn l_2_2_documents_that_one_process_leaves_another_sends() {
    let directory = tempfile::tempdir().unwrap();
    let spool = spool(directory.path());
    let mut first = ended(OutletKind::Xray, &[], 7).await;
    first.leave(Some(&spool));
    assert_eq!((files(&spool), &first.accounts("xray")["carried"]), (1, &json!(7)));

    let mut second = Stage::new().await;
    second.restore(&spool, Duration::ZERO);
    assert_eq!((files(&spool), second.carried()), (0, 7));
    second.flush(batch(2, 3)).await;
    let accounts = second.accounts("xray");
    assert_eq!(
        (&accounts["received"], &accounts["restored"], &accounts["sent"], &accounts["carried"]),
        (&json!(3), &json!(7), &json!(10), &json!(0))
    );
    let store = second.xray.store();
    let stored: Vec<Value> =
        store.documents().iter().map(|document| Value::Object(document.body.clone())).collect();
    let expected = documents(&batch(1, 7));
    for document in &expected {
        let document: Value = serde_json::from_str(&document.json).unwrap();
        assert!(stored.contains(&document), "as the first would have sent it: {document}");
    }
    assert_eq!(store.duplicates(), 0);
}

#[tokio::test]
async fn l_2_2_datagrams_and_otlp_spans_survive_too() {
    let directory = tempfile::tempdir().unwrap();
    let spool = spool(directory.path());
    let refused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nowhere = [
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", format!("http://{refused}/v1/traces")),
        ("AWS_XRAY_DAEMON_ADDRESS", refused.to_string()),
    ];
    for kind in [OutletKind::Otlp, OutletKind::Daemon] {
        let mut first = Stage::with(&[kind], &nowhere, BUFFER).await;
        // A closed port is known only after the first datagram.
        first.flush_within(batch(1, 5), SHORT).await;
        let waits = first.carried();
        assert!(waits >= 4, "{}: {waits}", kind.name());
        first.leave(Some(&spool));

        let mut second = Stage::with(&[kind], &nowhere, BUFFER).await;
        second.restore(&spool, Duration::ZERO);
        assert_eq!(second.carried(), waits, "{}", kind.name());
        second.leave(Some(&spool));
        assert_eq!(second.accounts(kind.name())["restored"], json!(waits));
        let mut third = Stage::with(&[kind], &nowhere, BUFFER).await;
        third.restore(&spool, Duration::ZERO);
        assert_eq!(third.carried(), waits, "{}: any number of times", kind.name());
    }
}

#[tokio::test]
async fn p2_what_cannot_be_left_or_is_too_old_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let good = spool(directory.path());
    let nowhere = Spool { directory: "/dev/null/spool".into(), ..good.clone() };
    for spool in [None, Some(&nowhere)] {
        let mut stage = ended(OutletKind::Xray, &[], 4).await;
        stage.leave(spool);
        let accounts = stage.accounts("xray");
        assert_eq!((&accounts["dropped"], &accounts["carried"]), (&json!({"not_spooled": 4}), &json!(0)));
        assert_eq!(stage.said("could not be kept for later"), usize::from(spool.is_some()));
    }
    let mut stage = ended(OutletKind::Xray, &[], 4).await;
    stage.leave(Some(&good));
    let mut late = Stage::new().await;
    late.restore(&good, Duration::from_mins(2));
    let accounts = late.accounts("xray");
    assert_eq!((&accounts["restored"], &accounts["dropped"]), (&json!(4), &json!({"spool_too_old": 4})));
    assert_eq!((late.carried(), files(&good)), (0, 0));
}

#[tokio::test]
async fn p2_a_smaller_buffer_drops_what_has_no_room_and_counts_it() {
    let directory = tempfile::tempdir().unwrap();
    let spool = spool(directory.path());
    let mut stage = ended(OutletKind::Xray, &[], 40).await;
    stage.leave(Some(&spool));
    let mut small = Stage::with(&[OutletKind::Xray], &[], 2000).await;
    small.restore(&spool, Duration::ZERO);
    let kept = small.carried();
    assert!(kept > 0 && kept < 40, "{kept}");
    assert_eq!(small.accounts("xray")["dropped"], json!({"buffer_full": 40 - kept}));
}

#[tokio::test]
async fn p2_a_file_whose_name_says_what_cannot_be_changes_no_account() {
    let directory = tempfile::tempdir().unwrap();
    let spool = spool(directory.path());
    let mut first = ended(OutletKind::Xray, &[], 4).await;
    first.leave(Some(&spool));
    let name = std::fs::read_dir(&spool.directory).unwrap().next().unwrap().unwrap().file_name();
    let name = name.to_str().unwrap().to_owned();
    let parts: Vec<&str> = name.split('-').collect();
    let file = |spans: &str| spool.directory.join(format!("{}-{}-{spans}-{}", parts[0], parts[1], parts[3]));
    std::fs::rename(spool.directory.join(&name), file("18446744073709551615")).unwrap();
    std::fs::write(file("18446744073709551614"), b"garbage").unwrap();
    let mut second = Stage::new().await;
    second.restore(&spool, Duration::ZERO);
    let accounts = second.accounts("xray");
    assert_eq!(
        (&accounts["restored"], &accounts["dropped"]),
        (&json!(4), &json!({})),
        "what can be read counts"
    );
    second.flush(batch(2, 1)).await;
    assert_eq!((second.sent(), files(&spool)), (5, 0));
}
