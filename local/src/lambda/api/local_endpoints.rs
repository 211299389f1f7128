//! The local endpoints beside the APIs: credentials under `SnapStart` and metadata (section 7).

use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use super::call::{Call, Reply};
use crate::lambda::clock::iso8601;
use crate::lambda::state::Platform;

pub(crate) const CREDENTIALS_PATH: &str = "/2021-04-23/credentials";
pub(super) const METADATA_PATH: &str = "/2026-01-15/metadata/execution-environment";
const LIFETIME: Duration = Duration::from_hours(1);

/// L-7.1. Without a restore the configured credentials, then the same with a number.
pub(super) fn credentials(platform: &Platform, call: &Call) -> Reply {
    let tokens = &platform.endpoint_tokens;
    let known = call.header("authorization") == Some(tokens.credentials.as_str());
    let Some(credentials) = platform.config.credentials.as_ref().filter(|_| known) else {
        return Reply::error(StatusCode::NOT_FOUND, "NotFound", "no credentials for this token");
    };
    let renewal = tokens.renewals();
    let numbered = |text: &str| if renewal == 0 { text.to_owned() } else { format!("{text}-{renewal}") };
    let body = json!({
        "AccessKeyId": numbered(&credentials.access_key_id),
        "SecretAccessKey": credentials.secret_access_key,
        "Token": numbered(&credentials.session_token),
        "Expiration": iso8601(platform.clock.now() + LIFETIME),
    });
    Reply::json(StatusCode::OK, body.to_string())
}

/// L-7.2.
pub(super) fn metadata(platform: &Platform, call: &Call) -> Reply {
    if call.header("authorization").and_then(|value| value.strip_prefix("Bearer "))
        != Some(platform.endpoint_tokens.metadata.as_str())
    {
        return Reply::error(StatusCode::UNAUTHORIZED, "Unauthorized", "the token is missing or wrong");
    }
    // Made up after the pattern of the real ones: `use1-az1` in us-east-1.
    let mut words = platform.config.region.split('-');
    let (area, direction) = (words.next().unwrap_or("us"), words.next().unwrap_or("east"));
    let zone = format!("{area}{}{}-az1", &direction[..1.min(direction.len())], words.next().unwrap_or("1"));
    Reply::json(StatusCode::OK, json!({"AvailabilityZoneID": zone}).to_string())
        .with_header("cache-control", "private, max-age=43200, immutable")
}
