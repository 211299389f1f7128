//! Spans that break every rule of OTLP, over some flushes: each becomes part of a document that X-Ray takes, or is
//! accounted for.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otel_xray::received::Received;
use otel_xray::translate::Translator;
use otel_xray_fuzz::{NOW_UNIX_NANO, check, hostile, machine};

fuzz_target!(|traffic: hostile::Traffic| {
    let mut machine = machine(traffic.tracing_mode, &traffic.trace_header, traffic.sampling, traffic.keep);
    let mut translator = Translator::default();
    let mut held = 0;
    for flush in traffic.flushes {
        machine.receive(Received::Otlp(flush), NOW_UNIX_NANO);
        held = check(&mut machine, &mut translator, &traffic.function, held);
    }
});
