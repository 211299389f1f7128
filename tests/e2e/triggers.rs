//! What called the function, as X-Ray shows it: requests with their answers, and messages with their producers.

use anyhow::{Context as _, Result};
use otel_xray_tests::Stage;
use serde_json::{Value, json};

const API: &str = include_str!("../functions/python-api/app.py");
const CONSUMER: &str = include_str!("../functions/python-queue/consumer.py");

/// The event of a case of the shared table.
fn event(case: &str) -> Result<Value> {
    let path = format!("{}/triggers/cases/{case}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).with_context(|| path)?;
    Ok(serde_json::from_str::<Value>(&text)?["event"].take())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_through_api_gateway_shows_what_was_asked_and_answered() -> Result<()> {
    let mut stage = Stage::python(API).await?;
    stage.set("OTEL_XRAY_TRACING_MODE", "active");
    let mut events = Vec::new();
    for order in ["42", "43", "crash"] {
        let mut event = event("api-gateway-rest")?;
        event["pathParameters"]["id"] = json!(order);
        events.push(event);
    }
    let run = stage.run(&events).await?;
    let outcomes = [(200, false, false), (404, true, false), (500, false, true)];
    for (trace, (status, error, fault)) in stage.traces().iter().zip(outcomes) {
        let handler = trace.find("app.handler").expect("the handler's span");
        assert_eq!(handler.value("/http/request/method"), "POST");
        let url = handler.text("/http/request/url");
        assert!(
            url.starts_with("https://70ixmpl4fl.execute-api.us-east-2.amazonaws.com/Prod/orders/42?"),
            "{url}"
        );
        assert!(url.contains("token=REDACTED"), "{url}");
        assert_eq!(handler.text("/http/request/client_ip"), "52.255.255.12");
        assert_eq!(handler.value("/http/response/status"), status);
        assert_eq!((handler.flag("error"), handler.flag("fault")), (error, fault));
        assert_eq!(handler.text("/annotations/faas.trigger"), "http");
        assert_eq!(handler.text("/metadata/default/http.route"), "/orders/{id}");
    }
    assert_eq!(stage.traces().len(), 3);
    assert_eq!(run.complaints(), Vec::<&String>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sqs_2_sqs_3_a_batch_is_linked_to_each_of_its_producers() -> Result<()> {
    let mut stage = Stage::python(CONSUMER).await?;
    stage.set("OTEL_XRAY_TRACING_MODE", "active");
    stage.run(&[event("sqs-several-producers")?]).await?;
    let traces = stage.traces();
    assert_eq!(traces.len(), 1, "the batch's own trace");
    let handler = traces[0].find("app.handler").expect("the handler's span");
    let links = handler.value("/links").as_array().cloned().unwrap_or_default();
    let linked: Vec<&Value> = links.iter().map(|link| &link["trace_id"]).collect();
    let producers = [
        "1-65f1a2b3-0123456789abcdef01234567",
        "1-65f1a2b4-89abcdef0123456789abcdef",
        "1-65f1a2b5-fedcba9876543210fedcba98",
    ];
    assert_eq!(linked, producers);
    // None of the four messages is JSON.
    assert_eq!(handler.value("/annotations/aws.lambda.batch.failures"), 4);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_connects_where_nobody_traces_the_batch() -> Result<()> {
    let mut stage = Stage::python(CONSUMER).await?;
    stage.pass_through();
    let run = stage.run(&[event("sqs-one-message")?]).await?;
    let traces = stage.traces();
    assert_eq!(traces.len(), 1);
    assert_eq!(traces[0].id, "1-65f1a2b3-0123456789abcdef01234567");
    let segment = &traces[0].roots[0];
    assert_eq!((segment.name(), segment.text("/origin")), ("shop", "AWS::Lambda::Function"));
    assert_eq!(segment.text("/parent_id"), "1111111111111111");
    assert_eq!(segment.text("/annotations/faas.trigger"), "pubsub");
    assert_eq!(run.accounts()["sent"], 1);
    Ok(())
}
