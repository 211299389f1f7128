//! The Extensions API of section 5 and the subscription call of the Telemetry API.

use std::time::Instant;

use http::{Method, StatusCode};
use serde_json::json;

use super::server::{Call, Reply, not_found};
use crate::lambda::state::Platform;
use crate::lambda::state::extensions::Refusal;
use crate::lambda::telemetry::Subscribed;
use crate::lambda::telemetry::subscription::Subscription;

const IDENTIFIER: &str = "lambda-extension-identifier";

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        Self::error(StatusCode::FORBIDDEN, refusal.error_type(), &refusal.to_string())
    }
}

/// Answers a call below `/2020-01-01/extension`.
pub(crate) async fn answer(platform: &Platform, call: &Call, path: &str) -> Reply {
    match (&call.method, path) {
        (&Method::POST, "/register") => register(platform, call),
        (&Method::GET, "/event/next") => next_event(platform, call).await,
        (&Method::POST, "/init/error") => report_error(platform, call, true),
        (&Method::POST, "/exit/error") => report_error(platform, call, false),
        _ => not_found(call),
    }
}

fn register(platform: &Platform, call: &Call) -> Reply {
    let name = call.header("lambda-extension-name");
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
    Reply::json(StatusCode::OK, body.to_string()).with_header(IDENTIFIER, &id.to_string())
}

async fn next_event(platform: &Platform, call: &Call) -> Reply {
    let id = call.header(IDENTIFIER);
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
    let id = call.header(IDENTIFIER);
    let error_type = call.header("lambda-extension-function-error-type");
    let reported =
        platform.update(|state| state.extensions.report_error(id, in_init, error_type, &call.body));
    match reported {
        Ok(()) => Reply::accepted(),
        Err(refusal) => refusal.into(),
    }
}

/// `PUT /2022-07-01/telemetry`.
pub(crate) fn subscribe(platform: &Platform, call: &Call) -> Reply {
    if call.method != Method::PUT {
        return not_found(call);
    }
    let identified = platform.read(|state| {
        state.extensions.identify(call.header(IDENTIFIER)).map(|extension| extension.name.clone())
    });
    let name = match identified {
        Ok(name) => name,
        Err(refusal) => return refusal.into(),
    };
    let subscription = match Subscription::parse(&call.body, platform.config.initialization_type.is_managed())
    {
        Ok(subscription) => subscription,
        Err(message) => return Reply::error(StatusCode::BAD_REQUEST, "ValidationError", &message),
    };
    match platform.telemetry.subscribe(&name, &subscription) {
        Subscribed::Accepted => Reply::json(StatusCode::OK, r#""OK""#),
        Subscribed::NotSupported => {
            Reply::error(StatusCode::ACCEPTED, "Telemetry.NotSupported", "Telemetry API is not supported")
        }
        Subscribed::Closed => Reply::error(
            StatusCode::FORBIDDEN,
            "Telemetry.SubscriptionClosed",
            "subscriptions are taken during the initialisation only",
        ),
    }
}
