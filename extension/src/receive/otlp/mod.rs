//! OpenTelemetry SDKs: export requests over HTTP in protobuf or JSON, and over gRPC.

pub mod grpc;
pub mod http;
pub mod http2;
pub mod intake;
pub mod json;
mod status;
