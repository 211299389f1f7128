//! The outlets, in this process, against endpoints on this machine.

mod faults;
mod requests;
mod stage;
