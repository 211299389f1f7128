//! The outlets, in this process, against endpoints on this machine.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod circles;
mod credentials;
mod daemon;
mod failing;
mod faults;
mod held;
mod otlp;
mod requests;
mod stage;
mod strangers;
mod survival;
mod through_a_collector;
