//! Names and namespaces: BET-14 to BET-16.

use crate::attributes::key::{self, Key};
use crate::compose::subject::Subject;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use std::borrow::Cow;

/// What a span calls, if it calls something outside the function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remote {
    Aws,
    Other,
    No,
}

impl Remote {
    pub(crate) fn namespace(self) -> Option<&'static str> {
        match self {
            Self::Aws => Some("aws"),
            Self::Other => Some("remote"),
            Self::No => None,
        }
    }
}

pub(crate) fn remote_kind(subject: &Subject<'_>) -> Remote {
    let attributes = &subject.attributes;
    let is = |keys: &[Key], value: &str| attributes.peek_text(keys).is_some_and(|text| text == value);
    match subject.kind {
        SpanKind::Server => Remote::No,
        // An AWS call stays one, whatever kind its instrumentation gave it (MAP-12, MAP-19).
        _ if is(key::RPC_SYSTEM, "aws-api") || attributes.has(Key::AwsService) => Remote::Aws,
        SpanKind::Client | SpanKind::Producer => {
            let is_aws = attributes.has(Key::RpcService) && attributes.has_any(key::AWS_REQUEST_ID)
                || queue_service(subject).is_some()
                || is(key::GEN_AI_PROVIDER, "aws.bedrock");
            if is_aws { Remote::Aws } else { Remote::Other }
        }
        _ => Remote::No,
    }
}

/// The AWS service behind a messaging system.
fn queue_service(subject: &Subject<'_>) -> Option<&'static str> {
    match &*subject.attributes.peek_text(&[Key::MessagingSystem])? {
        "aws_sqs" | "aws.sqs" | "AmazonSQS" => Some("SQS"),
        "aws_sns" | "aws.sns" => Some("SNS"),
        _ => None,
    }
}

/// A subsegment's name before it is cleaned (BET-15).
pub(crate) fn of_subsegment<'a>(subject: &Subject<'a>, remote: Remote) -> Cow<'a, str> {
    let attributes = &subject.attributes;
    let span_name = || Cow::Borrowed(subject.span.name.as_str());
    if remote == Remote::Aws {
        // The namespace says it.
        attributes.spend(key::RPC_SYSTEM);
    }
    match remote {
        Remote::No => span_name(),
        Remote::Aws => attributes
            .text(&[Key::AwsRemoteService, Key::AwsService, Key::RpcService])
            .or_else(|| service_of_method(subject))
            .map(aws_service_name)
            .or_else(|| queue_service(subject).map(Cow::Borrowed))
            .or_else(|| attributes.has_any(key::GEN_AI_PROVIDER).then_some(Cow::Borrowed("BedrockRuntime")))
            .unwrap_or_else(span_name),
        Remote::Other => attributes
            .text(&[Key::AwsRemoteService])
            .or_else(|| attributes.text(key::PEER))
            .or_else(|| database_name(subject))
            .or_else(|| attributes.text(key::DESTINATION))
            .or_else(|| attributes.peek_text(&[Key::RpcService]))
            .or_else(|| service_of_method(subject))
            .or_else(|| host_of_attribute(subject))
            .or_else(|| attributes.peek_text(key::CLIENT_HOST))
            .unwrap_or_else(span_name),
    }
}

/// New conventions write service and method as one: `package.Service/Method`.
fn service_of_method<'a>(subject: &Subject<'a>) -> Option<Cow<'a, str>> {
    match subject.attributes.peek_text(&[Key::RpcMethod])? {
        Cow::Borrowed(method) => method.split_once('/').map(|(service, _)| Cow::Borrowed(service)),
        Cow::Owned(_) => None,
    }
}

fn host_of_attribute<'a>(subject: &Subject<'a>) -> Option<Cow<'a, str>> {
    match subject.attributes.peek_text(key::URL)? {
        Cow::Borrowed(url) => host_of(url).map(Cow::Borrowed),
        Cow::Owned(_) => None,
    }
}

/// Inside Lambda the function's segment has the function's name, so that the map shows one node (P6, MAP-S1);
/// elsewhere the service's (BET-14).
pub(crate) fn of_segment<'a>(subject: &Subject<'a>) -> Cow<'a, str> {
    if !subject.function.name.is_empty() {
        return Cow::Borrowed(&subject.function.name);
    }
    let service = subject.attributes.text(&[Key::AwsLocalService]).or_else(|| {
        subject.resource().peek_text(&[Key::ServiceName]).filter(|name| !name.starts_with("unknown_service"))
    });
    service.unwrap_or(Cow::Borrowed(&subject.span.name))
}

