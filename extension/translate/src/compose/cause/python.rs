//! Python tracebacks: both chain phrases, exception groups, repeated frames (MAP-29, BET-20).

use super::frames::number;
use super::{MAX_FRAMES, Parsed};
use crate::document::Frame;

const HEAD: &str = "Traceback (most recent call last):";
const CHAINS: [&str; 2] = [
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
];

/// Whether a text looks like a traceback.
pub(super) fn recognises(text: &str) -> bool {
    text.contains("Traceback (most recent call last):")
}

/// The exceptions of a traceback, the last one raised first.
pub(super) fn parse(text: &str) -> Vec<Parsed> {
    let mut exceptions = Vec::new();
    let mut section: Vec<&str> = Vec::new();
    for line in text.lines().map(without_group_margin) {
        if CHAINS.contains(&line.trim()) {
            exceptions.extend(parse_section(&section));
            section.clear();
        } else {
            section.push(line);
        }
    }
    exceptions.extend(parse_section(&section));
    exceptions.reverse();
    exceptions
}

/// The lines of an exception group stand behind `  | `, its head behind `  + `.
fn without_group_margin(line: &str) -> &str {
    let trimmed = line.trim_start();
    for margin in ["| ", "+ Exception Group "] {
        if let Some(rest) = trimmed.strip_prefix(margin) {
            return rest;
        }
    }
    line
}

fn parse_section(lines: &[&str]) -> Option<Parsed> {
    let mut parsed = Parsed::default();
    let mut described: Vec<&str> = Vec::new();
    let begin = lines.iter().position(|line| line.trim_end().ends_with(HEAD)).map_or(0, |head| head + 1);
    for line in &lines[begin..] {
        if described.is_empty() {
            if let Some(frame) = frame(line) {
                parsed.stack.push(frame);
                continue;
            }
            if let Some(times) = repeated(line) {
                parsed.skip(times);
                continue;
            }
            if line.starts_with(' ') || line.trim().is_empty() {
                continue;
            }
        } else if is_group_member(line) {
            break;
        }
        described.push(line);
    }
    parsed.stack.reverse();
    parsed.skip(parsed.stack.len().saturating_sub(MAX_FRAMES));
    parsed.stack.truncate(MAX_FRAMES);
    let description = described.join("\n");
    let description = description.trim_end();
    if !description.is_empty() {
        let (kind, message) = description.split_once(": ").unwrap_or((description, ""));
        let kind = kind.trim_end_matches(':');
        parsed.kind = Some(kind.to_owned());
        parsed.message = (!message.is_empty()).then(|| message.to_owned());
    }
    (parsed.kind.is_some() || !parsed.stack.is_empty()).then_some(parsed)
}

/// `  File "path", line N, in label`; a syntax error has no label.
fn frame(line: &str) -> Option<Frame> {
    let rest = line.trim_start().strip_prefix("File \"")?;
    let (path, rest) = rest.split_once("\", line ")?;
    let (line, label) = rest.split_once(", in ").unwrap_or((rest, ""));
    Some(Frame { path: path.to_owned(), line: number(line.trim())?, label: label.trim().to_owned() })
}

/// `  [Previous line repeated 996 more times]`
fn repeated(line: &str) -> Option<usize> {
    number(line.trim().strip_prefix("[Previous line repeated ")?.split(' ').next()?)
}

/// The rule between the members of a group: `+-+---------------- 1 ----------------`.
fn is_group_member(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("+-") || line.starts_with("+----")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(parsed: &Parsed) -> Vec<String> {
        parsed.stack.iter().map(|f| format!("{}:{} {}", f.path, f.line, f.label)).collect()
    }

    #[test]
    fn map_29_a_traceback_is_read_innermost_first() {
        let text = "Traceback (most recent call last):\n  File \"/var/task/app.py\", line 7, in handler\n    work(\n    ~~~~^\n  File \"/opt/a, b.py\", line 3, in work\n    raise ValueError(\n\nValueError: first: second\nand a second line\n";
        let parsed = parse(text);
        assert_eq!(parsed.len(), 1);
        assert_eq!(labels(&parsed[0]), ["/opt/a, b.py:3 work", "/var/task/app.py:7 handler"]);
        assert_eq!(parsed[0].kind.as_deref(), Some("ValueError"));
        assert_eq!(parsed[0].message.as_deref(), Some("first: second\nand a second line"));
    }

    #[test]
    fn bet_20_both_chain_phrases() {
        for phrase in CHAINS {
            let text = format!(
                "{HEAD}\n  File \"a.py\", line 1, in a\nKeyError: 'k'\n\n{phrase}\n\n{HEAD}\n  File \"b.py\", line 2, in b\napp.Failed\n"
            );
            let parsed = parse(&text);
            let kinds: Vec<_> = parsed.iter().map(|p| p.kind.as_deref().unwrap()).collect();
            assert_eq!(kinds, ["app.Failed", "KeyError"]);
            assert_eq!(parsed[0].message, None);
        }
    }

    #[test]
    fn bet_20_groups_syntax_errors_and_recursion() {
        let group = "  + Exception Group Traceback (most recent call last):\n  |   File \"a.py\", line 1, in a\n  |     raise g\n  | ExceptionGroup: two (2 sub-exceptions)\n  +-+---------------- 1 ----------------\n    | ValueError: one\n    +---------------- 2 ----------------\n    | TypeError: two\n    +------------------------------------\n";
        let parsed = parse(group);
        assert_eq!(parsed.len(), 1);
        assert_eq!(parsed[0].kind.as_deref(), Some("ExceptionGroup"));
        assert_eq!(parsed[0].message.as_deref(), Some("two (2 sub-exceptions)"));
        assert_eq!(labels(&parsed[0]), ["a.py:1 a"]);

        let syntax =
            format!("{HEAD}\n  File \"bad.py\", line 9\n    def\n       ^\nSyntaxError: invalid syntax\n");
        assert_eq!(labels(&parse(&syntax)[0]), ["bad.py:9 "]);

        let deep = format!(
            "{HEAD}\n  File \"r.py\", line 1, in r\n    r()\n  [Previous line repeated 996 more times]\nRecursionError: x\n"
        );
        assert_eq!(parse(&deep)[0].truncated, 996);

        let long = format!("{HEAD}\n{}E: x\n", "  File \"r.py\", line 1, in r\n".repeat(MAX_FRAMES + 3));
        assert_eq!((parse(&long)[0].stack.len(), parse(&long)[0].truncated), (MAX_FRAMES, 3));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "(?s).{0,300}") {
            let _ = parse(&text);
            let _ = parse(&format!("{HEAD}\n  File \"{text}\", line {text}, in {text}\n{text}"));
        }
    }
}
