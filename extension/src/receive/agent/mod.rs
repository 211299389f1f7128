//! The agents: frames on a local socket (wrapper/PROTOCOL.md), and how the process at its other end came to an end.

pub mod frame;
mod process;
pub mod socket;
