//! The outlets, in this process, against endpoints on this machine.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod circles;
mod credentials;
mod daemon;
mod failing;
mod faults;
mod held;
mod masks;
#[path = "../../../tests/support/masks.rs"]
#[allow(dead_code, unreachable_pub, reason = "the end-to-end tests share it")]
mod masks_table;
mod otlp;
mod requests;
mod stage;
mod strangers;
mod survival;
mod through_a_collector;
