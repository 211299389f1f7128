//! The Extensions API of section 5: registrations and errors come in, INVOKE and SHUTDOWN go out.

use std::time::Instant;

use http::{Method, StatusCode};
use serde_json::json;

use super::call::{Call, EXTENSION_IDENTIFIER, Reply, not_found};
use crate::lambda::state::Platform;
use crate::lambda::state::extensions::Refusal;

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        Self::error(StatusCode::FORBIDDEN, refusal.error_type(), &refusal.to_string())
    }
}

/// Answers a call below `/2020-01-01/extension`.
pub(super) async fn answer(platform: &Platform, call: &Call, path: &str) -> Reply {
    match (&call.method, path) {
        (&Method::POST, "/register") => register(platform, call),
        (&Method::GET, "/event/next") => next_event(platform, call).await,
        (&Method::POST, "/init/error") => report_error(platform, call, true),
        (&Method::POST, "/exit/error") => report_error(platform, call, false),
        _ => not_found(call),
    }
}

fn register(platform: &Platform, call: &Call) -> Reply {
    let name = call.extension_name();
    let id = match platform.update(|state| state.extensions.register(name, &call.body)) {
        Ok(id) => id,
        Err(refusal) => return refusal.into(),
    };
    let config = &platform.config;
    let mut body = json!({
        "functionName": config.function_name,
        "functionVersion": config.function_version,
        "handler": config.handler,
    });
    let features = call.header("lambda-extension-accept-feature").unwrap_or_default();
    if features.split(',').any(|feature| feature.trim() == "accountId") {
        body["accountId"] = json!(config.account_id);
    }
    Reply::json(StatusCode::OK, body.to_string()).with_header(EXTENSION_IDENTIFIER, &id.to_string())
}

async fn next_event(platform: &Platform, call: &Call) -> Reply {
    let id = call.extension_identifier();
    if let Err(refusal) = platform.update(|state| state.extensions.next(id, Instant::now())) {
        return refusal.into();
    }
    let event = loop {
        platform.wait(|state| state.extensions.has_event(id).then_some(())).await;
        if let Some(event) = platform.update(|state| state.extensions.take_event(id)) {
            break event;
        }
    };
    let reply = Reply::json(StatusCode::OK, event.body);
    match event.id {
        Some(event_id) => reply.with_header("lambda-extension-event-identifier", &event_id),
        // L-5.9: SHUTDOWN has no event id and need not say that it is JSON.
        None => reply.with_header("content-type", "text/plain; charset=utf-8"),
    }
}

fn report_error(platform: &Platform, call: &Call, in_init: bool) -> Reply {
    let id = call.extension_identifier();
    let error_type = call.header("lambda-extension-function-error-type");
    let reported =
        platform.update(|state| state.extensions.report_error(id, in_init, error_type, &call.body));
    match reported {
        Ok(()) => Reply::accepted(),
        Err(refusal) => refusal.into(),
    }
}
