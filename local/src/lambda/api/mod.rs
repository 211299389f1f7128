//! The local APIs: what a process of the environment asks of Lambda over HTTP. Calls of the runtime and of extensions
//! come in, change the state or wait for it, and are answered. `lifecycle` opens the server.

mod call;
mod extensions;
mod local_endpoints;
mod runtime;
mod server;
mod telemetry;

pub(crate) use local_endpoints::CREDENTIALS_PATH;
pub(crate) use server::ApiServer;
