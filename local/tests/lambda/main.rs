//! The environment with real extension processes.

mod life_cycle;
mod support;
