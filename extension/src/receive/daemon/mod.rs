//! X-Ray SDKs, which take the extension for the X-Ray daemon: documents over UDP, questions about sampling over TCP.

pub mod datagram;
pub mod tcp;
pub mod udp;
