//! An event source mapping: takes messages from a queue and invokes a function with them.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::queue::{Message, Queue};
use super::resources::Resources;
use crate::lambda::{Answer, LambdaEnvironment};

/// Runs until the function's environment has ended. The invocation has no caller of its own: what the senders' traces
/// are stands in the records.
pub(super) async fn run(queue: Queue, function: Arc<LambdaEnvironment>, batch_size: usize) {
    loop {
        let batch = queue.receive_some(batch_size).await;
        let records: Vec<Value> =
            batch.iter().map(|(receipt, message)| record(&queue.name, receipt, message)).collect();
        let Ok(answer) = function.invoke(json!({ "Records": records }).to_string(), None).await else {
            for (receipt, _) in &batch {
                queue.give_back(receipt);
            }
            return;
        };
        let failed = failures(&answer);
        for (receipt, message) in &batch {
            if failed.as_ref().is_none_or(|failed| failed.contains(&message.id)) {
                queue.give_back(receipt);
            } else {
                queue.delete(receipt);
            }
        }
    }
}

/// The ids in `batchItemFailures`; none when the whole batch failed.
fn failures(answer: &Answer) -> Option<BTreeSet<String>> {
    if !answer.is_success() {
        return None;
    }
    let body: Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
    let failures = body["batchItemFailures"].as_array().cloned().unwrap_or_default();
    Some(failures.iter().filter_map(|one| one["itemIdentifier"].as_str().map(str::to_owned)).collect())
}

fn record(queue: &str, receipt: &str, message: &Message) -> Value {
    let attributes = message.attributes.iter().map(|(name, value)| {
        let attribute = json!({
            "dataType": value["DataType"],
            "stringValue": value["StringValue"],
            "binaryValue": value["BinaryValue"],
            "stringListValues": [],
            "binaryListValues": [],
        });
        (name.clone(), attribute)
    });
    json!({
        "messageId": message.id,
        "receiptHandle": receipt,
        "body": message.body,
        "attributes": message.system_attributes(),
        "messageAttributes": attributes.collect::<serde_json::Map<_, _>>(),
        "md5OfBody": message.md5_of_body(),
        "eventSource": "aws:sqs",
        "eventSourceARN": Resources::queue_arn(queue),
        "awsRegion": Resources::region(),
    })
}
