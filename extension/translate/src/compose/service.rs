//! What the function's own segment says of the function: xray.md sections 3.1, 3.5 and 14.3.

use crate::attributes::key::{self, Key};
use crate::compose::subject::Subject;
use crate::document::fields::{Block, Field, cut_250};
use std::borrow::Cow;

/// Log groups that are listed; the resource in metadata has them all.
const MAX_LOG_GROUPS: usize = 10;

/// The `aws` block of the function's segment.
pub(crate) fn aws<'a>(subject: &Subject<'a>, block: &mut Block<'a>) {
    let (attributes, resource) = (&subject.attributes, subject.resource());
    let account = attributes
        .text(&[Key::AwsAccountId, Key::CloudAccountId])
        .or_else(|| resource.peek_text(&[Key::CloudAccountId]))
        .or_else(|| subject.function.account_id.as_deref().map(Cow::Borrowed));
    if let Some(account) = account {
        block.push("account_id", Field::Text(cut_250(account)));
    }
    if let Some(arn) = resource_arn(subject) {
        block.push("function_arn", Field::Text(arn));
    }
    let request_id = subject
        .invocation
        .map(|invocation| Cow::Borrowed(invocation.request_id.as_str()))
        .or_else(|| attributes.peek_text(&[Key::FaasInvocationId, Key::FaasExecution]));
    if let Some(request_id) = request_id {
        block.push("request_id", Field::Text(cut_250(request_id)));
    }
    let groups = log_groups(subject);
    if !groups.is_empty() {
        block.push("cloudwatch_logs", Field::Blocks(groups));
    }
    block.push("xray", Field::Block(xray(subject)));
}

/// By ARN, which names the group too, else by name (MAP-54); several may be joined with `&`.
fn log_groups<'a>(subject: &Subject<'a>) -> Vec<Block<'a>> {
    let resource = subject.resource();
    let split = |texts: Vec<&'a str>| {
        texts.into_iter().flat_map(|text| text.split('&')).filter(|text| !text.is_empty())
    };
    let mut groups: Vec<Block<'a>> = split(resource.texts(&[Key::AwsLogGroupArns]))
        .take(MAX_LOG_GROUPS)
        .map(|arn| {
            let mut group = Block::default();
            if let Some(name) = arn.split(':').nth(6) {
                group.push("log_group", Field::Text(cut_250(name.into())));
            }
            group.push("arn", Field::Text(cut_250(arn.into())));
            group
        })
        .collect();
    if groups.is_empty() {
        groups.extend(split(resource.texts(&[Key::AwsLogGroupNames])).take(MAX_LOG_GROUPS).map(|name| {
            let mut group = Block::default();
            group.push("log_group", Field::Text(cut_250(name.into())));
            group
        }));
    }
    groups
}

/// Who made the spans (MAP-55).
fn xray<'a>(subject: &Subject<'a>) -> Block<'a> {
    let resource = subject.resource();
    let mut block = Block::default();
    let sdk = resource.peek_text(&[Key::TelemetrySdkName]).unwrap_or(Cow::Borrowed("otel-xray"));
    let sdk = match resource.peek_text(&[Key::TelemetrySdkLanguage]) {
        Some(language) => Cow::Owned(format!("{sdk} for {language}")),
        None => sdk,
    };
    let is_own = sdk.starts_with("otel-xray");
    block.push("sdk", Field::Text(cut_250(sdk)));
    if let Some(version) = resource.peek_text(&[Key::TelemetrySdkVersion]) {
        block.push("sdk_version", Field::Text(cut_250(version)));
    }
    let automatic = is_own
        || resource.has_any(&[
            Key::TelemetryAutoVersion,
            Key::TelemetryDistroVersion,
            Key::TelemetryDistroName,
        ]);
    block.push("auto_instrumentation", Field::Flag(automatic));
    block
}

/// The `service` block.
pub(crate) fn block<'a>(subject: &Subject<'a>) -> Block<'a> {
    let resource = subject.resource();
    let function_version = Some(subject.function.version.as_str()).filter(|version| !version.is_empty());
    let fields = [
        (
            "version",
            resource
                .peek_text(&[Key::ServiceVersion, Key::ContainerImageTag])
                .or(function_version.map(Cow::Borrowed)),
        ),
        ("runtime", resource.peek_text(&[Key::ProcessRuntimeName, Key::TelemetrySdkLanguage])),
        ("runtime_version", resource.peek_text(&[Key::ProcessRuntimeVersion])),
    ];
    let mut block = Block::default();
    for (field, text) in fields {
        if let Some(text) = text {
            block.push(field, Field::Text(cut_250(text)));
        }
    }
    block
}

/// The function's ARN, as the span says or as Lambda gave it with the invocation.
pub(crate) fn resource_arn<'a>(subject: &Subject<'a>) -> Option<Cow<'a, str>> {
    let told = subject
        .attributes
        .text(key::FUNCTION_ARN)
        .or_else(|| subject.resource().peek_text(key::FUNCTION_ARN));
    told.or_else(|| subject.invocation.map(|invocation| Cow::Borrowed(invocation.function_arn.as_str())))
        .filter(|arn| !arn.is_empty())
        .map(cut_250)
}

/// Who the request was for (MAP-57).
pub(crate) fn user<'a>(subject: &Subject<'a>) -> Option<Cow<'a, str>> {
    subject.attributes.text(key::USER).map(cut_250)
}
