//! The ways out: documents to X-Ray, within the time left, and what has to wait.
//!
//! Each outlet has its own buffer, accounts and failures: none waits for another, and none fails with another. [`Outlets`] holds
//! them; the conductor hands it a load of an invocation, and gets accounts back.

mod answers;
mod client;
mod daemon;
mod otlp;
mod outlets;
mod pacing;
mod waiting;
mod xray;

pub use client::Clients;
pub use client::own::{OwnAddresses, Transport};
pub use client::rest::RestError;
pub use daemon::DaemonAddress;
pub use outlets::{Config, Flushed, Outlets};
pub use pacing::clocks::{Moment, Occasion, Window};
pub use waiting::spool::SpoolError;
pub use waiting::unclaimed::Waiting;
