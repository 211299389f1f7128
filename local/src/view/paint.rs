//! Colour, and the width of text.

use crate::xray::Node;

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

/// Columns of a text without colour. Characters of double width are rare in names, and counted once.
pub(super) fn width(text: &str) -> usize {
    text.chars().count()
}

/// The text within `columns`, with an ellipsis where something is missing. Colour codes are not counted.
pub(super) fn cut(text: &str, columns: usize) -> String {
    let mut shown = String::new();
    let (mut used, mut in_code, mut coloured) = (0, false, false);
    let total = text.chars().fold((0, false), |(count, code), c| match (code, c) {
        (true, 'm') => (count, false),
        (true, _) | (false, '\x1b') => (count, true),
        (false, _) => (count + 1, false),
    });
    for c in text.chars() {
        if in_code || c == '\x1b' {
            in_code = c != 'm';
            coloured = true;
            shown.push(c);
            continue;
        }
        if total.0 > columns && used + 1 >= columns {
            shown.push('…');
            if coloured {
                shown.push_str("\x1b[0m");
            }
            return shown;
        }
        used += 1;
        shown.push(c);
    }
    shown
}
