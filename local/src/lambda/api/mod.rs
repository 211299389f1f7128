//! The local APIs: what a process of the environment asks of Lambda over HTTP.

mod extensions;
pub(crate) mod local_endpoints;
mod runtime;
pub(crate) mod server;
