//! Where the spans of an agent come from, as a resource.

use super::Origin;
use crate::received::Hello;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;

/// The resource that an agent's hello describes.
pub(super) fn origin_of_agent(hello: &Hello) -> Origin {
    let mut attributes = vec![
        text("telemetry.sdk.name", &hello.agent),
        text("telemetry.sdk.version", &hello.agent_version),
        text("telemetry.sdk.language", &hello.runtime),
        text("process.runtime.version", &hello.runtime_version),
    ];
    let named = [
        ("AWS_EXECUTION_ENV", "aws.lambda.execution_env"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "aws.log.group.names"),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "aws.log.stream.names"),
        ("_HANDLER", "faas.handler"),
    ];
    attributes.extend(
        named
            .iter()
            .filter_map(|(variable, attribute)| hello.env.get(*variable).map(|value| text(attribute, value))),
    );
    attributes.retain(|attribute| {
        !matches!(&attribute.value, Some(AnyValue { value: Some(any_value::Value::StringValue(value)) }) if value.is_empty())
    });
    Origin { resource: Resource { attributes, ..Resource::default() }, scope: None }
}

/// An attribute with a text.
pub(super) fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, any_value::Value::StringValue(value.to_owned()))
}

/// An attribute of any kind.
pub(super) fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// The text of an attribute, where it has one.
pub(super) fn text_of<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let attribute = attributes.iter().find(|attribute| attribute.key == key)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some(text),
        _ => None,
    }
}
