//! The extension: collects spans inside the Lambda environment and delivers them to AWS X-Ray.
//!
//! Data flows one way, and a later stage never calls an earlier one:
//!
//! ```text
//! receive  ->  invocation  ->  translate  ->  export
//! ```
//!
//! * [`receive`] turns bytes on local sockets into spans and signals.
//! * [`invocation`] is a state machine that decides when an invocation is over and what leaves then.
//! * [`translate`] turns spans into X-Ray documents. It does no I/O and reads no clock. A crate of its own, because it
//!   is compiled for speed and everything else for size.
//! * [`export`] sends documents to X-Ray and keeps the accounts.
//!
//! [`lambda`] speaks the Extensions API; [`listeners`] opens the sockets; [`conductor`] connects the stages and is the only place where clock,
//! sockets and stages meet. Whatever fails, the function keeps working: every error path ends in asking
//! Lambda for the next event.

pub mod conductor;
pub mod export;
pub mod invocation;
pub mod lambda;
pub mod ledger;
pub mod listeners;
pub mod log;
pub mod receive;
pub mod received;
pub mod sampling;
pub mod settings;
mod shown;

pub use otel_xray_translate as translate;
pub use otel_xray_translate::accounts;
