//! Texts as trace headers: what is understood survives being written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otel_xray::invocation::trace_header::TraceHeader;

fuzz_target!(|text: &str| {
    let Some(header) = TraceHeader::parse(text) else { return };
    let parent = header.parent.map(|id| format!(";Parent={id}")).unwrap_or_default();
    let again = TraceHeader::parse(&format!("Root={}{parent}", header.root));
    assert_eq!(again.map(|again| (again.root, again.parent)), Some((header.root, header.parent)));
});
