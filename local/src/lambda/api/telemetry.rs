//! The Telemetry API: the one call by which an extension subscribes (section 6.1).

use http::{Method, StatusCode};

use super::call::{Call, Reply, not_found};
use crate::lambda::state::Platform;
use crate::lambda::telemetry::Subscribed;
use crate::lambda::telemetry::subscription::Subscription;

/// `PUT /2022-07-01/telemetry`.
pub(super) fn subscribe(platform: &Platform, call: &Call) -> Reply {
    if call.method != Method::PUT {
        return not_found(call);
    }
    let identified = platform.read(|state| {
        state.extensions.identify(call.extension_identifier()).map(|extension| extension.name.clone())
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
