//! As much of a server's side of HTTP/2 (RFC 9113) as unary gRPC needs, without any input or output of its own: bytes in,
//! requests and bytes out. Hand-made, because a whole implementation takes a twentieth of the extension's size.

mod connection;
mod frame;
mod hpack;
mod huffman;

pub use connection::{Answer, Broken, Connection, MAX_BUFFERED_BYTES, Request};
