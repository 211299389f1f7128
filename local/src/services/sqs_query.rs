//! SQS by its older protocol: a form in, XML out. Only sending: what older SDKs in a function do.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::call::{Call, Reply, reply};
use super::resources::Resources;
use super::sqs::{SqsError, queue_of, send, send_batch};

const XML: &[(&str, &str)] = &[("content-type", "text/xml")];

type Form = BTreeMap<String, String>;

pub(super) fn answer(resources: &Resources, call: &Call) -> Reply {
    let form: Form = form_urlencoded::parse(&call.body).into_owned().collect();
    let action = form.get("Action").map(String::as_str).unwrap_or_default();
    let outcome = operate(resources, call, action, &form);
    let metadata = format!("<ResponseMetadata><RequestId>{}</RequestId></ResponseMetadata>", Uuid::new_v4());
    match outcome {
        Ok(result) => {
            let body = format!(
                "<{action}Response><{action}Result>{result}</{action}Result>{metadata}</{action}Response>"
            );
            reply(200, XML, body)
        }
        Err((code, message)) => {
            let error =
                format!("<Type>Sender</Type><Code>{code}</Code><Message>{}</Message>", escaped(&message));
            reply(400, XML, format!("<ErrorResponse><Error>{error}</Error></ErrorResponse>"))
        }
    }
}

fn operate(resources: &Resources, call: &Call, action: &str, form: &Form) -> Result<String, SqsError> {
    let header = call.trace_header();
    // A queue is named by a field, or by the path that the request is sent to.
    let url = form.get("QueueUrl").unwrap_or(&call.path);
    match action {
        "SendMessage" => {
            let sent = send(&queue_of(resources, url)?, &message(form, ""), header)?;
            Ok(elements(&sent, &["MessageId", "MD5OfMessageBody"]))
        }
        "SendMessageBatch" => {
            let prefixes = (1..=form.len()).map(|index| format!("SendMessageBatchRequestEntry.{index}."));
            let entries: Vec<Value> = prefixes
                .take_while(|prefix| form.contains_key(&format!("{prefix}Id")))
                .map(|prefix| message(form, &prefix))
                .collect();
            let sent = send_batch(&queue_of(resources, url)?, &json!({ "Entries": entries }), header)?;
            let list = |name: &str, element: &str, fields: &[&str]| -> String {
                let entries = sent[name].as_array().cloned().unwrap_or_default();
                entries.iter().map(|entry| wrapped(element, &elements(entry, fields))).collect()
            };
            let done =
                list("Successful", "SendMessageBatchResultEntry", &["Id", "MessageId", "MD5OfMessageBody"]);
            let failed = list("Failed", "BatchResultErrorEntry", &["Id", "Code", "Message"]);
            Ok(done + &failed)
        }
        "GetQueueUrl" => {
            let name = form.get("QueueName").map(String::as_str).unwrap_or_default();
            queue_of(resources, name)?;
            Ok(wrapped("QueueUrl", &escaped(&resources.queue_url(name))))
        }
        _ => Err(("InvalidAction", format!("{action:?} is not served here"))),
    }
}

/// The fields of one message, in the form of the JSON protocol.
fn message(form: &Form, prefix: &str) -> Value {
    let field = |name: &str| form.get(&format!("{prefix}{name}"));
    json!({
        "Id": field("Id"),
        "MessageBody": field("MessageBody"),
        "MessageAttributes": attributes(form, &format!("{prefix}MessageAttribute")),
        "MessageSystemAttributes": attributes(form, &format!("{prefix}MessageSystemAttribute")),
    })
}

/// `PREFIX.1.Name`, `PREFIX.1.Value.StringValue` and so on.
fn attributes(form: &Form, prefix: &str) -> Map<String, Value> {
    let mut attributes = Map::new();
    for index in 1..=form.len() {
        let Some(name) = form.get(&format!("{prefix}.{index}.Name")) else { break };
        let mut value = Map::new();
        for part in ["DataType", "StringValue", "BinaryValue"] {
            if let Some(text) = form.get(&format!("{prefix}.{index}.Value.{part}")) {
                value.insert(part.to_owned(), json!(text));
            }
        }
        attributes.insert(name.clone(), Value::Object(value));
    }
    attributes
}

fn elements(object: &Value, names: &[&str]) -> String {
    let text = |name: &&str| object[*name].as_str().map(|text| wrapped(name, &escaped(text)));
    names.iter().filter_map(text).collect()
}

fn wrapped(name: &str, content: &str) -> String {
    format!("<{name}>{content}</{name}>")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_a_message_are_decoded() {
        let body = b"MessageBody=a+%26+b%C3%A9%2&MessageAttribute.1.Name=k%3D&MessageAttribute.1.Value.DataType=String&\
            MessageAttribute.1.Value.StringValue=";
        let form: Form = form_urlencoded::parse(body).into_owned().collect();
        let expected = json!({
            "Id": null,
            "MessageBody": "a & b\u{e9}%2",
            "MessageAttributes": {"k=": {"DataType": "String", "StringValue": ""}},
            "MessageSystemAttributes": {},
        });
        assert_eq!(message(&form, ""), expected);
    }
}
