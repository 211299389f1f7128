//! What the kernel says of a process.

use anyhow::{Context as _, Result};
use std::process::Child;

/// CPU time used so far by all threads, in milliseconds.
pub fn cpu_ms(child: &Child) -> Result<f64> {
    let mut nanos = 0_u64;
    for task in std::fs::read_dir(format!("/proc/{}/task", child.id()))? {
        let schedstat = std::fs::read_to_string(task?.path().join("schedstat"))?;
        nanos += schedstat.split(' ').next().context("empty schedstat")?.parse::<u64>()?;
    }
    Ok(nanos as f64 / 1e6)
}

/// Resident memory, in MB.
pub fn rss_mb(child: &Child) -> Result<f64> {
    status_mb(child, "VmRSS:")
}

/// The most resident memory so far, in MB.
pub fn peak_rss_mb(child: &Child) -> Result<f64> {
    status_mb(child, "VmHWM:")
}

fn status_mb(child: &Child, field: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()))?;
    let line = status.lines().find(|line| line.starts_with(field)).with_context(|| format!("no {field}"))?;
    let kb: f64 =
        line.split_whitespace().nth(1).with_context(|| format!("{field} without a number"))?.parse()?;
    Ok(kb / 1024.0)
}
