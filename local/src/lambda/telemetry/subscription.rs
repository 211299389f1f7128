//! What a subscription to telemetry must look like (section 6.1): the body of `PUT /2022-07-01/telemetry`, read.

use std::collections::BTreeSet;
use std::time::Duration;

use http::Uri;
use serde::Deserialize;

use super::record::Kind;

const SCHEMA_VERSIONS: [&str; 3] = ["2022-07-01", "2022-12-13", "2025-01-29"];

/// A subscription that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) kinds: BTreeSet<Kind>,
    pub(crate) max_items: usize,
    pub(crate) max_bytes: usize,
    pub(crate) timeout: Duration,
    pub(crate) port: u16,
    pub(crate) path: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    schema_version: String,
    types: Vec<String>,
    #[serde(default)]
    buffering: Buffering,
    destination: Destination,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Buffering {
    max_items: usize,
    max_bytes: usize,
    timeout_ms: u64,
}

impl Default for Buffering {
    fn default() -> Self {
        Self { max_items: 10_000, max_bytes: 262_144, timeout_ms: 1_000 }
    }
}

#[derive(Debug, Deserialize)]
struct Destination {
    protocol: String,
    #[serde(rename = "URI")]
    uri: Option<String>,
}

impl Subscription {
    /// Reads a subscription, on a managed instance of the newest version only; the error is the message of a 400 `ValidationError`.
    pub(crate) fn parse(body: &[u8], managed: bool) -> Result<Self, String> {
        let body: Body = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let versions = if managed { &SCHEMA_VERSIONS[2..] } else { &SCHEMA_VERSIONS };
        if !versions.contains(&body.schema_version.as_str()) {
            return Err(format!("schemaVersion {:?} is not one of {versions:?}", body.schema_version));
        }
        let kinds = body.types.iter().map(|name| Kind::parse(name).ok_or(name));
        let kinds: BTreeSet<Kind> =
            kinds.collect::<Result<_, _>>().map_err(|name| format!("types holds {name:?}"))?;
        if kinds.is_empty() {
            return Err("types is empty".to_owned());
        }
        let within = |name: &str, value: u64, low: u64, high: u64| {
            let fits = (low..=high).contains(&value);
            if fits { Ok(()) } else { Err(format!("buffering.{name} {value} is not within {low} to {high}")) }
        };
        let Buffering { max_items, max_bytes, timeout_ms } = body.buffering;
        within("maxItems", max_items as u64, 1_000, 10_000)?;
        within("maxBytes", max_bytes as u64, 262_144, 1_048_576)?;
        within("timeoutMs", timeout_ms, 25, 30_000)?;
        if body.destination.protocol != "HTTP" {
            return Err(format!("destination.protocol {:?} is not HTTP", body.destination.protocol));
        }
        let (port, path) = listener(body.destination.uri.as_deref().unwrap_or_default())?;
        Ok(Self { kinds, max_items, max_bytes, timeout: Duration::from_millis(timeout_ms), port, path })
    }
}

/// Port and path of a listener; its host stands for 127.0.0.1 (SIM-15).
fn listener(uri: &str) -> Result<(u16, String), String> {
    let parsed: Uri = uri.parse().map_err(|error| format!("destination.URI {uri:?}: {error}"))?;
    let host_is_right = matches!(parsed.host(), Some("sandbox.localdomain" | "sandbox"));
    match parsed.port_u16() {
        Some(port) if host_is_right && parsed.scheme_str() == Some("http") => {
            Ok((port, parsed.path().to_owned()))
        }
        _ => Err(format!("destination.URI {uri:?} is not http://sandbox.localdomain:PORT")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn section_6_1_bodies() {
        let base = json!({
            "schemaVersion": "2025-01-29",
            "types": ["platform", "function"],
            "buffering": {"maxItems": 1000, "maxBytes": 262_144, "timeoutMs": 25},
            "destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain:4243/path"},
        });
        let accepted = Subscription::parse(base.to_string().as_bytes(), false).unwrap();
        assert_eq!((accepted.port, accepted.path.as_str()), (4243, "/path"));
        assert_eq!(accepted.timeout, Duration::from_millis(25));
        let cases = [
            ("/schemaVersion", json!("2020-08-15"), false),
            ("/schemaVersion", json!("2022-07-01"), true),
            ("/types", json!([]), false),
            ("/types", json!(["platform", "other"]), false),
            ("/buffering/maxItems", json!(999), false),
            ("/buffering/maxItems", json!(10_000), true),
            ("/buffering/maxBytes", json!(262_143), false),
            ("/buffering/timeoutMs", json!(24), false),
            ("/buffering/timeoutMs", json!(30_001), false),
            ("/destination/protocol", json!("UDP"), false),
            ("/destination/URI", json!("http://sandbox:1/"), true),
            ("/destination/URI", json!("http://127.0.0.1:1/"), false),
            ("/destination/URI", json!("http://sandbox.localdomain/"), false),
            ("/destination/URI", json!("no uri"), false),
        ];
        for (pointer, value, accepted) in cases {
            let mut body = base.clone();
            *body.pointer_mut(pointer).unwrap() = value.clone();
            let parsed = Subscription::parse(body.to_string().as_bytes(), false);
            assert_eq!(parsed.is_ok(), accepted, "{pointer} {value}: {parsed:?}");
        }
        assert!(Subscription::parse(b"[", false).is_err());
        let mut old = base;
        assert!(Subscription::parse(old.to_string().as_bytes(), true).is_ok());
        old["schemaVersion"] = json!("2022-12-13");
        assert!(Subscription::parse(old.to_string().as_bytes(), true).is_err(), "a managed instance");
    }

    #[test]
    fn buffering_has_defaults() {
        let body = br#"{"schemaVersion":"2022-12-13","types":["platform"],"buffering":{"timeoutMs":100},
            "destination":{"protocol":"HTTP","URI":"http://sandbox.localdomain:80"}}"#;
        let subscription = Subscription::parse(body, false).unwrap();
        assert_eq!((subscription.max_items, subscription.max_bytes), (10_000, 262_144));
        assert_eq!(subscription.timeout, Duration::from_millis(100));
    }
}
