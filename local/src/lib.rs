//! A Lambda environment and an X-Ray endpoint on this machine.
//!
//! [`lambda`] runs an unpacked layer and a function the way Lambda does: the same processes in the same order, the same
//! local APIs, a real freeze between invocations. Nothing here needs root, a container or a fixed port.

pub mod lambda;
