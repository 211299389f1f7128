//! The environment with real extension processes.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod failures;
mod faults;
mod life_cycle;
mod local_apis;
mod managed;
mod memory;
mod node;
mod python;
mod snap_start;
mod support;
