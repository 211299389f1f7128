//! X-Ray on a bad day, seen through the built layer.

use anyhow::Result;
use otel_xray_local::xray::Fault;
use otel_xray_tests::Stage;
use serde_json::{Value, json};
use std::time::Duration;

const FUNCTION: &str = "def handler(event, context):\n    return event\n";

fn events(count: u32) -> Vec<Value> {
    (0..count).map(|number| json!({"n": number})).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_tv_17_tv_18_pts_3_bet_31_trouble_of_every_kind_loses_only_what_is_refused() -> Result<()> {
    let stage = Stage::python(FUNCTION).await?;
    let faults = stage.xray.faults();
    faults.choose(|request| match request % 10 {
        1 => Some(Fault::Status(429, "ThrottledException")),
        3 => Some(Fault::Reset),
        4 => Some(Fault::Status(503, "ServiceUnavailable")),
        6 => Some(Fault::Delay(Duration::from_millis(20))),
        8 => Some(Fault::Close),
        _ => None,
    });
    // One in ten by the last digits of its id.
    let hit = |document: &Value| {
        let id = document["id"].as_str()?;
        Some(u64::from_str_radix(&id[12..], 16).ok()? % 10 == 0)
    };
    faults.refuse_documents(move |document| {
        hit(document).unwrap_or_default().then(|| ("InvalidTraceId", "told to".to_owned()))
    });
    let run = stage.run(&events(30)).await?;
    let accounts = run.accounts();
    let rejected = accounts["rejected"]["InvalidTraceId"].as_u64().unwrap_or_default();
    assert_eq!((&accounts["received"], &accounts["carried"]), (&json!(30), &json!(0)));
    assert_eq!(accounts["sent"].as_u64(), Some(30 - rejected));
    assert_eq!(stage.xray.store().duplicates(), 0);
    let losses = run.lines.iter().filter(|line| line.contains("otel_xray.losses")).count();
    assert_eq!(losses, usize::from(rejected > 0), "said while it happens, once a minute: {:?}", run.lines);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tel_1_tel_2_a_telemetry_record_is_sent_where_it_is_wanted() -> Result<()> {
    for (wanted, expected) in [("false", 0), ("true", 1)] {
        let mut stage = Stage::python(FUNCTION).await?;
        stage.set("OTEL_XRAY_TELEMETRY_RECORDS", wanted);
        let run = stage.run(&events(2)).await?;
        let requests = stage.xray.requests();
        let records: Vec<u16> =
            requests.iter().filter(|r| r.path == "/TelemetryRecords").map(|r| r.status).collect();
        assert_eq!(records, vec![200; expected]);
        assert_eq!(run.complaints(), Vec::<&String>::new());
    }
    Ok(())
}
