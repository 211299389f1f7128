//! Texts as stacks of exceptions, read by the parser of the language that the first byte names, or by guess.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otel_xray_fuzz::{check_otlp, hostile};

fuzz_target!(|input: &[u8]| {
    let Some((language, text)) = input.split_first() else { return };
    let language = match language {
        b'd' => "dotnet",
        b'e' => "erlang",
        b'g' => "go",
        b'h' => "php",
        b'j' => "java",
        b'n' => "nodejs",
        b'p' => "python",
        b'r' => "ruby",
        b's' => "rust",
        _ => "",
    };
    check_otlp(hostile::stack(language, &String::from_utf8_lossy(text)));
});
