//! Statements in SQL with their literals replaced by `?` and without their comments, which may hold anything (BET-22,
//! PL-80). Where a dialect can be read in two ways, what either takes for a literal is one.

mod reader;

use super::dialect::{self, Rules};
use crate::edit::{Edit, apply};
use reader::{Found, Reader};
use std::borrow::Cow;

/// A statement in one dialect.
pub(super) fn mask(text: &str, rules: Rules) -> Cow<'_, str> {
    let mut reader = Reader::new(text, rules);
    reader.read();
    let (mut found, doubt) = (reader.found, reader.doubt);
    // A setting of the server may turn it round, and then quotes do not match.
    if doubt.is_escaped && doubt.is_odd {
        found.extend(read(text, rules.toggled(Rules::BACKSLASH)));
    }
    rewrite(text, found)
}

/// A statement whose dialect nobody knows.
pub(super) fn mask_unknown(text: &str) -> Cow<'_, str> {
    rewrite(text, dialect::UNKNOWN.iter().flat_map(|rules| read(text, *rules)).collect())
}

fn read(text: &str, rules: Rules) -> Vec<Found> {
    let mut reader = Reader::new(text, rules);
    reader.read();
    reader.found
}

fn rewrite(text: &str, mut found: Vec<Found>) -> Cow<'_, str> {
    found.sort_by_key(|one| (one.start, one.end));
    let mut edits: Vec<Edit> = Vec::with_capacity(found.len());
    let mut are_comments = Vec::with_capacity(found.len());
    for one in found {
        match (edits.last_mut(), are_comments.last_mut()) {
            (Some(last), Some(is_comment)) if one.start < last.end => {
                last.end = last.end.max(one.end);
                *is_comment &= one.is_comment;
            }
            _ => {
                edits.push(Edit { start: one.start, end: one.end, mark: "?".into() });
                are_comments.push(one.is_comment);
            }
        }
    }
    let is_blank = |at: usize| text.as_bytes().get(at).is_none_or(u8::is_ascii_whitespace);
    for (edit, _) in edits.iter_mut().zip(are_comments).filter(|(_, is_comment)| *is_comment) {
        // What stood apart stays apart.
        let stands_apart = edit.start.checked_sub(1).is_none_or(is_blank) || is_blank(edit.end);
        edit.mark = if stands_apart { "".into() } else { " ".into() };
    }
    apply(text, edits)
}

#[cfg(test)]
mod tests;
