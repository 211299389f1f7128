//! `POST /2015-03-31/functions/NAME/invocations`: one function invokes another.

use std::sync::Arc;

use percent_encoding::percent_decode_str;
use serde_json::json;

use super::call::{Call, Reply, reply};
use super::resources::Resources;
use crate::lambda::TraceHeader;

pub(super) const PREFIX: &str = "/2015-03-31/functions/";
pub(super) async fn answer(resources: &Arc<Resources>, call: &Call) -> Reply {
    let rest = call.path.strip_prefix(PREFIX).unwrap_or_default();
    let Some(name) = rest.strip_suffix("/invocations").filter(|_| call.method == http::Method::POST) else {
        return error(404, "UnknownOperationException", "only Invoke is served here");
    };
    let name = function_name(name);
    let Some(environment) = resources.function(&name) else {
        let message = format!("Function not found: {name}");
        return error(404, "ResourceNotFoundException", &message);
    };
    let upstream = call.trace_header().map(TraceHeader::parse);
    let event = if call.body.is_empty() { "{}".into() } else { call.body.clone() };
    match call.header("x-amz-invocation-type").unwrap_or("RequestResponse") {
        "DryRun" => reply(204, &[], ""),
        // Not tried again when it fails, as Lambda would.
        "Event" => {
            tokio::spawn(async move { environment.invoke(event, upstream).await });
            reply(202, &[], "")
        }
        "RequestResponse" => match environment.invoke(event, upstream).await {
            Ok(answer) => {
                let mut headers = vec![
                    ("content-type", "application/json"),
                    ("x-amz-executed-version", "$LATEST"),
                    ("x-amzn-requestid", answer.request_id.as_str()),
                ];
                if !answer.is_success() {
                    headers.push(("x-amz-function-error", "Unhandled"));
                }
                reply(200, &headers, answer.payload.clone())
            }
            Err(gone) => error(500, "ServiceException", &gone.to_string()),
        },
        other => error(400, "InvalidParameterValueException", &format!("invocation type {other:?}")),
    }
}

/// The name in a name, `NAME:QUALIFIER`, a partial or a full ARN, percent-encoded as part of a path.
fn function_name(text: &str) -> String {
    let text = percent_decode_str(text).decode_utf8_lossy();
    let parts: Vec<&str> = text.split(':').collect();
    let after = parts.iter().position(|part| *part == "function").map(|index| index + 1);
    let name = after.and_then(|index| parts.get(index)).or_else(|| parts.first());
    name.copied().unwrap_or_default().to_owned()
}

fn error(status: u16, kind: &str, message: &str) -> Reply {
    let body = json!({"Type": "User", "Message": message}).to_string();
    reply(status, &[("content-type", "application/json"), ("x-amzn-errortype", kind)], body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_functions() {
        for text in [
            "orders",
            "orders:1",
            "123456789012:function:orders",
            "arn:aws:lambda:us-east-1:123456789012:function:orders:live",
            "arn%3Aaws%3Alambda%3Aus-east-1%3A123456789012%3Afunction%3Aorders",
        ] {
            assert_eq!(function_name(text), "orders", "{text}");
        }
    }
}
