//! SQS by its JSON protocol: the operations that a function and a consumer need.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::call::{Call, Reply, reply};
use super::queue::{Message, Queue};
use super::resources::Resources;

/// The most messages of one batch or one receive.
const BATCH_LIMIT: usize = 10;
const BODY_LIMIT_BYTES: usize = 1024 * 1024;

/// Error code and message.
pub(super) type SqsError = (&'static str, String);

pub(super) async fn answer(resources: &Resources, call: &Call, operation: &str) -> Reply {
    const JSON: (&str, &str) = ("content-type", "application/x-amz-json-1.0");
    let outcome = match serde_json::from_slice::<Value>(&call.body) {
        Ok(input) => operate(resources, operation, &input, call.trace_header()).await,
        Err(error) => Err(("InvalidParameterValue", format!("not JSON: {error}"))),
    };
    match outcome {
        Ok(output) => reply(200, &[JSON], output.to_string()),
        Err((code, message)) => {
            let body = json!({"__type": format!("com.amazonaws.sqs#{code}"), "message": message});
            reply(400, &[JSON, ("x-amzn-query-error", &format!("{code};Sender"))], body.to_string())
        }
    }
}

async fn operate(
    resources: &Resources,
    operation: &str,
    input: &Value,
    header: Option<&str>,
) -> Result<Value, SqsError> {
    let text = |name: &str| input[name].as_str().unwrap_or_default();
    if operation == "GetQueueUrl" {
        let name = text("QueueName");
        resources.queue(name).ok_or_else(|| missing(name))?;
        return Ok(json!({"QueueUrl": resources.queue_url(name)}));
    }
    let queue = queue_of(resources, text("QueueUrl"))?;
    match operation {
        "SendMessage" => send(&queue, input, header),
        "SendMessageBatch" => send_batch(&queue, input, header),
        "ReceiveMessage" => Ok(receive(&queue, input).await),
        "DeleteMessage" => {
            queue.delete(text("ReceiptHandle"));
            Ok(json!({}))
        }
        "DeleteMessageBatch" => Ok(delete_batch(&queue, input)),
        "GetQueueAttributes" => Ok(json!({"Attributes": {
            "ApproximateNumberOfMessages": queue.waiting().len().to_string(),
            "QueueArn": Resources::queue_arn(&queue.name),
        }})),
        _ => Err(("UnsupportedOperation", format!("{operation} is not served here"))),
    }
}

/// The queue that a URL ends in.
pub(super) fn queue_of(resources: &Resources, url: &str) -> Result<Queue, SqsError> {
    let name = url.rsplit('/').next().unwrap_or_default();
    resources.queue(name).ok_or_else(|| missing(name))
}

fn missing(name: &str) -> SqsError {
    ("QueueDoesNotExist", format!("The specified queue does not exist: {name:?}"))
}

/// One message. Its trace header is what it says itself, else what the request came with.
pub(super) fn send(queue: &Queue, input: &Value, header: Option<&str>) -> Result<Value, SqsError> {
    let body = input["MessageBody"].as_str().filter(|body| !body.is_empty());
    let body = body.ok_or(("MissingParameter", "MessageBody is required".to_owned()))?;
    if body.len() > BODY_LIMIT_BYTES {
        return Err(("InvalidParameterValue", format!("a message has at most {BODY_LIMIT_BYTES} bytes")));
    }
    let own = input.pointer("/MessageSystemAttributes/AWSTraceHeader/StringValue").and_then(Value::as_str);
    let attributes = input["MessageAttributes"].as_object().cloned().unwrap_or_else(Map::new);
    let message = Message::new(body.to_owned(), attributes, own.or(header).map(str::to_owned));
    let answer = json!({"MessageId": message.id, "MD5OfMessageBody": message.md5_of_body()});
    if queue.send(message) { Ok(answer) } else { Err(("OverLimit", "the queue is full".to_owned())) }
}

/// Several; each succeeds or fails for itself.
pub(super) fn send_batch(queue: &Queue, input: &Value, header: Option<&str>) -> Result<Value, SqsError> {
    let entries = input["Entries"].as_array().cloned().unwrap_or_default();
    if entries.is_empty() {
        return Err(("EmptyBatchRequest", "there is no entry".to_owned()));
    }
    if entries.len() > BATCH_LIMIT {
        return Err(("TooManyEntriesInBatchRequest", format!("a batch has at most {BATCH_LIMIT} entries")));
    }
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for entry in &entries {
        match send(queue, entry, header) {
            Ok(mut sent) => {
                sent["Id"] = entry["Id"].clone();
                successful.push(sent);
            }
            Err((code, message)) => {
                failed
                    .push(json!({"Id": entry["Id"], "Code": code, "Message": message, "SenderFault": true}));
            }
        }
    }
    Ok(json!({"Successful": successful, "Failed": failed}))
}

async fn receive(queue: &Queue, input: &Value) -> Value {
    let asked = input["MaxNumberOfMessages"].as_u64().and_then(|count| usize::try_from(count).ok());
    let count = asked.unwrap_or(1).clamp(1, BATCH_LIMIT);
    let wait = Duration::from_secs(input["WaitTimeSeconds"].as_u64().unwrap_or(0).min(20));
    let received = tokio::time::timeout(wait, queue.receive_some(count)).await.unwrap_or_default();
    let messages: Vec<Value> = received
        .into_iter()
        .map(|(receipt, message)| {
            json!({
                "MessageId": message.id,
                "ReceiptHandle": receipt,
                "Body": message.body,
                "MD5OfBody": message.md5_of_body(),
                "Attributes": message.system_attributes(),
                "MessageAttributes": message.attributes,
            })
        })
        .collect();
    json!({ "Messages": messages })
}

fn delete_batch(queue: &Queue, input: &Value) -> Value {
    let entries = input["Entries"].as_array().cloned().unwrap_or_default();
    for entry in &entries {
        queue.delete(entry["ReceiptHandle"].as_str().unwrap_or_default());
    }
    let ids: Vec<Value> = entries.iter().map(|entry| json!({"Id": entry["Id"]})).collect();
    json!({"Successful": ids, "Failed": []})
}
