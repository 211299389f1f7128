//! Rust: `std::backtrace::Backtrace`, a panic's report, and errors as `anyhow` prints them (BET-20).

use super::Parsed;
use super::frames::{add, number, path_line_column};

/// What stands above the frame that raised: the machinery of panics and of capturing.
const MACHINERY: [&str; 13] = [
    "anyhow::",
    "<E as anyhow::",
    "backtrace::",
    "core::option::Option<T>::expect",
    "core::option::Option<T>::unwrap",
    "core::option::expect_failed",
    "core::option::unwrap_failed",
    "core::panicking::",
    "core::result::",
    "rust_begin_unwind",
    "std::backtrace",
    "std::panicking::",
    "std::sys",
];

/// Whether a text looks like a Rust backtrace.
pub(super) fn recognises(text: &str) -> bool {
    let mut first_frame = false;
    text.lines().any(|line| {
        let found = is_headline(line)
            || panicked_at(line).is_some()
            || (first_frame && place(line).is_some())
            || line == "Caused by:";
        first_frame = numbered(line).is_some_and(|(index, _)| index == 0);
        found
    })
}

/// The error, then those it lists as causes; the backtrace belongs to the first.
pub(super) fn parse(text: &str) -> Vec<Parsed> {
    let mut part = Part::Head;
    let mut first = Parsed::default();
    let mut head = String::new();
    let mut causes: Vec<String> = Vec::new();
    let mut symbol: Option<&str> = None;
    for line in text.lines() {
        if is_headline(line) {
            part = Part::Frames;
            continue;
        }
        if part == Part::Head && numbered(line).is_some_and(|(index, _)| index == 0) {
            part = Part::Frames;
        }
        match part {
            Part::Head if line == "Caused by:" => part = Part::Causes,
            Part::Head => append(&mut head, line),
            Part::Causes => match (numbered(line), causes.last_mut()) {
                (Some((_, cause)), _) => causes.push(cause.to_owned()),
                (None, Some(cause)) => append(cause, line.trim()),
                (None, None) => causes.push(line.trim().to_owned()),
            },
            Part::Frames => {
                if let Some((path, line)) = place(line) {
                    push(&mut first, path, line, symbol.take().unwrap_or_default());
                } else if let Some(next) = numbered(line).map(|(_, name)| name).or_else(|| inlined(line))
                    && let Some(symbol) = symbol.replace(next)
                {
                    push(&mut first, "", 0, symbol);
                }
            }
        }
    }
    if let Some(symbol) = symbol {
        push(&mut first, "", 0, symbol);
    }
    describe(&mut first, head.trim());
    let mut chain = Vec::new();
    add(&mut chain, first);
    for cause in causes {
        let cause = cause.trim_end();
        let message = (!cause.is_empty()).then(|| cause.to_owned());
        add(&mut chain, Parsed { message, ..Parsed::default() });
    }
    chain
}

/// What the lines at hand are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Head,
    Causes,
    Frames,
}

fn append(text: &mut String, line: &str) {
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(line);
}

/// A panic names its place in the head: the only frame if there is no backtrace.
fn describe(parsed: &mut Parsed, head: &str) {
    let first = head.lines().next().unwrap_or_default();
    let Some(at) = panicked_at(first) else {
        parsed.message = (!head.is_empty()).then(|| head.to_owned());
        return;
    };
    // Before Rust 1.73 the message was quoted, and stood before the place.
    let (place, message) = match at.strip_prefix('\'').and_then(|rest| rest.rsplit_once("', ")) {
        Some((message, place)) => (place, message),
        None => (at.trim_end_matches(':'), head[first.len()..].trim_start()),
    };
    parsed.kind = Some("panic".to_owned());
    let message = message.split("\nnote: ").next().unwrap_or_default().trim_end();
    parsed.message = (!message.is_empty()).then(|| message.to_owned());
    if let (true, Some((path, line))) = (parsed.stack.is_empty(), path_line_column(place)) {
        parsed.push(path, line, "");
    }
}

/// Adds a frame unless it is machinery. What ran before the unwinding began is the panic hook.
fn push(parsed: &mut Parsed, path: &str, line: usize, symbol: &str) {
    let label = without_hash(symbol);
    if label.ends_with("rust_begin_unwind") {
        parsed.stack.clear();
        parsed.truncated = 0;
    } else if !parsed.stack.is_empty() || !MACHINERY.iter().any(|module| label.starts_with(module)) {
        parsed.push(path, line, label);
    }
}

