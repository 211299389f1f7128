//! The local APIs: what a process of the environment asks of Lambda over HTTP.

mod call;
mod extensions;
mod local_endpoints;
mod runtime;
mod server;
mod telemetry;

pub(crate) use local_endpoints::CREDENTIALS_PATH;
pub(crate) use server::ApiServer;
