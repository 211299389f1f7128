//! Spans as OTLP's protobuf has them: read from a request, kept encoded, and weighed.

pub mod otlp_decode;
pub mod weight;
pub mod wire;
