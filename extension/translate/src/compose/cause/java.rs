//! `Throwable.printStackTrace`, of any language on the JVM; PHP's OpenTelemetry SDK writes the same (MAP-28, BET-20).

use super::Parsed;
use super::frames::{add, number, path_and_line};

/// Whether a text looks like a JVM stack. Other formats have `at` lines too, but none with these places.
pub(super) fn recognises(text: &str) -> bool {
    text.lines().any(|line| {
        let Some(source) = source(line) else { return false };
        line.starts_with("\tat ")
            || matches!(source, "Native Method" | "Unknown Source")
            || source.contains(".java:")
            || source.contains(".kt:")
    })
}

/// The exception, then its causes. What was suppressed on the way is left out.
pub(super) fn parse(text: &str) -> Vec<Parsed> {
    let mut chain = Vec::new();
    let mut current = Parsed::default();
    let mut head = String::new();
    let mut in_head = true;
    let mut in_suppressed = false;
    for line in text.lines() {
        let inner = line.trim_start();
        let is_indented = inner.len() < line.len();
        match inner.strip_prefix("Caused by:") {
            Some(cause) if !(in_suppressed && is_indented) => {
                finish(&mut chain, &mut current, &head);
                head.clear();
                in_suppressed = false;
                // What follows would be the exception that the text began with.
                if cause.trim_start().starts_with("[CIRCULAR REFERENCE") {
                    break;
                }
                head.push_str(cause);
                in_head = true;
                continue;
            }
            _ => {}
        }
        in_suppressed |= is_indented && inner.starts_with("Suppressed: ");
        if in_suppressed {
        } else if let Some(label) = label(line) {
            in_head = false;
            let (path, line) = source(line).map_or(("", 0), place);
            current.push(path, line, label);
        } else if let Some(more) = more(inner) {
            in_head = false;
            current.skip(more);
        } else if in_head {
            if !head.is_empty() {
                head.push('\n');
            }
            head.push_str(line);
        }
    }
    finish(&mut chain, &mut current, &head);
    chain
}

fn finish(chain: &mut Vec<Parsed>, current: &mut Parsed, head: &str) {
    current.describe(without_thread(head), is_type);
    add(chain, std::mem::take(current));
}

/// `Exception in thread "main" java.lang.Error: message`
fn without_thread(head: &str) -> &str {
    let rest = head.strip_prefix("Exception in thread \"").and_then(|rest| rest.split_once("\" "));
    rest.map_or(head, |(_, rest)| rest)
}

fn is_type(text: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '.' | '/' | '-');
    text.starts_with(char::is_alphabetic) && text.chars().all(is_word)
}

/// `com.x.Y.f` of `at java.base/com.x.Y.f(Y.java:3) ~[app.jar:1.0]`: without class loader and module, which end in a
/// slash. A number behind a slash belongs to the name of a lambda's class.
fn label(line: &str) -> Option<&str> {
    source(line)?;
    let (name, _) = line.trim_start().strip_prefix("at ")?.split_once('(')?;
    let mut modules = name.match_indices('/').map(|(at, _)| at + 1);
    let begin = modules.rfind(|at| !name[*at..].starts_with(|c: char| c.is_ascii_digit()));
    Some(&name[begin.unwrap_or(0)..])
}

/// What stands in the brackets of a frame.
fn source(line: &str) -> Option<&str> {
    let (_, rest) = line.trim_start().strip_prefix("at ")?.split_once('(')?;
    Some(rest.split_once(')')?.0)
}

fn place(source: &str) -> (&str, usize) {
    match source {
        "Native Method" | "Unknown Source" => ("", 0),
        _ => path_and_line(source).unwrap_or((source, 0)),
    }
}

/// `... 5 more`: frames in common with the exception before; `... 5 common frames omitted` in logback's words.
fn more(line: &str) -> Option<usize> {
    let (count, rest) = line.strip_prefix("... ")?.split_once(' ')?;
    (rest.starts_with("more") || rest.starts_with("common frames")).then(|| number(count))?
}

#[cfg(test)]
mod tests {
    use super::super::frames::tests::{reads_a_megabyte, show, show_all};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn map_28_bet_20_recorded_exceptions() {
        insta::assert_snapshot!(show_all(include_str!("recorded/java.txt"), recognises, parse));
    }

    #[test]
    fn tv_24_nothing_behind_the_colon() {
        let text = "a.B: x\n\tat a.B.c(B.java:1)\nCaused by: x.Y:\n\tat x.Y.f(Y.java:2)\nCaused by:\n\tat x.Y.g(Y.java:3)\n";
        let read = "a.B | x\n  B.java:1 a.B.c\nx.Y | -\n  Y.java:2 x.Y.f\n- | -\n  Y.java:3 x.Y.g\n";
        assert_eq!(show(&parse(text)), read);
    }

    #[test]
    fn bet_20_prose_and_other_languages_are_not_recognised() {
        for text in
            ["", "at noon (today)", "    at f (/x.js:3:14)", "   at A.B() in C:\\x.cs:line 3", "\tat a.B.c"]
        {
            assert!(!recognises(text), "{text}");
        }
    }

    #[test]
    fn bet_21_a_megabyte_stays_bounded() {
        for line in ["\tat a.B.c(B.java:1)\n", "Caused by: x\n", "\tSuppressed: x\n", "/a/", "\tat ((", "x: "]
        {
            reads_a_megabyte(parse, line);
        }
    }

    proptest! {
        #[test]
        fn bet_20_any_text_is_read_without_panic(text in "(?s).{0,200}") {
            let _ = (recognises(&text), parse(&text));
            let _ = parse(&format!("{text}: {text}\n\tat {text}/{text}({text}:1)\nCaused by: {text}\n\t... {text} more\n"));
        }
    }
}
