//! What the benchmarks share: stand-ins for Lambda and X-Ray on plain sockets, and readings of a process.
//!
//! The stand-ins do as little as possible, so that what is measured is the process under test.

pub mod agent;
pub mod extension;
pub mod platform;
pub mod process;
#[cfg(feature = "translate")]
pub mod spans;

/// The middle value; of an even number, the lower of the two.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}