/// Names of the older mangling end in `::h` and 16 digits; the full format puts an address before the name.
fn without_hash(symbol: &str) -> &str {
    let name = symbol
        .split_once(" - ")
        .filter(|(address, _)| address.starts_with("0x"))
        .map_or(symbol, |(_, name)| name);
    let hash = name.rsplit_once("::h");
    let is_hash = |hash: &str| hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    hash.filter(|(_, hash)| is_hash(hash)).map_or(name, |(name, _)| name)
}

fn is_headline(line: &str) -> bool {
    matches!(line, "stack backtrace:" | "Stack backtrace:")
}

/// `  12: symbol`
fn numbered(line: &str) -> Option<(usize, &str)> {
    let (index, rest) = line.strip_prefix(' ')?.trim_start().split_once(':')?;
    let rest = if rest.is_empty() { rest } else { rest.strip_prefix(' ')? };
    Some((number(index)?, rest.trim_start()))
}

/// A function inlined into the one above has no number.
fn inlined(line: &str) -> Option<&str> {
    line.strip_prefix("      ").map(str::trim_start).filter(|line| !line.is_empty())
}

/// `             at ./src/main.rs:7:52`
fn place(line: &str) -> Option<(&str, usize)> {
    path_line_column(line.strip_prefix(' ')?.trim_start().strip_prefix("at ")?)
}

/// What follows `panicked at` in `thread 'main' (1) panicked at src/main.rs:13:100:`.
fn panicked_at(line: &str) -> Option<&str> {
    let (before, at) = line.split_once("panicked at ")?;
    let is_place = at.starts_with('\'') || path_line_column(at.trim_end_matches(':')).is_some();
    (is_place && (before.is_empty() || before.starts_with("thread '"))).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::super::frames::tests::{reads_a_megabyte, show, show_all};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bet_20_recorded_backtraces() {
        insta::assert_snapshot!(show_all(include_str!("recorded/rust.txt"), recognises, parse));
    }

    #[test]
    fn bet_20_names_without_hash_and_address() {
        for (symbol, expected) in [
            ("app::f::h0123456789abcdef", "app::f"),
            ("0x55d0a1b2c3d4 - app::f::h0123456789abcdef", "app::f"),
            ("app::f::hello", "app::f::hello"),
            ("<A as B>::f", "<A as B>::f"),
        ] {
            assert_eq!(without_hash(symbol), expected, "{symbol}");
        }
    }

    #[test]
    fn bet_20_inlined_functions_and_functions_without_a_place() {
        let text = "stack backtrace:\n   0: core::panicking::panic\n   1: app::f\n             at ./src/a.rs:3:1\n      app::g\n             at ./src/a.rs:9:1\n   2: main\n   3: _start\n";
        assert_eq!(
            show(&parse(text)),
            "- | -\n  ./src/a.rs:3 app::f\n  ./src/a.rs:9 app::g\n  :0 main\n  :0 _start\n"
        );
    }

    #[test]
    fn bet_20_a_panic_without_a_backtrace() {
        for text in [
            "thread 'main' panicked at src/main.rs:2:5:\nfirst\nsecond\nnote: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n",
            "thread 'main' panicked at 'first\nsecond', src/main.rs:2:5\n",
        ] {
            let read = show(&parse(text));
            assert!(read.starts_with("panic | "), "{read}");
        }
        let read = "panic | first\\nsecond\n  src/main.rs:2 \n";
        assert_eq!(
            show(&parse("thread 'main' panicked at src/main.rs:2:5:\nfirst\nsecond\nnote: run\n")),
            read
        );
        assert_eq!(
            show(&parse("thread 'a' panicked at 'x', src/main.rs:2:5\n")),
            "panic | x\n  src/main.rs:2 \n"
        );
    }

    #[test]
    fn bet_20_prose_and_other_languages_are_not_recognised() {
        for text in [
            "",
            "it panicked at noon",
            "  1: x\n at y",
            "    at f (/x.js:3:14)",
            "#0 /b.php(3): f()",
            "caused by: x",
        ] {
            assert!(!recognises(text), "{text}");
        }
    }

    #[test]
    fn bet_21_a_megabyte_stays_bounded() {
        for line in [
            "   0: f\n      at a.rs:1:1\n",
            "   1: f\n",
            "Caused by:\n    0: x\n",
            "x\n",
            "panicked at '",
            "::h",
            "   0: rust_begin_unwind\n",
        ] {
            reads_a_megabyte(parse, line);
        }
    }

    proptest! {
        #[test]
        fn bet_20_any_text_is_read_without_panic(text in "(?s).{0,200}") {
            let _ = (recognises(&text), parse(&text));
            let _ = parse(&format!("thread '{text}' panicked at {text}:1:1:\n{text}\n\nCaused by:\n    0: {text}\n\nstack backtrace:\n   0: {text}\n      at {text}:1:1\n"));
        }
    }
}
