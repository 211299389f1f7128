//! One invocation: its headers, its caller, and what the platform says and writes of it.

pub(crate) mod caller;
mod records;
pub(crate) mod segments;
pub(crate) mod trace_header;
