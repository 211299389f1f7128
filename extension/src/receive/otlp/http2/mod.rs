//! A server's side of HTTP/2 as unary gRPC needs it, without any input or output of its own: bytes in, requests and bytes
//! out. What is read, when, and for how long is up to [`super::grpc`]; the rules of HTTP/2 are `h2`'s.

mod connection;
mod framing;
mod wire;

#[cfg(test)]
pub(super) mod test_client;

pub use connection::{Answer, Broken, Connection, Headers, MAX_BUFFERED_BYTES, Request};
