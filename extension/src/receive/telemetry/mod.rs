//! The platform: its own records, delivered by the Telemetry API over HTTP (L-6).

pub mod http;
mod records;
