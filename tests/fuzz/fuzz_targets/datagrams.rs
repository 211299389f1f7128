//! Datagrams as they may reach the X-Ray daemon's port.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otel_xray::receive::daemon::datagram::{self, Datagram};

const HEADER: &[u8] = b"{\"format\":\"json\",\"version\":1}\n";

fuzz_target!(|bytes: &[u8]| {
    let _ = datagram::parse(bytes);
    match datagram::parse(&[HEADER, bytes].concat()) {
        // The same document three times, as long as a trace may get.
        Ok(Datagram::Document(document)) => otel_xray_fuzz::check_documents(vec![*document; 3]),
        Ok(Datagram::Otlp { decoded, .. }) => otel_xray_fuzz::check_otlp(decoded.resource_spans),
        Ok(Datagram::Metrics) | Err(_) => {}
    }
});
