//! The environment with real extension processes.

mod failures;
mod life_cycle;
mod local_apis;
mod python;
mod support;
