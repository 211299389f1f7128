//! The settings that the launcher reads, as the extension reads them (extension/src/settings): where it falls back to a
//! default, so does this. `tests/settings.json` holds them to it.

use crate::os;
use crate::text::Text;
use core::ffi::CStr;
use core::net::{SocketAddr, SocketAddrV4};

const DEFAULT_SOCKET: &[u8] = b"otel-xray";
const DEFAULT_DAEMON: &[u8] = b"127.0.0.1:2000";
const MAX_NAME_BYTES: usize = 100;

pub(crate) fn is_disabled() -> bool {
    let says = |name: &CStr, words: &[&str]| {
        let value = value(name);
        words.iter().any(|word| value.eq_ignore_ascii_case(word.as_bytes()))
    };
    says(c"OTEL_XRAY_ENABLED", &["false", "0", "off", "no"]) || says(c"OTEL_SDK_DISABLED", &["true"])
}

/// The name of the abstract socket. It never makes a path.
pub(crate) fn agent_socket() -> &'static [u8] {
    let name = value(c"OTEL_XRAY_AGENT_SOCKET");
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let is_good = (1..=MAX_NAME_BYTES).contains(&name.len()) && name.iter().all(allowed);
    if is_good { name } else { DEFAULT_SOCKET }
}

/// Where the extension stands in for the X-Ray daemon. None where it does not, or at an address that X-Ray SDKs are not given.
pub(crate) fn daemon() -> Option<(Text, SocketAddrV4)> {
    let value = value(c"OTEL_XRAY_DAEMON");
    if value.eq_ignore_ascii_case(b"off") {
        return None;
    }
    match loopback(value).or_else(|| loopback(DEFAULT_DAEMON))? {
        (text, SocketAddr::V4(address)) => Some((text, address)),
        (_, SocketAddr::V6(_)) => None,
    }
}

fn loopback(value: &[u8]) -> Option<(Text, SocketAddr)> {
    let text = match value.strip_prefix(b"localhost") {
        Some(port) => Text::of(&[b"127.0.0.1", port])?,
        None => Text::of(&[value])?,
    };
    let address: SocketAddr = str::from_utf8(text.as_c_str()?.to_bytes()).ok()?.parse().ok()?;
    address.ip().is_loopback().then_some((text, address))
}

/// Without what is blank around it.
fn value(name: &CStr) -> &'static [u8] {
    os::variable(name).unwrap_or_default().to_bytes().trim_ascii()
}
