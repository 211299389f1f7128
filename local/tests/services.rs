//! Two functions and a queue: one function reaches another by `Invoke` and by SQS, the trace header with it. The test
//! with a real SDK needs `OTEL_XRAY_TEST_PYTHON`, an interpreter with `awslambdaric` 4 or newer and `boto3`; without it it
//! says so and passes.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use otel_xray_local::lambda::{
    Config, LambdaEnvironment, RuntimeClient, RuntimeEvent, RuntimeKind, ScriptedRuntime,
};
use otel_xray_local::services::{LocalServices, Queue};
use serde_json::{Value, json};
use tempfile::TempDir;

const HEADER: &str =
    "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0;Lineage=1:a:0";

type Events = Arc<Mutex<Vec<RuntimeEvent>>>;

/// A function that keeps its events and answers by `handler`.
async fn function(
    handler: impl Fn(&RuntimeEvent) -> Result<Vec<u8>, &'static str> + Send + Sync + Copy + 'static,
) -> (Arc<LambdaEnvironment>, Events, TempDir) {
    let layer = TempDir::new().unwrap();
    let events = Events::default();
    let kept = events.clone();
    let script = ScriptedRuntime::new(move |client| {
        let kept = kept.clone();
        async move {
            loop {
                let Ok(event) = client.next().await else { return 1 };
                kept.lock().unwrap().push(event.clone());
                let answered = match handler(&event) {
                    Ok(payload) => client.respond(&event.request_id, payload).await,
                    Err(message) => client.fail(&event.request_id, "Refused", message, None).await,
                };
                if answered.is_err() {
                    return 1;
                }
            }
        }
    });
    let mut config = Config::new(layer.path(), RuntimeKind::Scripted(script));
    config.task_dir = layer.path().into();
    config.timeout = Duration::from_mins(1);
    (Arc::new(LambdaEnvironment::start(config).await.unwrap()), events, layer)
}

fn echo(event: &RuntimeEvent) -> Result<Vec<u8>, &'static str> {
    if &event.payload[..] == b"\"fail\"" { Err("told to") } else { Ok(event.payload.to_vec()) }
}

/// A request to the services.
async fn call(
    services: &LocalServices,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (StatusCode, HeaderMap, String) {
    let api = services.url().strip_prefix("http://").unwrap().parse().unwrap();
    let client = RuntimeClient { api };
    let (status, headers, body) =
        client.call(Method::POST, path, headers, body.to_owned().into()).await.unwrap();
    (status, headers, String::from_utf8(body.to_vec()).unwrap())
}

async fn sqs(
    services: &LocalServices,
    operation: &str,
    input: Value,
    header: Option<&str>,
) -> (StatusCode, Value) {
    let target = format!("AmazonSQS.{operation}");
    let mut headers = vec![("X-Amz-Target", target.as_str())];
    headers.extend(header.map(|header| ("X-Amzn-Trace-Id", header)));
    let (status, _, body) = call(services, "/", &headers, &input.to_string()).await;
    (status, serde_json::from_str(&body).unwrap())
}

async fn until(what: &str, reached: impl Fn() -> bool) {
    let wait = async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(3), wait).await.expect(what);
}

