//! What the other side says, fit for a log line: bounded, one line, and without what it repeats of what was sent.

use crate::shown;
use std::collections::HashSet;
use std::fmt;

const MAX_MESSAGE: usize = 300;
const MAX_CODE: usize = 64;
/// Shorter words are the language's own.
const MIN_WORD: usize = 3;
/// X-Ray's own words, which are in every document.
const FIELDS: &[&str] = &[
    "annotations",
    "aws",
    "cause",
    "document",
    "end_time",
    "error",
    "fault",
    "http",
    "id",
    "in_progress",
    "links",
    "metadata",
    "name",
    "namespace",
    "origin",
    "parent_id",
    "segment",
    "service",
    "sql",
    "start_time",
    "subsegment",
    "subsegments",
    "throttle",
    "trace",
    "trace_id",
    "type",
    "user",
];

/// The words that messages have in common with what was sent.
#[derive(Debug, Default)]
pub(crate) struct Quoted(HashSet<String>);

impl Quoted {
    /// `sent` writes what was sent.
    pub(crate) fn find<'a>(
        messages: impl IntoIterator<Item = &'a str>,
        sent: impl FnOnce(&mut dyn fmt::Write) -> fmt::Result,
    ) -> Self {
        let wanted: HashSet<String> = messages
            .into_iter()
            .flat_map(|message| words(bounded(message)))
            .filter(|word| word.len() >= MIN_WORD)
            .map(str::to_lowercase)
            .filter(|word| !FIELDS.contains(&word.as_str()))
            .collect();
        let mut search = Search { wanted, found: HashSet::new(), word: String::new() };
        if !search.wanted.is_empty() {
            // The search itself does not fail.
            let _ = sent(&mut search);
            search.end_word();
        }
        Self(search.found)
    }

    /// The message without these words.
    pub(crate) fn out_of(&self, message: &str) -> String {
        let message = bounded(message);
        let mut rest = message;
        let mut left = String::with_capacity(message.len());
        while let Some(begin) = rest.find(is_of_word) {
            let length = rest[begin..].find(|c| !is_of_word(c)).unwrap_or(rest.len() - begin);
            let (before, word) = (&rest[..begin], &rest[begin..begin + length]);
            left.push_str(before);
            left.push_str(if self.0.contains(&word.to_lowercase()) { "…" } else { word });
            rest = &rest[begin + length..];
        }
        left.push_str(rest);
        let is_readable = |c: char| !c.is_control() && c != char::REPLACEMENT_CHARACTER;
        let readable: String = left.chars().map(|c| if is_readable(c) { c } else { ' ' }).collect();
        shown::line(readable.trim())
    }
}

/// An error code, which is a name and nothing else.
pub(crate) fn code(text: &str) -> String {
    let is_name = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '#' | ':');
    let code: String = text.chars().take_while(is_name).take(MAX_CODE).collect();
    if code.is_empty() { "Unknown".to_owned() } else { code }
}

/// The code in a name of AWS's, which may have a namespace before it and a URL behind.
pub(crate) fn aws_code(named: &str) -> String {
    let name = named.split(':').next().unwrap_or_default();
    code(name.rsplit('#').next().unwrap_or_default())
}

fn bounded(message: &str) -> &str {
    let end = message.char_indices().nth(MAX_MESSAGE).map_or(message.len(), |(end, _)| end);
    &message[..end]
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c| !is_of_word(c)).filter(|word| !word.is_empty())
}

/// Looks for words in what is written to it, in pieces of any length.
struct Search {
    wanted: HashSet<String>,
    found: HashSet<String>,
    word: String,
}

impl Search {
    fn end_word(&mut self) {
        if !self.word.is_empty() {
            let word = self.word.to_lowercase();
            if self.wanted.contains(&word) {
                self.found.insert(word);
            }
            self.word.clear();
        }
    }
}

impl fmt::Write for Search {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if is_of_word(c) {
                self.word.push(c);
            } else {
                self.end_word();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(message: &str, sent: &[&str]) -> String {
        let quoted = Quoted::find([message], |out| sent.iter().try_for_each(|part| out.write_str(part)));
        quoted.out_of(message)
    }

    #[test]
    fn what_was_sent_is_not_said_again() {
        let sent = [r#"{"id":"1234","name":"se"#, r#"cret","sql":"SELECT 'pin=4711'","type":"subsegment"}"#];
        for (message, expected) in [
            ("Invalid segment name: secret", "Invalid segment name: …"),
            ("Invalid name (SECRET), type=subsegment", "Invalid name (…), type=subsegment"),
            ("pin=4711;", "…=…;"),
            ("the start_time is missing", "the start_time is missing"),
            ("secrets are another word", "secrets are another word"),
            ("two\nlines\u{7}", "two lines"),
            ("see https://u:pw@h/x?token=1", "see https://h/x"),
            ("", ""),
        ] {
            assert_eq!(said(message, &sent), expected);
        }
        assert_eq!(said(&"é ".repeat(10_000), &sent).chars().count(), MAX_MESSAGE - 1);
    }

    #[test]
    fn codes_are_names() {
        for (text, expected) in [
            ("InvalidName", "InvalidName"),
            ("com.amazonaws.xray#Throttled:http", "com.amazonaws.xray#Throttled:http"),
            ("Bad {\"name\":\"secret\"}", "Bad"),
            ("{}", "Unknown"),
            ("", "Unknown"),
        ] {
            assert_eq!(code(text), expected);
        }
        assert_eq!(code(&"A".repeat(1000)).len(), MAX_CODE);
    }
}
