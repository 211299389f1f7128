//! Invocations: what is known of each, which spans are open, when it is over, and how it ended.
//!
//! The conductor asks [`Machine`]: in comes what was received, with the time; out go signals, and loads of spans to be sent.

mod agents;
mod closing;
mod ending;
mod initialisation;
mod load;
mod machine;
mod origin;
mod packed;
mod rank;
mod recent;
mod spans;

pub use load::Load;
pub use machine::{Config, Hold, Machine, Signal};
pub use otel_xray_translate::flush::{Batch, Collected, Initialisation, Invocation, Mode, Origin};
pub use otel_xray_translate::trace_header;