#[tokio::test]
async fn invoke_answers_as_lambda_does_and_passes_the_header_on() {
    let services = LocalServices::start().await.unwrap();
    let (environment, events, _layer) = function(echo).await;
    services.add_function("back", environment);
    let path =
        "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A123456789012%3Afunction%3Aback/invocations";
    let trace = [("X-Amzn-Trace-Id", HEADER)];
    let (status, headers, body) = call(&services, path, &trace, r#"{"a":1}"#).await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, r#"{"a":1}"#));
    assert_eq!(headers["x-amz-executed-version"], "$LATEST");
    assert_eq!(headers.get("x-amz-function-error"), None);
    assert_eq!(events.lock().unwrap()[0].trace_header.as_deref(), Some(HEADER), "unsampled: unchanged");
    assert_eq!(headers["x-amzn-requestid"], events.lock().unwrap()[0].request_id);

    let path = "/2015-03-31/functions/back/invocations";
    let (status, headers, body) = call(&services, path, &[], "\"fail\"").await;
    assert_eq!((status, &headers["x-amz-function-error"]), (StatusCode::OK, &"Unhandled".parse().unwrap()));
    assert!(body.contains("told to"), "{body}");
    let asynchronous = [("X-Amz-Invocation-Type", "Event")];
    assert_eq!(call(&services, path, &asynchronous, "7").await.0, StatusCode::ACCEPTED);
    until("the event is delivered", || events.lock().unwrap().len() == 3).await;
    assert_eq!(
        call(&services, path, &[("X-Amz-Invocation-Type", "DryRun")], "").await.0,
        StatusCode::NO_CONTENT
    );
    let (status, headers, _) = call(&services, "/2015-03-31/functions/none/invocations", &[], "{}").await;
    assert_eq!(
        (status, &headers["x-amzn-errortype"]),
        (StatusCode::NOT_FOUND, &"ResourceNotFoundException".parse().unwrap())
    );
}

#[tokio::test]
async fn sqs_keeps_the_trace_header_of_the_request_or_of_the_message() {
    let services = LocalServices::start().await.unwrap();
    let (queue, url) = services.add_queue("orders");
    let own = json!({"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=own"}});
    let message = json!({"QueueUrl": url, "MessageBody": "one"});
    let (status, sent) = sqs(&services, "SendMessage", message, Some(HEADER)).await;
    assert_eq!(
        (status, &sent["MD5OfMessageBody"]),
        (StatusCode::OK, &json!("f97c5d29941bfb1b2fdab0874906ab82"))
    );
    let batch = json!({"QueueUrl": url, "Entries": [
        {"Id": "a", "MessageBody": "two", "MessageSystemAttributes": own},
        {"Id": "b", "MessageBody": ""},
        {"Id": "c", "MessageBody": "three"},
    ]});
    let (_, sent) = sqs(&services, "SendMessageBatch", batch, None).await;
    let ids = |list: &Value| list.as_array().unwrap().iter().map(|one| one["Id"].clone()).collect::<Vec<_>>();
    assert_eq!(
        (ids(&sent["Successful"]), ids(&sent["Failed"])),
        (vec![json!("a"), json!("c")], vec![json!("b")])
    );

    // The older protocol.
    let form = format!(
        "Action=SendMessage&QueueUrl={url}&MessageBody=four+%26&MessageSystemAttribute.1.Name=AWSTraceHeader\
         &MessageSystemAttribute.1.Value.DataType=String&MessageSystemAttribute.1.Value.StringValue=Root%3Dform"
    );
    let (status, _, body) = call(&services, "/", &[("X-Amzn-Trace-Id", HEADER)], &form).await;
    assert!(status == StatusCode::OK && body.contains("<SendMessageResult><MessageId>"), "{body}");
    let form = "Action=SendMessageBatch&SendMessageBatchRequestEntry.1.Id=x&SendMessageBatchRequestEntry.1.MessageBody=five";
    let (_, _, body) = call(&services, "/123456789012/orders", &[("X-Amzn-Trace-Id", HEADER)], form).await;
    assert!(body.contains("<SendMessageBatchResultEntry><Id>x</Id>"), "{body}");
    let (status, _, body) =
        call(&services, "/123456789012/none", &[], "Action=SendMessage&MessageBody=x").await;
    assert!(status == StatusCode::BAD_REQUEST && body.contains("<Code>QueueDoesNotExist</Code>"), "{body}");

    let kept: Vec<_> =
        queue.waiting().into_iter().map(|message| (message.body, message.trace_header)).collect();
    let expected = [
        ("one", Some(HEADER)),
        ("two", Some("Root=own")),
        ("three", None),
        ("four &", Some("Root=form")),
        ("five", Some(HEADER)),
    ];
    assert_eq!(kept, expected.map(|(body, header)| (body.to_owned(), header.map(str::to_owned))));

    let input = json!({"QueueUrl": url, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 1});
    let (_, received) = sqs(&services, "ReceiveMessage", input.clone(), None).await;
    let messages = received["Messages"].as_array().unwrap();
    assert_eq!(messages.len(), 5);
    assert_eq!(messages[0]["Attributes"]["AWSTraceHeader"], HEADER);
    let receipt = json!({"QueueUrl": url, "ReceiptHandle": messages[0]["ReceiptHandle"]});
    sqs(&services, "DeleteMessage", receipt, None).await;
    assert_eq!((queue.deleted(), queue.depth()), (1, 4));
    let (status, error) = sqs(&services, "SendMessage", json!({"QueueUrl": "http://x/none"}), None).await;
    assert_eq!(
        (status, &error["__type"]),
        (StatusCode::BAD_REQUEST, &json!("com.amazonaws.sqs#QueueDoesNotExist"))
    );
}

/// Sends messages, and gives them to the function.
async fn delivered(
    handler: impl Fn(&RuntimeEvent) -> Result<Vec<u8>, &'static str> + Send + Sync + Copy + 'static,
    bodies: &[&str],
) -> (Queue, Events, LocalServices) {
    let mut services = LocalServices::start().await.unwrap();
    let (queue, url) = services.add_queue("orders");
    for body in bodies {
        let attributes = json!({"kind": {"DataType": "String", "StringValue": "test"}});
        let message = json!({"QueueUrl": url, "MessageBody": body, "MessageAttributes": attributes});
        sqs(&services, "SendMessage", message, Some(HEADER)).await;
    }
    let (environment, events, _layer) = function(handler).await;
    services.connect(&queue, environment, 2);
    until("every message is dealt with", || queue.depth() == 0).await;
    (queue, events, services)
}

