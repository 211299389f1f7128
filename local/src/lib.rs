//! A Lambda environment and an X-Ray endpoint on this machine, with a trace viewer.
//!
//! [`lambda`] runs an unpacked layer and a function the way Lambda does: the same processes in the same order, the same
//! local APIs, a real freeze between invocations. [`xray`] takes the documents, refuses what X-Ray refuses, and puts
//! traces together. [`view`] draws them. [`services`] let one function reach another. Nothing here needs root, a container or a fixed port.

pub mod cli;
pub mod lambda;
pub mod services;
pub mod view;
pub mod xray;
