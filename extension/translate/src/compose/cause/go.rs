//! `runtime.Stack` of Go, with the head that a panic puts before it (MAP-32, BET-20).

use super::Parsed;
use super::frames::{add, number, path_and_line};

/// What stands above the frame that raised: the recorder and the runtime's own steps to it.
const MACHINERY: [&str; 3] = ["runtime.", "runtime/debug.", "go.opentelemetry.io/otel/sdk/trace."];

/// Whether a text looks like a goroutine's stack.
pub(super) fn recognises(text: &str) -> bool {
    text.lines().any(|line| is_goroutine(line) || (line.contains(" +0x") && place(line).is_some()))
}

/// One exception: Go has no causes in its stacks. Of several goroutines the first is the one that raised.
pub(super) fn parse(text: &str) -> Vec<Parsed> {
    let mut parsed = Parsed::default();
    let mut machinery = Parsed::default();
    let mut head = String::new();
    let mut lines = text.lines().peekable();
    let mut in_head = true;
    while let Some(line) = lines.next() {
        if is_goroutine(line) {
            if !parsed.stack.is_empty() || !machinery.stack.is_empty() {
                break;
            }
            in_head = false;
        } else if let Some((path, number)) = lines.peek().and_then(|next| place(next)) {
            lines.next();
            in_head = false;
            let label = function(line);
            let target =
                if parsed.stack.is_empty() && is_machinery(label) { &mut machinery } else { &mut parsed };
            target.push(path, number, label);
        } else if let Some(elided) = elided(line) {
            parsed.skip(elided);
        } else if in_head {
            if !head.is_empty() {
                head.push('\n');
            }
            head.push_str(line);
        }
    }
    if parsed.stack.is_empty() {
        parsed.stack = machinery.stack;
    }
    parsed.describe(&head, |kind| matches!(kind, "panic" | "fatal error"));
    let mut chain = Vec::new();
    add(&mut chain, parsed);
    chain
}

/// `goroutine 1 [running]:`
fn is_goroutine(line: &str) -> bool {
    line.strip_prefix("goroutine ").is_some_and(|rest| rest.ends_with("]:"))
}

/// The second line of a frame: a tab, `path:line` and mostly ` +0x5e`.
fn place(line: &str) -> Option<(&str, usize)> {
    let rest = line.strip_prefix('\t')?;
    path_and_line(rest.rsplit_once(" +0x").map_or(rest, |(place, _)| place))
}

/// `main.(*S).Load(0x4d2c18?, {0x4d2488?, 0x1})` without what it was called with;
/// `created by main.main in goroutine 1` without the number.
fn function(line: &str) -> &str {
    if line.starts_with("created by ") {
        return line.split(" in goroutine ").next().unwrap_or(line);
    }
    let name = line.strip_suffix(')').and_then(|line| line.rsplit_once('('));
    name.map_or(line, |(name, _)| name)
}

fn is_machinery(label: &str) -> bool {
    label == "panic" || MACHINERY.iter().any(|package| label.starts_with(package))
}

/// `...23 frames elided...`
fn elided(line: &str) -> Option<usize> {
    number(line.strip_prefix("...")?.strip_suffix(" frames elided...")?)
}

#[cfg(test)]
mod tests {
    use super::super::frames::tests::{reads_a_megabyte, show, show_all};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn map_32_bet_20_recorded_stacks() {
        insta::assert_snapshot!(show_all(include_str!("recorded/go.txt"), recognises, parse));
    }

    #[test]
    fn map_32_the_recorder_is_not_the_innermost_frame() {
        let text = "goroutine 6 [running]:\ngo.opentelemetry.io/otel/sdk/trace.recordStackTrace()\n\t/m/span.go:519 +0x38\ngo.opentelemetry.io/otel/sdk/trace.(*recordingSpan).RecordError(0xc0, {0x1, 0x2})\n\t/m/span.go:475 +0x1c\nmain.f()\n\tC:/app/main.go:20 +0x1\nruntime.goexit()\n\t/go/asm.s:1 +0x1\n";
        assert_eq!(show(&parse(text)), "- | -\n  C:/app/main.go:20 main.f\n  /go/asm.s:1 runtime.goexit\n");
    }

    #[test]
    fn bet_20_a_stack_of_machinery_alone_is_kept() {
        let text = "fatal error: stack overflow\n\ngoroutine 1 [running]:\nruntime.throw({0x1, 0x2})\n\t/go/panic.go:1 +0x1\n...23 frames elided...\n";
        assert_eq!(
            show(&parse(text)),
            "fatal error | stack overflow | +23\n  /go/panic.go:1 runtime.throw\n"
        );
    }

    #[test]
    fn bet_20_prose_and_other_languages_are_not_recognised() {
        for text in ["", "goroutine leak:", "\tat a.B.c(B.java:1)", "a +0x1", "\tfrom a.rb:3"] {
            assert!(!recognises(text), "{text}");
        }
    }

    #[test]
    fn bet_21_a_megabyte_stays_bounded() {
        for line in [
            "f()\n\t/a.go:1 +0x1\n",
            "goroutine 1 [running]:\n",
            "\t:1\n",
            "x\n",
            "(",
            "...1 frames elided...\n",
        ] {
            reads_a_megabyte(parse, line);
        }
    }

    proptest! {
        #[test]
        fn bet_20_any_text_is_read_without_panic(text in "(?s).{0,200}") {
            let _ = (recognises(&text), parse(&text));
            let _ = parse(&format!("panic: {text}\n\ngoroutine {text} [{text}]:\n{text}({text})\n\t{text}:3 +0x{text}\n...{text} frames elided...\n"));
        }
    }
}
