//! The function whose spans are translated.

/// What holds for every span of the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    pub version: String,
    pub region: String,
    pub account_id: Option<String>,
    /// Memory in MB, as configured.
    pub memory_mb: String,
    /// Attributes to index besides those the spans name.
    pub annotations: Vec<String>,
    /// Index every attribute that can be, as far as the trace has room.
    pub annotates_all: bool,
    /// Make a fresh trace of the function's own a part of Lambda's (xray.md section 15, row 12).
    pub adopt: bool,
}
