//! The `aws` block, and the facts of the function itself: xray.md sections 3.5 and 14.3.

use super::Subject;
use super::metadata::cut_250;
use super::name::Remote;
use serde_json::{Map, Value, json};

pub(super) fn block(subject: &Subject<'_>, is_segment: bool, remote: Remote) -> Option<Map<String, Value>> {
    let block = match (is_segment, remote) {
        (true, _) => of_function(subject),
        (false, Remote::Aws) => of_call(subject),
        (false, _) => return None,
    };
    (!block.is_empty()).then_some(block)
}

/// A call to an AWS service.
fn of_call(subject: &Subject<'_>) -> Map<String, Value> {
    let attributes = &subject.attributes;
    let mut block = Map::new();
    let mut put = |field: &str, names: &[&str]| {
        if let Some(text) = attributes.text(names) {
            block.insert(field.to_owned(), cut_250(text).into());
        }
    };
    put("request_id", &["aws.request_id", "aws.requestId", "aws.request.id"]);
    put("id_2", &["aws.extended_request_id"]);
    put("account_id", &["aws.account_id"]);
    put("queue_url", &["aws.sqs.queue.url", "aws.queue.url", "aws.queue_url", "messaging.url"]);
    put("topic_arn", &["aws.sns.topic.arn"]);
    put("bucket_name", &["aws.s3.bucket"]);
    put("key", &["aws.s3.key"]);
    put("function_name", &["aws.lambda.function.name", "faas.invoked_name"]);

    // `rpc.method` comes as `PutItem` and as `DynamoDB/PutItem`.
    if let Some(operation) = attributes.text(&["aws.operation", "rpc.method"]) {
        let bare = operation.rsplit('/').next().unwrap_or(&operation).to_owned();
        block.insert("operation".into(), cut_250(bare.into()).into());
    }
    if let Some(region) = attributes.text(&["cloud.region", "aws.region"]) {
        // Only where it is not the caller's own (xray.md section 3.5).
        if region != subject.function.region {
            block.insert("region".into(), cut_250(region).into());
        }
    }
    if let Some(retries) = attributes.integer(&["http.request.resend_count", "aws.retries"]) {
        block.insert("retries".into(), retries.into());
    }
    tables(subject, &mut block);
    let mut resources = Vec::new();
    for name in
        ["aws.stepfunctions.state_machine.arn", "aws.secretsmanager.secret.arn", "aws.kinesis.stream.arn"]
    {
        resources.extend(attributes.texts(&[name]));
    }
    if !resources.is_empty() {
        block.insert("resource_names".into(), json!(resources));
    }
    block
}

fn tables(subject: &Subject<'_>, block: &mut Map<String, Value>) {
    let attributes = &subject.attributes;
    let mut names = attributes.texts(&["aws.dynamodb.table_names", "aws.table.name", "aws.table_name"]);
    if names.is_empty()
        && attributes.text(&["db.system.name", "db.system"]).is_some_and(|s| s.ends_with("dynamodb"))
    {
        names = attributes.texts(&["db.collection.name"]);
    }
    match names.as_slice() {
        [] => {}
        [one] => drop(block.insert("table_name".into(), (*one).into())),
        several => drop(block.insert("table_names".into(), json!(several))),
    }
}

/// The function's own segment.
fn of_function(subject: &Subject<'_>) -> Map<String, Value> {
    let resource = &subject.resource;
    let mut block = Map::new();
    let account =
        resource.text(&["cloud.account.id"]).or_else(|| subject.attributes.text(&["cloud.account.id"]));
    if let Some(account) = account.or(subject.function.account_id.as_deref().map(Into::into)) {
        block.insert("account_id".into(), cut_250(account).into());
    }
    if let Some(arn) = resource_arn(subject) {
        block.insert("function_arn".into(), arn.into());
    }
    if let Some(invocation) = subject.invocation {
        block.insert("request_id".into(), invocation.request_id.clone().into());
    }
    let groups = resource.texts(&["aws.log.group.names"]);
    if !groups.is_empty() {
        let groups: Vec<Value> = groups.iter().map(|group| json!({"log_group": group})).collect();
        block.insert("cloudwatch_logs".into(), groups.into());
    }
    let mut xray = Map::new();
    let sdk = resource.text(&["telemetry.sdk.name"]).unwrap_or("otel-xray".into());
    let sdk = match resource.text(&["telemetry.sdk.language"]) {
        Some(language) => format!("{sdk} for {language}"),
        None => sdk.into_owned(),
    };
    xray.insert("sdk".into(), cut_250(sdk.into()).into());
    if let Some(version) = resource.text(&["telemetry.sdk.version"]) {
        xray.insert("sdk_version".into(), cut_250(version).into());
    }
    xray.insert("auto_instrumentation".into(), true.into());
    block.insert("xray".into(), xray.into());
    block
}

/// The `service` block of a segment.
pub(super) fn service(subject: &Subject<'_>) -> Option<Map<String, Value>> {
    let mut block = Map::new();
    let version = subject.resource.text(&["service.version"]).map(std::borrow::Cow::into_owned);
    let version =
        version.or_else(|| Some(subject.function.version.clone()).filter(|version| !version.is_empty()));
    if let Some(version) = version {
        block.insert("version".into(), cut_250(version.into()).into());
    }
    if let Some(runtime) = subject.resource.text(&["process.runtime.name", "telemetry.sdk.language"]) {
        block.insert("runtime".into(), cut_250(runtime).into());
    }
    if let Some(version) = subject.resource.text(&["process.runtime.version"]) {
        block.insert("runtime_version".into(), cut_250(version).into());
    }
    (!block.is_empty()).then_some(block)
}

/// The function's ARN, as Lambda gave it with the invocation.
pub(super) fn resource_arn(subject: &Subject<'_>) -> Option<String> {
    let told = subject.attributes.text(&["cloud.resource_id", "faas.id"]).map(std::borrow::Cow::into_owned);
    told.or_else(|| subject.invocation.map(|i| i.function_arn.clone()).filter(|arn| !arn.is_empty()))
}
