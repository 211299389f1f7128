//! X-Ray itself fails: the function does not notice, and no trace is lost.

use super::{BOTH, Tracing, UPSTREAM, ends, stage};
use anyhow::Result;
use otel_xray_local::xray::Fault;
use serde_json::{Value, json};
use std::time::Duration;

const FUNCTION: &str = "def handler(event, context):\n    return event\n";

#[tokio::test(flavor = "multi_thread")]
async fn t_5_a_call_to_xray_that_hangs_harms_nobody_and_loses_nothing() -> Result<()> {
    for tracing in BOTH {
        let events: Vec<Value> = (0..3).map(|number| json!({"n": number})).collect();
        let ended = ends(FUNCTION, tracing, &events, |stage| {
            stage.set("OTEL_XRAY_FLUSH_TIMEOUT_MS", "1000");
            stage.xray.faults().add(&Fault::Delay(Duration::from_mins(1)), 1);
        })
        .await?;
        assert!(ended.run.answers.iter().all(otel_xray_local::lambda::Answer::is_success));
        let accounts = ended.run.accounts();
        assert_eq!((&accounts["received"], &accounts["sent"]), (&json!(3), &json!(3)), "{tracing:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn xray_that_is_down_for_three_invocations_gets_their_traces_when_it_is_back() -> Result<()> {
    for tracing in BOTH {
        let stage = stage(FUNCTION, tracing).await?;
        let faults = stage.xray.faults();
        // Every request fails, the tries again included, until three invocations have gone by.
        faults.choose(|_| Some(Fault::Status(503, "ServiceUnavailable")));
        let environment = otel_xray_local::lambda::LambdaEnvironment::start(stage.config.clone()).await?;
        let invoke = async |number: u32| {
            let upstream = (tracing == Tracing::PassThrough)
                .then(|| otel_xray_local::lambda::TraceHeader::parse(UPSTREAM));
            let answer = environment.invoke(json!({"n": number}).to_string(), upstream).await?;
            environment.idle().await?;
            anyhow::Ok(answer.payload)
        };
        for number in 0..3 {
            assert_eq!(invoke(number).await?, format!("{{\"n\": {number}}}"));
        }
        let handlers = || {
            let mut found = 0;
            for trace in stage.traces() {
                found += trace
                    .nodes()
                    .iter()
                    .filter(|node| node.value("/annotations/faas.invocation_id") != &json!(null))
                    .count();
            }
            found
        };
        assert_eq!(handlers(), 0, "{tracing:?}");
        faults.clear();
        invoke(3).await?;
        environment.shutdown().await?;
        assert_eq!(handlers(), 4, "{tracing:?}");
    }
    Ok(())
}
