//! When something is tried, for how long, and how often its failure is said.

pub(crate) mod backoff;
pub(crate) mod clocks;
pub(crate) mod complaints;
pub(crate) mod flights;
pub(crate) mod health;
pub(crate) mod panics;
