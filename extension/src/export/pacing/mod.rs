//! When something is tried, for how long, and how often its failure is said. Each outlet asks before it sends, and tells how
//! that went; the time comes in as an argument.

pub(crate) mod backoff;
pub(crate) mod clocks;
pub(crate) mod complaints;
pub(crate) mod flights;
pub(crate) mod health;
pub(crate) mod panics;
