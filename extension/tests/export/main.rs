//! The outlets, in this process, against endpoints on this machine.

mod credentials;
mod daemon;
mod faults;
mod requests;
mod stage;
