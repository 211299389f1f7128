//! How the text of a setting is read: `None` is text that makes no sense.

use super::choices::{FlushStrategy, OutletKind, Sampling, TracingMode};
use crate::translate::Target;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub(super) fn parse_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

pub(super) fn parse_tracing_mode(text: &str) -> Option<TracingMode> {
    match text.to_ascii_lowercase().as_str() {
        "auto" => Some(TracingMode::Auto),
        "active" => Some(TracingMode::Active),
        "passthrough" | "pass-through" | "pass_through" => Some(TracingMode::PassThrough),
        _ => None,
    }
}

pub(super) fn parse_sampling(text: &str) -> Option<Sampling> {
    match text.to_ascii_lowercase().as_str() {
        "auto" => Some(Sampling::Auto),
        "respect" | "off" => Some(Sampling::Respect),
        "rules" => Some(Sampling::Rules),
        _ => None,
    }
}

pub(super) fn parse_flush(text: &str) -> Option<FlushStrategy> {
    match text.to_ascii_lowercase().as_str() {
        "end" => Some(FlushStrategy::AtEnd),
        "adaptive" => Some(FlushStrategy::Adaptive),
        other => {
            let ms = in_range(10, 900_000)(other.strip_prefix("periodic:")?)?;
            Some(FlushStrategy::Every(Duration::from_millis(ms)))
        }
    }
}

#[expect(clippy::option_option, reason = "outside: understood or not; inside: on or off")]
pub(super) fn parse_progress(text: &str) -> Option<Option<Duration>> {
    if text.eq_ignore_ascii_case("off") {
        return Some(None);
    }
    Some(Some(Duration::from_millis(in_range(100, 900_000)(text)?)))
}

#[expect(clippy::unnecessary_wraps, reason = "the shape every parser of a setting has")]
pub(super) fn parse_list(text: &str) -> Option<Vec<String>> {
    Some(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())
}

pub(super) fn parse_outlets(text: &str) -> Option<Vec<OutletKind>> {
    let mut outlets = Vec::new();
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let kind = OutletKind::parse(name)?;
        if !outlets.contains(&kind) {
            outlets.push(kind);
        }
    }
    (!outlets.is_empty()).then_some(outlets)
}

pub(super) fn parse_target(text: &str) -> Option<Target> {
    match text.to_ascii_lowercase().as_str() {
        "any" => Some(Target::Any),
        "xray" => Some(Target::Xray),
        _ => None,
    }
}

pub(super) fn in_range(low: u64, high: u64) -> impl Fn(&str) -> Option<u64> {
    move |text| text.parse().ok().filter(|number| (low..=high).contains(number))
}

#[expect(clippy::option_option, reason = "outside: understood or not; inside: on or off")]
pub(super) fn parse_listener(text: &str) -> Option<Option<SocketAddr>> {
    if text.eq_ignore_ascii_case("off") {
        return Some(None);
    }
    let address: SocketAddr = text.replace("localhost", "127.0.0.1").parse().ok()?;
    address.ip().is_loopback().then_some(Some(address))
}

#[expect(clippy::option_option, reason = "outside: understood or not; inside: on or off")]
pub(super) fn parse_spool(text: &str) -> Option<Option<PathBuf>> {
    if text.eq_ignore_ascii_case("off") {
        return Some(None);
    }
    text.starts_with('/').then(|| Some(text.into()))
}

pub(super) fn parse_socket_name(text: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    ((1..=100).contains(&text.len()) && text.chars().all(allowed)).then(|| text.to_owned())
}
