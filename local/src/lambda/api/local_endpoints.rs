//! The local endpoints beside the APIs: credentials under `SnapStart` and metadata (section 7).

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use uuid::Uuid;

use super::server::{Call, Reply};
use crate::lambda::clock::{WallClock, iso8601};
use crate::lambda::config::Config;

pub(crate) const CREDENTIALS_PATH: &str = "/2021-04-23/credentials";
pub(crate) const METADATA_PATH: &str = "/2026-01-15/metadata/execution-environment";
const LIFETIME: Duration = Duration::from_hours(1);

/// The secrets by which a process of the environment is known, and how often credentials were renewed.
#[derive(Debug)]
pub(crate) struct LocalEndpoints {
    pub(crate) credentials_token: String,
    pub(crate) metadata_token: String,
    renewals: AtomicU32,
    clock: WallClock,
}

impl LocalEndpoints {
    pub(crate) fn new(clock: WallClock) -> Self {
        let token = || Uuid::new_v4().simple().to_string();
        Self { credentials_token: token(), metadata_token: token(), renewals: AtomicU32::new(0), clock }
    }

    /// A restored environment gets other credentials (L-8.23).
    pub(crate) fn renew_credentials(&self) {
        self.renewals.fetch_add(1, Ordering::Relaxed);
    }

    /// L-7.1. Without a restore the configured credentials, then the same with a number.
    pub(crate) fn credentials(&self, config: &Config, call: &Call) -> Reply {
        let known = call.header("authorization") == Some(self.credentials_token.as_str());
        let Some(credentials) = config.credentials.as_ref().filter(|_| known) else {
            return Reply::error(StatusCode::NOT_FOUND, "NotFound", "no credentials for this token");
        };
        let renewal = self.renewals.load(Ordering::Relaxed);
        let numbered = |text: &str| if renewal == 0 { text.to_owned() } else { format!("{text}-{renewal}") };
        let body = json!({
            "AccessKeyId": numbered(&credentials.access_key_id),
            "SecretAccessKey": credentials.secret_access_key,
            "Token": numbered(&credentials.session_token),
            "Expiration": iso8601(self.clock.now() + LIFETIME),
        });
        Reply::json(StatusCode::OK, body.to_string())
    }

    /// L-7.2.
    pub(crate) fn metadata(&self, config: &Config, call: &Call) -> Reply {
        if call.header("authorization").and_then(|value| value.strip_prefix("Bearer "))
            != Some(self.metadata_token.as_str())
        {
            return Reply::error(StatusCode::UNAUTHORIZED, "Unauthorized", "the token is missing or wrong");
        }
        // Made up after the pattern of the real ones: `use1-az1` in us-east-1.
        let mut words = config.region.split('-');
        let (area, direction) = (words.next().unwrap_or("us"), words.next().unwrap_or("east"));
        let zone =
            format!("{area}{}{}-az1", &direction[..1.min(direction.len())], words.next().unwrap_or("1"));
        Reply::json(StatusCode::OK, json!({"AvailabilityZoneID": zone}).to_string())
            .with_header("cache-control", "private, max-age=43200, immutable")
    }
}
