//! Everything at once, for some hundred flushes: the accounts balance, and what could be delivered has been.

use crate::stage::{Stage, batch, documents};
use otel_xray::invocation::Batch;
use otel_xray_local::xray::Fault;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

const FLUSHES: u32 = 200;

/// The same chance for the same seed and number.
fn chance(seed: u64, number: u64) -> u64 {
    let mut mixed =
        seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(number).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^= mixed >> 29;
    mixed = mixed.wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 32)) % 1000
}

fn trouble(seed: u64, request: u64) -> Option<Fault> {
    match chance(seed, request) {
        0..80 => Some(Fault::Status(429, "ThrottledException")),
        80..130 => Some(Fault::Status(503, "ServiceUnavailable")),
        130..180 => Some(Fault::Reset),
        180..220 => Some(Fault::Close),
        220..320 => Some(Fault::Delay(Duration::from_millis(3))),
        320..325 => Some(Fault::Hang),
        _ => None,
    }
}

/// How X-Ray likes a document, one in ten of which it does not.
fn refusal(seed: u64, id: &str) -> Option<&'static str> {
    let number = u64::from_str_radix(id, 16).unwrap_or_default();
    match chance(seed ^ 0xdead, number) {
        0..50 => Some("InvalidName"),
        50..100 => Some("InvalidTraceId"),
        _ => None,
    }
}

fn flush_of(seed: u64, trace: u32) -> Batch {
    batch(trace, 1 + chance(seed ^ 0xbeef, u64::from(trace)) % 30)
}

async fn storm(seed: u64) {
    let mut stage = Stage::new().await;
    stage.xray.faults().choose(move |request| trouble(seed, request));
    stage.xray.faults().refuse_documents(move |document| {
        let code = refusal(seed, document["id"].as_str()?)?;
        // Repairing helps where the name is to blame.
        (code == "InvalidTraceId" || document.get("metadata").is_some())
            .then(|| (code, "at random".to_owned()))
    });
    let mut expected: BTreeMap<String, String> = BTreeMap::new();
    let mut refused = 0;
    for trace in 1..=FLUSHES {
        for document in documents(&flush_of(seed, trace)) {
            let id = document.id.to_string();
            match refusal(seed, &id) {
                Some("InvalidTraceId") => refused += 1,
                _ => _ = expected.insert(id, document.json),
            }
        }
        stage.frozen += Duration::from_secs(2);
        stage.begin_invocation();
        stage.flush_within(flush_of(seed, trace), Duration::from_secs(1)).await;
    }
    // The weather clears, and what was carried over arrives.
    stage.xray.faults().choose(|_| None);
    stage.flush_at_last().await;

    let accounts = stage.accounts("xray");
    assert_eq!(stage.carried(), 0, "{accounts}");
    assert_eq!(accounts["rejected"]["InvalidTraceId"], refused, "{accounts}");
    assert_eq!(accounts["dropped"], serde_json::json!({}));
    assert_eq!(stage.sent(), expected.len() as u64);
    let mut stored = 0;
    for document in stage.xray.store().documents() {
        let sent: Value = serde_json::from_str(
            expected.get(&document.id).unwrap_or_else(|| panic!("not given: {document:?}")),
        )
        .unwrap();
        if refusal(seed, &document.id).is_none() {
            assert_eq!(Value::Object(document.body), sent, "exactly as sent");
        } else {
            assert_eq!(document.body.get("parent_id"), sent.get("parent_id"), "repaired, and the same span");
        }
        stored += 1;
    }
    assert_eq!(stored, expected.len(), "everything that could be delivered was");
    assert_eq!(stage.xray.store().duplicates(), 0, "and nothing twice");
    let requests = stage.requests();
    assert!(requests.iter().filter(|(status, _)| *status != 200).count() > 20, "there was trouble");
}

#[tokio::test]
async fn p2_pts_3_to_pts_8_bet_30_to_bet_34_seed_1() {
    storm(1).await;
}

#[tokio::test]
async fn p2_pts_3_to_pts_8_bet_30_to_bet_34_seed_2() {
    storm(2).await;
}

#[tokio::test]
async fn doc_3_an_answer_that_is_lost_is_the_only_reason_for_a_document_to_arrive_twice() {
    let mut stage = Stage::new().await;
    stage.xray.faults().add(&Fault::LoseAnswer, 1);
    stage.flush(batch(1, 7)).await;
    assert_eq!((stage.sent(), stage.stored(), stage.xray.store().duplicates()), (7, 7, 7));
}
