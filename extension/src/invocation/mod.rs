//! Invocations: what is known of each, which spans are open, and when it is over.

mod machine;
mod spans;
pub mod trace_header;

pub use machine::{Batch, Config, Hold, Machine, Signal};
pub use spans::{Collected, Origin};

use trace_header::{Sampled, TraceHeader};

/// Who writes the function's own segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Lambda does (LAM-1).
    Active,
    /// Nobody does (LAM-6).
    PassThrough,
    Unknown,
}

/// What is known of one invocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    pub request_id: String,
    pub function_arn: String,
    /// The runtime's trace header where an agent has told it, else the event's.
    pub header: Option<TraceHeader>,
    pub mode: Mode,
    /// Its end has been seen: a parent that has not come by now will not come.
    pub is_over: bool,
}

impl Invocation {
    /// Whether Lambda's own tracing keeps this trace.
    pub fn is_sampled(&self) -> bool {
        self.header.is_some_and(|header| header.sampled == Sampled::Yes)
    }
}
