//! Bytes as an OTLP client may send them, from the wire to the documents.
#![no_main]

use libfuzzer_sys::fuzz_target;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = ExportTraceServiceRequest::decode(bytes) {
        otel_xray_fuzz::check_otlp(request.resource_spans);
    }
});
