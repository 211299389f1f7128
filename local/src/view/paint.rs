//! Colour, and the width of text.

use crate::xray::Node;
use unicode_width::UnicodeWidthChar;

/// Paints where colour is wanted.
pub(super) struct Paint {
    colour: bool,
}

const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const BLUE: &str = "34";
const CYAN: &str = "36";
const DIM: &str = "2";
const BOLD: &str = "1";

impl Paint {
    pub(super) fn new(colour: bool) -> Self {
        Self { colour }
    }

    fn with(&self, code: &str, text: &str) -> String {
        if self.colour && !text.trim().is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    pub(super) fn bold(&self, text: &str) -> String {
        self.with(BOLD, text)
    }

    pub(super) fn dim(&self, text: &str) -> String {
        self.with(DIM, text)
    }

    pub(super) fn red(&self, text: &str) -> String {
        self.with(RED, text)
    }

    pub(super) fn yellow(&self, text: &str) -> String {
        self.with(YELLOW, text)
    }

    pub(super) fn green(&self, text: &str) -> String {
        self.with(GREEN, text)
    }

    pub(super) fn cyan(&self, text: &str) -> String {
        self.with(CYAN, text)
    }

    pub(super) fn name(&self, node: &Node, text: &str) -> String {
        self.with(if node.is_segment { BOLD } else { "0" }, text)
    }

    pub(super) fn bar(&self, node: &Node, text: &str) -> String {
        let code = if node.flag("fault") {
            RED
        } else if node.flag("error") {
            YELLOW
        } else if node.text("/namespace").is_empty() {
            GREEN
        } else {
            BLUE
        };
        self.with(code, text)
    }
}

/// The text without what would move the cursor, change colours or turn the reading direction: documents come from anyone.
pub(super) fn clean(text: &str) -> String {
    let harmful = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if harmful(c) { ' ' } else { c }).collect()
}

/// Columns of a character: two for East Asian wide ones and emoji, none for marks on the character before.
fn columns(c: char) -> usize {
    c.width().unwrap_or_default()
}

/// Columns of a text, colour codes not counted.
pub(super) fn width(text: &str) -> usize {
    let mut in_code = false;
    let mut total = 0;
    for c in text.chars() {
        match c {
            '\x1b' => in_code = true,
            'm' if in_code => in_code = false,
            c if !in_code => total += columns(c),
            _ => {}
        }
    }
    total
}

/// The text within `room` columns, with an ellipsis where something is missing.
pub(super) fn cut(text: &str, room: usize) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let mut shown = String::new();
    let (mut used, mut in_code, mut coloured) = (0, false, false);
    for c in text.chars() {
        if in_code || c == '\x1b' {
            in_code = c != 'm';
            coloured = true;
        } else if used + columns(c) >= room {
            break;
        } else {
            used += columns(c);
        }
        shown.push(c);
    }
    shown.push('…');
    if coloured {
        shown.push_str("\x1b[0m");
    }
    shown
}

/// The end of the branches of a deep tree, within `room` columns: each of their characters has one.
pub(super) fn cut_front(branches: &str, room: usize) -> String {
    let more = branches.chars().count().saturating_sub(room);
    if more == 0 {
        return branches.to_owned();
    }
    branches.chars().skip(more).enumerate().map(|(index, c)| if index == 0 { '…' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_to_columns() {
        for (text, room, shown) in [
            ("short", 5, "short"),
            ("longer", 5, "long…"),
            ("日本語", 6, "日本語"),
            ("日本語", 5, "日本…"),
            ("日本語", 4, "日…"),
            ("e\u{301}te\u{301}", 3, "e\u{301}te\u{301}"),
            ("\x1b[31mlonger\x1b[0m", 5, "\x1b[31mlong…\x1b[0m"),
            ("\x1b[31mshort\x1b[0m", 5, "\x1b[31mshort\x1b[0m"),
        ] {
            assert_eq!(cut(text, room), shown);
            assert!(width(shown) <= room, "{shown}");
        }
    }

    #[test]
    fn a_document_cannot_write_to_the_terminal() {
        assert_eq!(clean("a\x1b[2Jb\r\nc\u{202e}d\u{9b}e"), "a [2Jb  c d e");
    }
}
