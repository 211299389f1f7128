//! Functions that reach each other, through Lambda's own API and through a queue: one connected picture.

use anyhow::{Context as _, Result};
use otel_xray_local::lambda::LambdaEnvironment;
use otel_xray_local::services::{LocalServices, Queue};
use otel_xray_local::xray::{Node, Trace};
use otel_xray_tests::{BOUND, Stage};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const CALLER: &str = include_str!("../functions/python-invoke/caller.py");
const CALLEE: &str = include_str!("../functions/python-invoke/callee.py");
const SENDER: &str = include_str!("../functions/python-queue/sender.py");
const CONSUMER: &str = include_str!("../functions/python-queue/consumer.py");

/// A function of this name under Active tracing.
async fn active(name: &str, source: &str) -> Result<Stage> {
    let mut stage = Stage::python(source).await?;
    name.clone_into(&mut stage.config.function_name);
    stage.set("OTEL_XRAY_TRACING_MODE", "active");
    Ok(stage)
}

/// Another function that writes into the X-Ray of the first.
async fn beside(first: &Stage, name: &str, source: &str) -> Result<Stage> {
    let mut stage = active(name, source).await?;
    stage.config.on_segments.clone_from(&first.config.on_segments);
    stage.set("AWS_ENDPOINT_URL_XRAY", &first.xray.url());
    Ok(stage)
}

fn pass_through(stage: &mut Stage) {
    stage.pass_through();
    stage.set("OTEL_XRAY_TRACING_MODE", "passthrough");
}

fn use_services(stage: &mut Stage, services: &LocalServices) {
    for (name, value) in services.variables() {
        stage.set(&name, &value);
    }
}

fn function_named<'a>(trace: &'a Trace, name: &str) -> &'a Node {
    let found = trace
        .nodes()
        .into_iter()
        .find(|node| node.name() == name && node.text("/origin") == "AWS::Lambda::Function");
    found.unwrap_or_else(|| panic!("no function {name} in {:?}", trace.nodes()))
}

fn child<'a>(node: &'a Node, name: &str) -> &'a Node {
    node.children
        .iter()
        .find(|child| child.name() == name)
        .unwrap_or_else(|| panic!("no {name} below {node:?}"))
}

async fn until_deleted(queue: &Queue, messages: usize) -> Result<()> {
    let taken = async {
        while queue.deleted() < messages {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(BOUND, taken).await;
    waited.with_context(|| format!("{} of {messages} messages were taken", queue.deleted()))
}

#[tokio::test(flavor = "multi_thread")]
async fn hdr_4_a_function_that_invokes_another_is_one_trace() -> Result<()> {
    let services = LocalServices::start().await?;
    let mut caller = active("caller", CALLER).await?;
    caller.set("CALLEE", "callee");
    use_services(&mut caller, &services);
    let target = beside(&caller, "callee", CALLEE).await?;
    let back = Arc::new(LambdaEnvironment::start(target.config.clone()).await?);
    services.add_function("callee", back.clone());
    let front = LambdaEnvironment::start(caller.config.clone()).await?;
    for event in [json!({"prices": [1, 2, 3]}), json!({"fail": true})] {
        let answer = front.invoke(event.to_string(), None).await?;
        assert!(answer.is_success());
        front.idle().await?;
        back.idle().await?;
    }
    front.shutdown().await?;
    back.shutdown().await?;

    let traces = caller.traces();
    assert_eq!(traces.len(), 2, "a trace for each invocation of the caller");
    for (trace, fails) in traces.iter().zip([false, true]) {
        assert_eq!(trace.orphans, [], "everything hangs where it belongs");
        assert_eq!(trace.roots.len(), 1, "one connected picture");
        let call = child(child(function_named(trace, "caller"), "app.handler"), "Lambda");
        assert_eq!((call.text("/namespace"), call.text("/aws/function_name")), ("aws", "callee"));
        let service = child(call, "callee");
        assert_eq!(service.text("/origin"), "AWS::Lambda");
        let handler = child(child(service, "callee"), "app.handler");
        assert_eq!(handler.flag("fault"), fails);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sqs_1_to_sqs_3_a_batch_is_linked_to_each_of_the_senders() -> Result<()> {
    let mut services = LocalServices::start().await?;
    let (queue, url) = services.add_queue("orders");
    let mut sender = active("sender", SENDER).await?;
    sender.set("QUEUE_URL", &url);
    use_services(&mut sender, &services);
    let consumer = beside(&sender, "consumer", CONSUMER).await?;
    let sending = LambdaEnvironment::start(sender.config.clone()).await?;
    for number in 0..2 {
        assert!(sending.invoke(json!({"items": [number]}).to_string(), None).await?.is_success());
        sending.idle().await?;
    }
    assert_eq!(queue.waiting().len(), 2);
    let consuming = Arc::new(LambdaEnvironment::start(consumer.config.clone()).await?);
    services.connect(&queue, consuming.clone(), 10);
    until_deleted(&queue, 2).await?;
    consuming.idle().await?;
    sending.shutdown().await?;
    consuming.shutdown().await?;

    let traces = sender.traces();
    assert_eq!(traces.len(), 3, "one for each sender, and the batch's own (SQS-2)");
    let batch = traces.iter().find(|trace| trace.nodes().iter().any(|node| node.name() == "consumer"));
    let handler = child(function_named(batch.expect("the batch's trace"), "consumer"), "app.handler");
    let links = handler.value("/links").as_array().cloned().unwrap_or_default();
    let sends: Vec<Value> = traces
        .iter()
        .filter(|trace| trace.id != batch.expect("found above").id)
        .map(|trace| {
            let send = child(child(function_named(trace, "sender"), "app.handler"), "SQS");
            json!([trace.id, send.id])
        })
        .collect();
    let linked: Vec<Value> = links.iter().map(|link| json!([link["trace_id"], link["id"]])).collect();
    assert_eq!(linked.len(), 2);
    assert!(sends.iter().all(|send| linked.contains(send)), "{linked:?} {sends:?}");
    assert_eq!(handler.value("/metadata/default/messaging.destination.name"), "orders");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_is_one_trace_where_lambda_traces_nothing_itself() -> Result<()> {
    let mut services = LocalServices::start().await?;
    let (queue, url) = services.add_queue("orders");
    let mut sender = active("sender", SENDER).await?;
    pass_through(&mut sender);
    sender.set("QUEUE_URL", &url);
    use_services(&mut sender, &services);
    let mut consumer = beside(&sender, "consumer", CONSUMER).await?;
    pass_through(&mut consumer);
    let upstream = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
    sender.run_with(&[json!({"items": [1]})], Some(upstream)).await?;
    let consuming = Arc::new(LambdaEnvironment::start(consumer.config.clone()).await?);
    services.connect(&queue, consuming.clone(), 10);
    until_deleted(&queue, 1).await?;
    consuming.idle().await?;
    consuming.shutdown().await?;

    let traces = sender.traces();
    assert_eq!(traces.len(), 1, "one connected picture");
    assert_eq!(traces[0].id, "1-5759e988-bd862e3fe1be46a994272793");
    let send = child(function_named(&traces[0], "sender"), "SQS");
    let segment = child(send, "consumer");
    assert_eq!(segment.text("/origin"), "AWS::Lambda::Function");
    Ok(())
}
