//! JSON as an OTLP client may write it: what is made of it is always protobuf that can be read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otel_xray::receive::otlp::json as otlp_json;
use otel_xray::translate::otlp_decode;

fuzz_target!(|input: &[u8]| {
    if let Ok(converted) = otlp_json::to_protobuf(input) {
        let decoded = otlp_decode::decode(&converted.protobuf);
        assert_eq!(decoded.map(|decoded| decoded.unreadable), Ok(0));
    }
});