/// Their databases have numbers or none, which name nothing.
const NAMELESS: [&str; 3] = ["memcached", "redis", "valkey"];

fn database_name<'a>(subject: &Subject<'a>) -> Option<Cow<'a, str>> {
    let attributes = &subject.attributes;
    let system = attributes.peek_text(key::DB_SYSTEM).filter(|system| NAMELESS.contains(&&**system));
    let is_nameless = system.is_some();
    let database = system.or_else(|| attributes.peek_text(key::DB_NAMESPACE))?;
    let connection = attributes.peek_text(&[Key::DbConnectionString]);
    let host = attributes
        .peek_text(&[Key::ServerAddress, Key::NetPeerName, Key::NetPeerIp])
        .or_else(|| connection.as_deref().and_then(host_of).map(|host| Cow::Owned(host.to_owned())));
    if !is_nameless {
        attributes.spend(key::DB_NAMESPACE);
    }
    Some(match host {
        Some(host) => Cow::Owned([&*database, "@", &host].concat()),
        None => database,
    })
}

/// The spelling X-Ray knows (BET-16, MAP-S5): no prefix, no blanks.
fn aws_service_name(service: Cow<'_, str>) -> Cow<'_, str> {
    let mut bare: &str = &service;
    for prefix in ["AWS.SDK.", "AWS::", "Amazon ", "AWS "] {
        bare = bare.strip_prefix(prefix).unwrap_or(bare);
    }
    let squeezed: Cow<'_, str> =
        if bare.contains([' ', '-']) { bare.replace([' ', '-'], "").into() } else { bare.into() };
    let known = SPELLINGS.iter().find(|(spelled, _)| spelled.eq_ignore_ascii_case(&squeezed));
    match known {
        Some((_, name)) => Cow::Borrowed(name),
        None if bare.len() == service.len() => service,
        None => Cow::Owned(bare.to_owned()),
    }
}

/// Service names without blanks, as SDKs of several languages give them, and X-Ray's.
const SPELLINGS: &[(&str, &str)] = &[
    ("apigatewaymanagementapi", "ApiGatewayManagementApi"),
    ("athena", "Athena"),
    ("bedrockagentruntime", "BedrockAgentRuntime"),
    ("bedrockruntime", "BedrockRuntime"),
    ("cloudwatch", "CloudWatch"),
    ("cloudwatchlogs", "CloudWatchLogs"),
    ("cognitoidentityprovider", "CognitoIdentityProvider"),
    ("dynamodb", "DynamoDB"),
    ("events", "EventBridge"),
    ("eventbridge", "EventBridge"),
    ("firehose", "Firehose"),
    ("kinesis", "Kinesis"),
    ("kms", "KMS"),
    ("lambda", "Lambda"),
    ("rdsdata", "RDSData"),
    ("s3", "S3"),
    ("sagemakerruntime", "SageMakerRuntime"),
    ("secretsmanager", "SecretsManager"),
    ("ses", "SES"),
    ("sesv2", "SESv2"),
    ("sfn", "SFN"),
    ("simplenotificationservice", "SNS"),
    ("simplequeueservice", "SQS"),
    ("simplestorageservice", "S3"),
    ("sns", "SNS"),
    ("sqs", "SQS"),
    ("ssm", "SSM"),
    ("states", "SFN"),
    ("stepfunctions", "SFN"),
    ("sts", "STS"),
];

/// The host of a URL, without user and port.
pub(crate) fn host_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host_port = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host_port.strip_prefix('[') {
        Some(v6) => v6.split(']').next()?,
        None => host_port.split(':').next()?,
    };
    (!host.is_empty()).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bet_16_service_spelling() {
        for (given, expected) in [
            ("AWS::DynamoDB", "DynamoDB"),
            ("AWS.SDK.Secrets Manager", "SecretsManager"),
            ("s3", "S3"),
            ("Step Functions", "SFN"),
            ("Textract", "Textract"),
        ] {
            assert_eq!(aws_service_name(given.into()), expected);
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
