//! The `aws` block of a call to an AWS service: xray.md sections 3.5 and 14.3.

use crate::attributes::key::{self, Key};
use crate::attributes::texts_of;
use crate::compose::subject::Subject;
use crate::document::fields::{Block, Field, cut_250};
use std::borrow::Cow;

/// Names of one list that become part of a field.
const MAX_NAMES: usize = 50;

/// Fields that are the text of one attribute.
const TEXTS: &[(&str, &[Key])] = &[
    ("request_id", key::AWS_REQUEST_ID),
    ("id_2", key::AWS_EXTENDED_ID),
    ("account_id", &[Key::AwsAccountId]),
    ("queue_url", key::QUEUE_URL),
    ("queue_name", &[Key::SqsQueueName]),
    ("topic_arn", &[Key::AwsSnsTopicArn]),
    ("bucket_name", &[Key::AwsS3Bucket]),
    ("key", &[Key::AwsS3Key]),
    ("copy_source", &[Key::AwsS3CopySource]),
    ("function_name", key::CALLED_FUNCTION),
];

/// The block of a call. Where to look is what the call's own attributes say, so the order is that of a reader's
/// questions: what was called, on what, and how it went.
pub(crate) fn fill<'a>(subject: &Subject<'a>, name: &str, block: &mut Block<'a>) {
    let attributes = &subject.attributes;
    // `rpc.method` comes as `PutItem` and as `DynamoDB/PutItem` (BET-16).
    let operation = attributes.text(key::AWS_OPERATION).map(|operation| after_slash(operation));
    let operation = operation
        .or_else(|| attributes.text(&[Key::GenAiOperation]))
        .or_else(|| attributes.text(key::MESSAGING_OPERATION));
    if let Some(operation) = operation {
        block.push("operation", Field::Text(cut_250(operation)));
    }
    if let Some(region) = attributes.text(key::AWS_REGION) {
        // Only where it is not the caller's own (xray.md section 3.5).
        if region != subject.function.region.as_str() {
            block.push("region", Field::Text(cut_250(region)));
        }
    }
    for (field, keys) in TEXTS {
        if let Some(text) = attributes.text(keys) {
            block.push(*field, Field::Text(cut_250(text)));
        }
    }
    // With the query protocol, the URL that an SDK for Node.js calls is the queue's.
    if name == "SQS"
        && block.get("queue_url").is_none()
        && let Some(url) = attributes.text(key::URL)
        && is_queue(&url)
    {
        block.push("queue_url", Field::Text(cut_250(url)));
    }
    tables(subject, block);
    messages(subject, block);
    resources(subject, block);
    if let Some(retries) = attributes.integer(key::AWS_RETRIES).filter(|retries| *retries > 0) {
        block.push("retries", Field::Integer(retries));
    }
}

/// Whether the URL has an account and a name. With the JSON protocol it is that of the service.
fn is_queue(url: &str) -> bool {
    let path = url.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
    path.split('?').next().is_some_and(|path| path.split('/').filter(|part| !part.is_empty()).count() >= 2)
}

fn after_slash(text: Cow<'_, str>) -> Cow<'_, str> {
    let Some((_, bare)) = text.rsplit_once('/') else { return text };
    match &text {
        Cow::Borrowed(borrowed) => Cow::Borrowed(&borrowed[borrowed.len() - bare.len()..]),
        Cow::Owned(_) => Cow::Owned(bare.to_owned()),
    }
}

/// A list of names. One that is too long to be a field stays in metadata as a whole.
fn names<'a>(subject: &Subject<'a>, keys: &[Key]) -> Vec<&'a str> {
    let attributes = &subject.attributes;
    let names = keys.iter().find_map(|key| attributes.peek(*key)).map_or_else(Vec::new, texts_of);
    if names.len() <= MAX_NAMES {
        attributes.get(keys);
        names
    } else {
        names.into_iter().take(MAX_NAMES).collect()
    }
}

fn tables<'a>(subject: &Subject<'a>, block: &mut Block<'a>) {
    let attributes = &subject.attributes;
    let mut names = names(subject, key::TABLE);
    if names.is_empty()
        && attributes.peek_text(key::DB_SYSTEM).is_some_and(|system| system.ends_with("dynamodb"))
    {
        attributes.spend(key::DB_SYSTEM);
        names = self::names(subject, &[Key::DbCollectionName]);
    }
    match names.as_slice() {
        [] => {}
        [one] => block.push("table_name", Field::Text(cut_250((*one).into()))),
        several => {
            let names = several.iter().map(|name| cut_250((*name).into())).collect();
            block.push("table_names", Field::Texts(names));
        }
    }
}

/// Queues and topics as the messaging conventions name them, where nothing named them better.
fn messages<'a>(subject: &Subject<'a>, block: &mut Block<'a>) {
    let attributes = &subject.attributes;
    let Some(system) = attributes.peek_text(&[Key::MessagingSystem]) else { return };
    if let Some(destination) = attributes.peek_text(key::DESTINATION) {
        let field = match &*system {
            "aws_sqs" | "aws.sqs" | "AmazonSQS" => "queue_name",
            "aws_sns" | "aws.sns" if destination.starts_with("arn:") => "topic_arn",
            _ => return,
        };
        if block.get(field).is_none() {
            attributes.spend(key::DESTINATION);
            block.push(field, Field::Text(cut_250(destination)));
        }
    }
    if let Some(id) = attributes.text(key::MESSAGE_ID) {
        block.push("message_id", Field::Text(cut_250(id)));
    }
    if let Some(count) = attributes.integer(&[Key::MessagingBatchCount]) {
        block.push("message_count", Field::Integer(count));
    }
}

fn resources<'a>(subject: &Subject<'a>, block: &mut Block<'a>) {
    let attributes = &subject.attributes;
    let arns: Vec<_> = key::RESOURCE_ARNS
        .iter()
        .filter(|key| attributes.has(**key))
        .flat_map(|key| names(subject, &[*key]))
        .map(|arn| cut_250(arn.into()))
        .collect();
    let arns = match (arns.is_empty(), attributes.text(&[Key::AwsKinesisStreamName])) {
        (true, Some(stream)) => vec![cut_250(stream)],
        _ => arns,
    };
    if !arns.is_empty() {
        block.push("resource_names", Field::Texts(arns));
    }
}
