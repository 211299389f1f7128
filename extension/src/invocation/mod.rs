//! Invocations: what is known of each, which spans are open, and when it is over.

mod machine;
mod spans;

pub use machine::{Config, Hold, Machine, Signal};
pub use otel_xray_translate::flush::{Batch, Collected, Invocation, Mode, Origin};
pub use otel_xray_translate::trace_header;
