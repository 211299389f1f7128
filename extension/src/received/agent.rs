//! What an agent says of its handler.

use serde::Deserialize;
use std::collections::BTreeMap;

/// Who writes, and what only the runtime's environment knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Hello {
    pub agent: String,
    pub agent_version: String,
    /// The value of `telemetry.sdk.language`.
    pub runtime: String,
    pub runtime_version: String,
    pub pid: u32,
    pub env: BTreeMap<String, String>,
}

/// The handler is about to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entered {
    pub request_id: String,
    /// The trace header as the runtime saw it; empty without one.
    pub trace_header: String,
    /// Epoch milliseconds; 0 when the runtime did not say.
    pub deadline_ms: u64,
}

/// The handler has finished, and all its spans have been written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    pub request_id: String,
    pub raised: bool,
    /// Spans the agent could not write.
    pub spans_dropped: u32,
}

/// How the answer to an open call stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
    /// It has begun, and nobody waits for the rest; 0 when somebody does again.
    pub at_unix_nano: u64,
    /// Of HTTP; 0 for none.
    pub status: u16,
}
