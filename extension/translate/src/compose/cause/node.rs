//! V8 stacks, alone or as `util.inspect` prints them with causes and members (MAP-30, BET-20).

use super::Parsed;
use super::frames::{add, number, path_and_line, path_line_column};
use crate::document::Frame;

/// Whether a text looks like a V8 stack.
pub(super) fn recognises(text: &str) -> bool {
    text.lines().any(|line| frame(line).is_some_and(|(path, line, _)| line > 0 || path.starts_with('<')))
}

/// The error, then its causes. Of an `AggregateError` the first member is taken for the cause.
pub(super) fn parse(text: &str) -> Vec<Parsed> {
    let mut chain = Vec::new();
    let mut current = Parsed::default();
    let mut head = Head::default();
    // Indentation of the members of an AggregateError: `Some(None)` until the first of them is seen.
    let mut members: Option<Option<usize>> = None;
    for line in text.lines() {
        let trimmed = line.trim();
        let indent = line.len() - line.trim_start().len();
        if let Some((path, line, label)) = frame(line) {
            head.close();
            current.push(path, line, label);
        } else if let Some(omitted) = omitted(trimmed) {
            current.skip(omitted);
        } else if let Some(cause) = trimmed.strip_prefix("[cause]: ") {
            finish(&mut chain, &mut current, &mut head);
            if cause.starts_with("[Error]") {
                break;
            }
            head.open(cause);
        } else if trimmed == "[errors]: [" {
            finish(&mut chain, &mut current, &mut head);
            members = Some(None);
        } else if members == Some(None) && !trimmed.is_empty() {
            members = Some(Some(indent));
            head.open(trimmed);
        } else if members == Some(Some(indent)) && !trimmed.starts_with(['}', ']']) && head.closed {
            break;
        } else {
            head.line(line);
        }
    }
    finish(&mut chain, &mut current, &mut head);
    chain
}

fn finish(chain: &mut Vec<Parsed>, current: &mut Parsed, head: &mut Head) {
    let text = match head.text.split_once("\n\n") {
        Some((source, rest)) => match syntax_error_place(source) {
            Some((path, line)) => {
                current.stack.insert(0, Frame { path: path.to_owned(), line, label: String::new() });
                rest
            }
            None => &head.text,
        },
        None => &head.text,
    };
    current.describe(text, is_type);
    add(chain, std::mem::take(current));
    *head = Head::default();
    head.close();
}

/// The lines before the first frame: type and message.
#[derive(Debug, Default)]
struct Head {
    text: String,
    closed: bool,
}

impl Head {
    fn open(&mut self, first: &str) {
        *self = Self::default();
        self.line(first);
    }

    fn close(&mut self) {
        self.closed = true;
    }

    fn line(&mut self, line: &str) {
        if self.closed {
            return;
        }
        if self.text.is_empty() {
            // An error without a stack stands in brackets; its own properties may follow.
            let bare = line.trim_end_matches([',', ' ']).trim_end_matches(" {");
            if let Some(inner) = bare.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                inner.clone_into(&mut self.text);
                self.close();
                return;
            }
            self.text.push_str(line.strip_prefix("Uncaught ").unwrap_or(line));
        } else {
            self.text.push('\n');
            self.text.push_str(line);
        }
    }
}

/// A syntax error is preceded by its place and the source with a mark below: the innermost frame, in other words.
fn syntax_error_place(source: &str) -> Option<(&str, usize)> {
    let mut lines = source.lines();
    let place = path_and_line(lines.next()?)?;
    lines
        .last()
        .is_some_and(|mark| mark.contains('^') && mark.trim_matches([' ', '^']).is_empty())
        .then_some(place)
}

/// `TypeError`, or `TypeError [ERR_INVALID_ARG_TYPE]`.
fn is_type(text: &str) -> bool {
    let name = text.split_once(" [").map_or(text, |(name, _)| name);
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '.');
    !name.is_empty() && name.chars().all(is_word) && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// `at label (place)` or `at place`; `async` says how the frame waits, not what it is.
