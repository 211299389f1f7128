//! What is said of a setting that could not be used as written.

use super::table::{AGENT_SOCKET, DAEMON, OTLP_GRPC, OTLP_HTTP, SPOOL, known};
use std::fmt;

/// A setting that could not be used as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    pub(super) name: &'static str,
    pub(super) value: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(setting) = known(self.name) else {
            return write!(f, "{} is not understood", self.name);
        };
        f.write_str(self.name)?;
        if is_showable(&self.value) && !ADDRESSES.contains(&self.name) {
            write!(f, "={:?}", self.value)?;
        }
        write!(
            f,
            " is not understood: set it to {}; using the default ({})",
            setting.values,
            if setting.default.is_empty() { "none" } else { setting.default }
        )
    }
}

/// Settings into which an endpoint with its secrets is easily put.
const ADDRESSES: &[&str] = &[OTLP_HTTP, OTLP_GRPC, DAEMON, SPOOL, AGENT_SOCKET];
const MAX_SHOWN: usize = 40;

/// A word or two: what is longer, or looks like an address or a pair of name and value, may be secret.
fn is_showable(value: &str) -> bool {
    value.len() <= MAX_SHOWN && !value.contains(['@', '=', '/', '?'])
}
