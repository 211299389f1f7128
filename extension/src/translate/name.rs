//! Names and namespaces: BET-14 to BET-16, NAME-1 to NAME-3.

use super::Subject;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use std::borrow::Cow;
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory as _};

/// Characters of a name that X-Ray keeps (LIM-6).
const MAX_CHARS: usize = 200;

/// What a span calls, if it calls something outside the function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remote {
    Aws,
    Other,
    No,
}

impl Remote {
    pub(super) fn namespace(self) -> Option<&'static str> {
        match self {
            Self::Aws => Some("aws"),
            Self::Other => Some("remote"),
            Self::No => None,
        }
    }
}

pub(super) fn remote_kind(subject: &Subject<'_>) -> Remote {
    if !matches!(subject.kind, SpanKind::Client | SpanKind::Producer) {
        return Remote::No;
    }
    let attributes = &subject.attributes;
    let system = attributes.text(&["rpc.system.name", "rpc.system"]);
    let is_aws = system.as_deref() == Some("aws-api")
        || attributes.has("aws.service")
        || attributes.has("rpc.service")
            && (attributes.has("aws.request_id") || attributes.has("aws.requestId"));
    if is_aws { Remote::Aws } else { Remote::Other }
}

/// The name before it is cleaned.
pub(super) fn name(subject: &Subject<'_>, is_segment: bool, remote: Remote) -> String {
    if is_segment {
        return segment_name(subject);
    }
    let attributes = &subject.attributes;
    match remote {
        Remote::No => subject.span.name.clone(),
        Remote::Aws => attributes
            .text(&["aws.remote.service", "aws.service", "rpc.service"])
            .map_or_else(|| subject.span.name.clone(), |service| aws_service_name(&service)),
        Remote::Other => attributes
            .text(&["aws.remote.service", "service.peer.name", "peer.service"])
            .map(Cow::into_owned)
            .or_else(|| database_name(subject))
            .or_else(|| attributes.text(&["messaging.destination.name", "rpc.service"]).map(Cow::into_owned))
            .or_else(|| {
                attributes.text(&["url.full", "http.url"]).and_then(|url| host_of(&url).map(str::to_owned))
            })
            .or_else(|| {
                attributes.text(&["server.address", "net.peer.name", "http.host"]).map(Cow::into_owned)
            })
            .unwrap_or_else(|| subject.span.name.clone()),
    }
}

/// Inside Lambda the function's segment has the function's name, so that the map shows one node (P6, MAP-S1).
fn segment_name(subject: &Subject<'_>) -> String {
    if !subject.function.name.is_empty() {
        return subject.function.name.clone();
    }
    let service = subject.resource.text(&["service.name"]);
    match service.filter(|name| !name.starts_with("unknown_service")) {
        Some(name) => name.into_owned(),
        None => subject.span.name.clone(),
    }
}

fn database_name(subject: &Subject<'_>) -> Option<String> {
    let attributes = &subject.attributes;
    let database = attributes.text(&["db.namespace", "db.name"])?;
    match attributes.text(&["server.address", "net.peer.name", "net.peer.ip"]) {
        Some(host) => Some(format!("{database}@{host}")),
        None => Some(database.into_owned()),
    }
}

/// The spelling X-Ray knows (BET-16, MAP-S5): no prefix, no blanks.
fn aws_service_name(service: &str) -> String {
    let mut bare = service;
    for prefix in ["AWS.SDK.", "AWS::", "Amazon ", "AWS "] {
        bare = bare.strip_prefix(prefix).unwrap_or(bare);
    }
    let known = match bare.to_ascii_lowercase().replace([' ', '-'], "").as_str() {
        "dynamodb" => "DynamoDB",
        "sqs" => "SQS",
        "sns" => "SNS",
        "s3" => "S3",
        "lambda" => "Lambda",
        "kinesis" => "Kinesis",
        "sts" => "STS",
        "ssm" => "SSM",
        "kms" => "KMS",
        "secretsmanager" => "SecretsManager",
        "sfn" | "stepfunctions" | "states" => "SFN",
        "eventbridge" | "events" => "EventBridge",
        "bedrockruntime" => "BedrockRuntime",
        _ => return bare.to_owned(),
    };
    known.to_owned()
}

/// The host of a URL, without user and port.
pub(super) fn host_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host_port = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host_port.strip_prefix('[') {
        Some(v6) => v6.split(']').next()?,
        None => host_port.split(':').next()?,
    };
    (!host.is_empty()).then_some(host)
}

/// Keeps what X-Ray allows in a name, at most 200 characters; `span` when nothing remains.
pub(super) fn clean(name: &str) -> String {
    let kept: String = name.chars().filter(|c| is_allowed(*c)).collect();
    let cut: String = kept.trim().chars().take(MAX_CHARS).collect();
    let cut = cut.trim_end();
    if cut.is_empty() { "span".to_owned() } else { cut.to_owned() }
}

/// Letters, numbers, separators and a few signs (NAME-1). Control characters are not separators (NAME-2).
fn is_allowed(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric() || " _.:/%&#=+-@".contains(c);
    }
    matches!(
        c.general_category_group(),
        GeneralCategoryGroup::Letter | GeneralCategoryGroup::Number | GeneralCategoryGroup::Separator
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tv_6_name_2_name_3_cleaning() {
        assert_eq!(clean("GET /users/{id}?x=1,2"), "GET /users/idx=12");
        assert_eq!(clean("???"), "span");
        assert_eq!(clean("  tab\there \n"), "tabhere");
        let long = clean(&"ä".repeat(300));
        assert_eq!((long.chars().count(), long.len()), (200, 400));
        assert_eq!(clean("back\\slash"), "backslash");
        assert_eq!(clean("日本語 名前"), "日本語 名前");
    }

    #[test]
    fn bet_16_service_spelling() {
        for (given, expected) in [
            ("AWS::DynamoDB", "DynamoDB"),
            ("AWS.SDK.Secrets Manager", "SecretsManager"),
            ("s3", "S3"),
            ("Step Functions", "SFN"),
            ("Textract", "Textract"),
        ] {
            assert_eq!(aws_service_name(given), expected);
        }
    }

    #[test]
    fn hosts() {
        for (url, host) in [
            ("https://api.example.com/v1?k=1", Some("api.example.com")),
            ("http://user:p@ss@h:80", Some("h")),
            ("http://[::1]:8080/x", Some("::1")),
            ("not a url", None),
            ("http:///x", None),
        ] {
            assert_eq!(host_of(url), host, "{url}");
        }
    }
}