fn frame(line: &str) -> Option<(&str, usize, &str)> {
    let rest = line.trim().strip_prefix("at ")?;
    // util.inspect writes the error's properties and the list's commas behind the last frame.
    let rest = rest.trim_end_matches(" {").trim_end_matches(',');
    let rest = rest.strip_prefix("async ").unwrap_or(rest);
    let (label, place) = match rest.strip_suffix(')').and_then(|rest| rest.split_once(" (")) {
        Some((label, place)) => (label, place),
        None => ("", rest),
    };
    let (path, line) = match path_line_column(place) {
        Some(found) => found,
        None if label.is_empty() => return None,
        // `Promise.all (index 0)`
        None if place.starts_with("index ") => ("", 0),
        // `<anonymous>`, `native`
        None => (place, 0),
    };
    Some((without_scheme(path), line, label))
}

/// `file:///var/task/app.mjs` is the path that a module of the older kind would show.
fn without_scheme(path: &str) -> &str {
    let Some(rest) = path.strip_prefix("file://") else { return path };
    match rest.strip_prefix('/') {
        Some(drive) if drive.get(1..2) == Some(":") => drive,
        _ => rest,
    }
}

/// `... 4 lines matching cause stack trace ...`
fn omitted(line: &str) -> Option<usize> {
    let (count, _) = line.strip_prefix("... ")?.split_once(" lines matching cause stack trace")?;
    number(count)
}

#[cfg(test)]
mod tests {
    use super::super::frames::tests::{reads_a_megabyte, show, show_all};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn map_30_bet_20_recorded_errors() {
        insta::assert_snapshot!(show_all(include_str!("recorded/node.txt"), recognises, parse));
    }

    #[test]
    fn bet_20_places_and_labels() {
        for (line, expected) in [
            ("    at f (C:\\Program Files (x86)\\app.js:3:14)", "C:\\Program Files (x86)\\app.js:3 f"),
            ("    at C:\\app\\x.js:3:14", "C:\\app\\x.js:3 "),
            ("    at f (file:///C:/app/x.mjs:3:14)", "C:/app/x.mjs:3 f"),
            ("    at async f (file:///var/task/x.mjs:3:14)", "/var/task/x.mjs:3 f"),
            ("    at new X (/x.js:3:14)", "/x.js:3 new X"),
            ("    at async node:internal/main:3:14", "node:internal/main:3 "),
            ("    at X.run [as handler] (/x.js:3:14)", "/x.js:3 X.run [as handler]"),
            ("    at f (webpack://app/./src/x.ts?a:3:14)", "webpack://app/./src/x.ts?a:3 f"),
            ("    at f (<anonymous>)", "<anonymous>:0 f"),
            (
                "    at f (wasm://wasm/0001:wasm-function[1]:0x2a)",
                "wasm://wasm/0001:wasm-function[1]:0x2a:0 f",
            ),
        ] {
            let text = show(&parse(&format!("Error\n{line}\n")));
            assert_eq!(text, format!("Error | -\n  {expected}\n"), "{line}");
        }
    }

    #[test]
    fn bet_20_prose_is_not_a_stack() {
        for text in ["", "at noon", "at f (somewhere)", "look at /x.js:3:14", "\tat a.B.c(B.java:3)"] {
            assert!(!recognises(text), "{text}");
        }
    }

    #[test]
    fn bet_21_a_megabyte_stays_bounded() {
        for line in
            ["    at f (/x.js:1:2)\n", "[cause]: Error: x\n", "[errors]: [\n", "x\n\n", "(", "[cause]: ["]
        {
            reads_a_megabyte(parse, line);
        }
    }

    proptest! {
        #[test]
        fn bet_20_any_text_is_read_without_panic(text in "(?s).{0,200}") {
            let _ = (recognises(&text), parse(&text));
            let _ = parse(&format!("{text}: {text}\n  at {text} ({text}:1:1)\n[cause]: {text}\n[errors]: [\n{text}\n at {text}"));
        }
    }
}