#[tokio::test]
async fn an_event_source_delivers_batches_and_deletes_what_went_well() {
    let (queue, events, _services) = delivered(|_| Ok(b"null".to_vec()), &["one", "two", "three"]).await;
    assert_eq!((queue.deleted(), queue.dead_letters().len()), (3, 0));
    let events: Vec<Value> =
        events.lock().unwrap().iter().map(|event| serde_json::from_slice(&event.payload).unwrap()).collect();
    let sizes: Vec<_> = events.iter().map(|event| event["Records"].as_array().unwrap().len()).collect();
    assert_eq!(sizes, [2, 1]);
    let record = &events[0]["Records"][0];
    assert_eq!((&record["body"], &record["eventSource"]), (&json!("one"), &json!("aws:sqs")));
    assert_eq!(record["attributes"]["AWSTraceHeader"], HEADER);
    assert_eq!(record["attributes"]["ApproximateReceiveCount"], "1");
    assert_eq!(record["messageAttributes"]["kind"]["stringValue"], "test");
    assert_eq!(record["eventSourceARN"], "arn:aws:sqs:us-east-1:123456789012:orders");
}

#[tokio::test]
async fn messages_that_fail_come_again_and_are_put_aside_in_the_end() {
    let partly = |event: &RuntimeEvent| -> Result<Vec<u8>, &'static str> {
        let event: Value = serde_json::from_slice(&event.payload).unwrap();
        let bad = event["Records"].as_array().unwrap().iter().filter(|record| record["body"] == "bad");
        let failures: Vec<_> = bad.map(|record| json!({"itemIdentifier": record["messageId"]})).collect();
        Ok(json!({ "batchItemFailures": failures }).to_string().into_bytes())
    };
    let (queue, events, _services) = delivered(partly, &["good", "bad"]).await;
    let dead_letters: Vec<_> = queue.dead_letters().into_iter().map(|message| message.body).collect();
    assert_eq!((queue.deleted(), dead_letters, events.lock().unwrap().len()), (1, vec!["bad".to_owned()], 3));
    let (queue, events, _services) = delivered(|_| Err("no"), &["one", "two"]).await;
    assert_eq!((queue.deleted(), queue.dead_letters().len(), events.lock().unwrap().len()), (0, 2, 3));
}

const FRONT: &str = r#"
import json, os
import boto3

def handler(event, context):
    answer = boto3.client("lambda").invoke(FunctionName="back", Payload=json.dumps(event))
    sqs = boto3.client("sqs")
    sqs.send_message(QueueUrl=event["queue"], MessageBody="one")
    sqs.send_message_batch(QueueUrl=event["queue"], Entries=[{"Id": "a", "MessageBody": "two"}])
    return {"back": json.load(answer["Payload"]), "trace": os.environ["_X_AMZN_TRACE_ID"]}
"#;

#[tokio::test]
async fn a_real_sdk_finds_the_other_function_and_the_queue() {
    let Ok(python) = std::env::var("OTEL_XRAY_TEST_PYTHON") else {
        println!("skipped: OTEL_XRAY_TEST_PYTHON does not name a Python with awslambdaric and boto3");
        return;
    };
    let mut services = LocalServices::start().await.unwrap();
    let (queue, url) = services.add_queue("orders");
    let (back, events, _layer) = function(echo).await;
    services.add_function("back", back.clone());
    let task = TempDir::new().unwrap();
    fs::write(task.path().join("app.py"), FRONT).unwrap();
    let mut config = Config::new(task.path(), RuntimeKind::python(python));
    config.task_dir = task.path().into();
    config.timeout = Duration::from_mins(1);
    config.init_limit = Duration::from_mins(1);
    config.variables.extend(services.variables());
    let front = LambdaEnvironment::start(config).await.unwrap();
    let answer = front.invoke(json!({ "queue": url }).to_string(), None).await.unwrap();
    let lines = front.event_log().lines(&otel_xray_local::lambda::Origin::Runtime);
    assert!(answer.is_success(), "{:?} {lines:?}", answer.error);
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    assert_eq!(answer["back"], json!({ "queue": url }));
    // botocore passes its own environment's header on.
    let root = answer["trace"].as_str().unwrap().split(';').next().unwrap().to_owned();
    assert!(events.lock().unwrap()[0].trace_header.as_ref().unwrap().contains(&root));
    services.connect(&queue, back, 10);
    until("both messages are delivered", || queue.deleted() == 2).await;
    let event = String::from_utf8(events.lock().unwrap()[1].payload.to_vec()).unwrap();
    assert!(event.contains(&root), "{event}");
}
