//! What is to be replaced in a text, and the text afterwards.

use std::borrow::Cow;
use std::cmp::Reverse;

/// What stands in the place of a secret.
pub const MASK: &str = "REDACTED";

/// Bytes of a text, on the bounds of characters, and what takes their place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edit {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) mark: Cow<'static, str>,
}

impl Edit {
    /// A secret from here to there.
    pub(super) fn mask(start: usize, end: usize) -> Self {
        Self { start, end, mark: MASK.into() }
    }

    pub(super) fn cut(start: usize, end: usize) -> Self {
        Self { start, end, mark: "".into() }
    }
}

/// The text with its edits made; edits that touch the same bytes are one, with the mark of the first.
pub(super) fn apply(text: &str, mut edits: Vec<Edit>) -> Cow<'_, str> {
    edits.retain(|edit| edit.start < edit.end);
    if edits.is_empty() {
        return text.into();
    }
    edits.sort_by_key(|edit| (edit.start, Reverse(edit.end)));
    let mut edited = String::with_capacity(text.len() + 16);
    let mut done = 0;
    for edit in edits {
        if edit.start >= done {
            // Where a bound were none of a character, less would be shown.
            edited.push_str(text.get(done..edit.start).unwrap_or_default());
            edited.push_str(&edit.mark);
        }
        done = done.max(edit.end);
    }
    edited.push_str(text.get(done..).unwrap_or_default());
    // A mask in the place of a mask changes nothing.
    if edited == text { text.into() } else { edited.into() }
}

/// The same for a text that may have been made already.
pub(super) fn then(text: Cow<'_, str>, mask: impl FnOnce(&str) -> Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => mask(text),
        Cow::Owned(text) => {
            let masked = mask(&text);
            if is_same(&masked, &text) { Cow::Owned(text) } else { Cow::Owned(masked.into_owned()) }
        }
    }
}

/// Whether a mask has left the text as it was: a secret may be as long as what takes its place.
pub fn is_same(masked: &str, text: &str) -> bool {
    std::ptr::eq(masked, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_is_as_long_as_its_mask_is_another_text() {
        assert!(!is_same(MASK, "a=SECRET"));
        let text = "a text";
        assert!(is_same(&apply(text, vec![]), text));
    }

    #[test]
    fn edits_that_overlap_are_one() {
        let edits = vec![Edit::mask(4, 6), Edit::cut(1, 3), Edit::mask(5, 8), Edit::mask(9, 9)];
        assert_eq!(apply("0123456789", edits), "03REDACTED89");
        assert!(matches!(apply("a=REDACTED", vec![Edit::mask(2, 10)]), Cow::Borrowed(_)));
    }
}
