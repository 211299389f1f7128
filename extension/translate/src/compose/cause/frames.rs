//! What the stack formats share: bounded collection of frames, `path:line` places, `Type: message` heads.

use super::{MAX_FRAMES, Parsed};
use crate::document::Frame;
use crate::own_frames::is_own;

/// Exceptions of a text that are read: more than are sent, so that those left out can be counted.
pub(super) const MAX_CHAIN: usize = 100;
/// Characters of a path or a label that are kept: a line of a text can be as long as the text.
const MAX_FRAME_CHARS: usize = 500;
/// Lines and counts are 32-bit integers to whoever reads the document; a text may claim anything.
const MAX_NUMBER: usize = 0x7fff_ffff;

impl Parsed {
    /// Adds the next frame outward, but none of an agent's. What is beyond the limit is only counted (BET-21).
    pub(super) fn push(&mut self, path: &str, line: usize, label: &str) {
        if is_own(path) || path.is_empty() && is_own(label) {
            return;
        }
        if self.stack.len() < MAX_FRAMES {
            self.stack.push(Frame { path: cut(path), line, label: cut(label) });
        } else {
            self.skip(1);
        }
    }

    /// Counts frames that the text itself leaves out.
    pub(super) fn skip(&mut self, frames: usize) {
        self.truncated = self.truncated.saturating_add(frames).min(MAX_NUMBER);
    }

    /// Sets type and message from a head like `Type: message`. Without a type it is all message.
    pub(super) fn describe(&mut self, head: &str, is_type: fn(&str) -> bool) {
        let head = head.trim();
        let (kind, message) = match head.split_once(": ") {
            Some((kind, message)) if is_type(kind) => (Some(kind), message.trim_start()),
            _ => match head.strip_suffix(':').unwrap_or(head) {
                kind if is_type(kind) => (Some(kind), ""),
                _ => (None, head),
            },
        };
        self.kind = kind.map(str::to_owned);
        self.message = (!message.is_empty()).then(|| message.to_owned());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kind.is_none() && self.message.is_none() && self.stack.is_empty()
    }
}

/// Adds an exception to the chain, unless it says nothing or the chain is too long to be of use.
pub(super) fn add(chain: &mut Vec<Parsed>, parsed: Parsed) {
    if chain.len() < MAX_CHAIN && !parsed.is_empty() {
        chain.push(parsed);
    }
}

/// `path:line` split from the right, because a path may hold colons of its own (BET-20).
pub(super) fn path_and_line(place: &str) -> Option<(&str, usize)> {
    let (path, line) = place.rsplit_once(':')?;
    Some((path, number(line)?))
}

/// `path:line:column`, or `path:line`.
pub(super) fn path_line_column(place: &str) -> Option<(&str, usize)> {
    let (path, last) = path_and_line(place)?;
    Some(path_and_line(path).unwrap_or((path, last)))
}

/// Digits alone: `parse` would also take a sign.
pub(super) fn number(digits: &str) -> Option<usize> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok())?.filter(|number| *number <= MAX_NUMBER)
}

fn cut(text: &str) -> String {
    text.trim().chars().take(MAX_FRAME_CHARS).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::fmt::Write as _;

    /// A chain as text: a line for each exception, an indented line for each frame.
    pub(crate) fn show(chain: &[Parsed]) -> String {
        let mut text = String::new();
        for parsed in chain {
            let kind = parsed.kind.as_deref().unwrap_or("-");
            let message = parsed.message.as_deref().unwrap_or("-").replace('\n', "\\n");
            write!(text, "{kind} | {message}").unwrap();
            if parsed.truncated > 0 {
                write!(text, " | +{}", parsed.truncated).unwrap();
            }
            text.push('\n');
            for frame in &parsed.stack {
                writeln!(text, "  {}:{} {}", frame.path, frame.line, frame.label).unwrap();
            }
        }
        text
    }

    /// What every text of a file in `recorded/` is read as. A text begins behind a line `=== name`.
    pub(crate) fn show_all(
        file: &str,
        recognises: fn(&str) -> bool,
        parse: fn(&str) -> Vec<Parsed>,
    ) -> String {
        let mut shown = String::new();
        for section in file.split("=== ").skip(1) {
            let (name, text) = section.split_once('\n').unwrap();
            let seen = if recognises(text) { "" } else { " (not recognised)" };
            write!(shown, "=== {name}{seen}\n{}", show(&parse(text))).unwrap();
        }
        shown
    }

    /// Of a long text of its own lines, or of anything else, a parser keeps no more than is of use.
    pub(crate) fn reads_a_megabyte(parse: fn(&str) -> Vec<Parsed>, line: &str) {
        let text = line.repeat(1_000_000 / line.len());
        let chain = parse(&text);
        assert!(chain.len() <= MAX_CHAIN);
        assert!(chain.iter().all(|parsed| parsed.stack.len() <= MAX_FRAMES));
    }

    #[test]
    fn bet_20_places_are_split_from_the_right() {
        for (place, expected) in [
            ("node:internal/fs:12:5", Some(("node:internal/fs", 12))),
            (r"C:\a b\x.js:3:14", Some((r"C:\a b\x.js", 3))),
            ("/a.js:7", Some(("/a.js", 7))),
            ("/a.js:x:7", Some(("/a.js:x", 7))),
            ("/a.js:+3", None),
            ("/a.js:", None),
            ("/a.js:2147483648", None),
            ("<anonymous>", None),
        ] {
            assert_eq!(path_line_column(place), expected, "{place}");
        }
    }

    #[test]
    fn no_frame_is_an_agents() {
        let mut parsed = Parsed::default();
        for (path, label) in [
            ("/var/task/app.js", "pack"),
            ("/opt/otel-xray/nodejs/recorder.js", "run"),
            ("/opt/python/_otel_xray_agent/otel/span.py", "end"),
            ("", "called by /opt/otel-xray/nodejs/recorder.js"),
            ("/var/task/otel-xray.js", "handler"),
        ] {
            parsed.push(path, 1, label);
        }
        assert_eq!(show(&[parsed]), "- | -\n  /var/task/app.js:1 pack\n  /var/task/otel-xray.js:1 handler\n");
    }

    #[test]
    fn bet_21_frames_beyond_the_limit_are_counted() {
        let mut parsed = Parsed::default();
        for _ in 0..MAX_FRAMES + 3 {
            parsed.push("p", 1, &"x".repeat(MAX_FRAME_CHARS + 1));
        }
        parsed.skip(4);
        assert_eq!((parsed.stack.len(), parsed.truncated), (MAX_FRAMES, 7));
        parsed.skip(usize::MAX);
        assert_eq!(parsed.truncated, MAX_NUMBER);
        assert_eq!(parsed.stack[0].label.len(), MAX_FRAME_CHARS);
    }
}
