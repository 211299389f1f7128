//! A statement read by the rules of one dialect: where its literals and comments are.

use super::super::dialect::Rules;

/// Digits of a placeholder: `$1`, `:2`, `@3`, `?4`.
const MAX_PLACEHOLDER_DIGITS: usize = 5;

/// Words behind which a name stands, and no text.
const BEFORE_NAMES: &[&str] = &[
    "from",
    "join",
    "into",
    "update",
    "table",
    "index",
    "view",
    "trigger",
    "as",
    "exists",
    "references",
    "constraint",
    "column",
    "savepoint",
    "set",
];

/// A literal or a comment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) is_comment: bool,
}

/// What speaks against the reading.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Doubt {
    /// A backslash stood before a quote.
    pub(super) is_escaped: bool,
    /// A text did not end, or a word begins where one ends.
    pub(super) is_odd: bool,
}

/// Where identifiers stand that look like texts (`SQLite`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expects {
    Anything,
    /// Behind `FROM`, `AS` and their like.
    Identifier,
    /// Behind `INTO` and a table.
    Columns,
    InColumns,
}

pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    text: &'a str,
    rules: Rules,
    at: usize,
    pub(super) found: Vec<Found>,
    pub(super) doubt: Doubt,
    expects: Expects,
    is_insert: bool,
    /// The last word.
    last: &'a [u8],
    /// Passwords may come that are written like names.
    has_passwords: bool,
    /// Such a one is next.
    is_password: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str, rules: Rules) -> Self {
        let doubt = Doubt::default();
        let expects = Expects::Anything;
        Self {
            bytes: text.as_bytes(),
            text,
            rules,
            at: 0,
            found: Vec::new(),
            doubt,
            expects,
            is_insert: false,
            last: &[],
            has_passwords: false,
            is_password: false,
        }
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn before(&self) -> u8 {
        self.at.checked_sub(1).map_or(b' ', |at| self.bytes[at])
    }

    pub(super) fn read(&mut self) {
        while self.at < self.bytes.len() {
            let at = self.at;
            match self.bytes[at] {
                b'\'' => self.text_literal(at, self.rules.has(Rules::BACKSLASH)),
                b'"' => self.double(at),
                b'`' if self.rules.has(Rules::BACKTICKS) => self.identifier(b'`'),
                b'[' if self.rules.has(Rules::BRACKETS) => self.identifier(b']'),
                b'-' if self.peek(1) == b'-' && self.are_dashes_a_comment() => self.line_comment(),
                b'#' if self.rules.has(Rules::HASH) => self.line_comment(),
                b'/' if self.peek(1) == b'/' && self.rules.has(Rules::SLASHES) => self.line_comment(),
                b'/' if self.peek(1) == b'*' => self.block_comment(),
                b'$' => self.dollar(),
                b'0'..=b'9' => self.number(at),
                b'.' if self.peek(1).is_ascii_digit() => {
                    if self.follows_a_name() {
                        self.at += 1;
                        self.word();
                    } else {
                        self.number(at);
                    }
                }
                b':' | b'@' | b'?' => self.placeholder(),
                byte if is_word(byte) => self.word(),
                byte => {
                    self.note_sign(byte);
                    self.at += 1;
                }
            }
        }
    }

    fn literal(&mut self, start: usize, end: usize) {
        self.found.push(Found { start, end, is_comment: false });
        self.at = end;
        self.is_password = false;
        self.expects = match self.expects {
            Expects::InColumns => Expects::InColumns,
            _ => Expects::Anything,
        };
    }

    fn comment(&mut self, end: usize) {
        self.found.push(Found { start: self.at, end, is_comment: true });
        self.at = end;
    }

    fn line_comment(&mut self) {
        let rest = &self.bytes[self.at..];
        self.comment(self.at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()));
    }

    fn are_dashes_a_comment(&self) -> bool {
        !self.rules.has(Rules::SPACED_DASHES) || self.peek(2) <= b' '
    }

    fn block_comment(&mut self) {
        let (mut depth, mut at) = (1, self.at + 2);
        while at < self.bytes.len() && depth > 0 {
            match (self.bytes[at], self.bytes.get(at + 1)) {
                (b'*', Some(b'/')) => {
                    depth -= 1;
                    at += 2;
                }
                (b'/', Some(b'*')) if self.rules.has(Rules::NESTED) => {
                    depth += 1;
                    at += 2;
                }
                _ => at += 1,
            }
        }
        self.comment(at);
    }

    /// A text that begins at its prefix and whose quote is here.
    fn text_literal(&mut self, start: usize, escapes: bool) {
        let quote = self.bytes[self.at];
        let rest = &self.bytes[self.at..];
        let end = if self.rules.has(Rules::TRIPLE) && rest.starts_with(&[quote; 3]) {
            self.triple(quote)
        } else {
            self.quoted(quote, escapes)
        };
        self.doubt.is_odd |= self.bytes.get(end).is_some_and(|byte| is_word(*byte) || byte.is_ascii_digit());
        self.literal(start, end);
    }

    /// The end of what a quote begins. A doubled quote does not close it, nor does one behind a backslash that escapes.
    fn quoted(&mut self, quote: u8, escapes: bool) -> usize {
        let mut at = self.at + 1;
        while at < self.bytes.len() {
            let byte = self.bytes[at];
            if byte == b'\\' && self.bytes.get(at + 1) == Some(&quote) {
                self.doubt.is_escaped = true;
            }
            match (byte, self.bytes.get(at + 1)) {
                (b'\\', Some(_)) if escapes => at += 2,
                _ if byte != quote => at += 1,
                (_, Some(next)) if *next == quote => at += 2,
                _ => return at + 1,
            }
        }
        self.doubt.is_odd = true;
        self.bytes.len()
    }

    fn triple(&self, quote: u8) -> usize {
        let mut at = self.at + 3;
        while at < self.bytes.len() {
            match self.bytes[at] {
                b'\\' => at += 2,
                _ if self.bytes[at..].starts_with(&[quote; 3]) => return at + 3,
                _ => at += 1,
            }
        }
        self.bytes.len()
    }

    fn double(&mut self, start: usize) {
        let is_text = if self.rules.has(Rules::DOUBLE_EITHER) {
            !self.is_double_an_identifier()
        } else {
            self.rules.has(Rules::DOUBLE_TEXT)
        };
        if is_text {
            self.text_literal(start, self.rules.has(Rules::BACKSLASH));
        } else {
            self.identifier(b'"');
        }
    }

    fn is_double_an_identifier(&mut self) -> bool {
        let (before, odd) = (self.before(), self.doubt);
        let end = self.quoted(b'"', false);
        self.doubt = odd;
        self.expects == Expects::Identifier
            || self.expects == Expects::InColumns
            || before == b'.' && !self.follows_a_literal()
            || self.bytes.get(end) == Some(&b'.')
    }

    /// A name in quotes is shown; one without an end is none.
    fn identifier(&mut self, close: u8) {
        let start = self.at;
        let mut at = start + 1;
        while at < self.bytes.len() {
            match (self.bytes[at] == close, self.bytes.get(at + 1)) {
                (true, Some(next)) if *next == close => at += 2,
                (true, _) if self.is_password => return self.literal(start, at + 1),
                (true, _) => {
                    self.at = at + 1;
                    return self.note_name();
                }
                _ => at += 1,
            }
        }
        self.doubt.is_odd = true;
        self.literal(start, at);
    }

    fn dollar(&mut self) {
        let start = self.at;
        let rest = &self.text[start + 1..];
        if self.rules.has(Rules::DOLLAR) {
            let tag = rest.bytes().position(|byte| !(is_word(byte) || byte.is_ascii_digit()) || byte == b'$');
            if let Some(tag) = tag.filter(|tag| {
                rest.as_bytes()[*tag] == b'$' && !rest.starts_with(|c: char| c.is_ascii_digit())
            }) {
                let mark = &self.text[start..start + tag + 2];
                let body = start + mark.len();
                let end =
                    self.text[body..].find(mark).map_or(self.bytes.len(), |end| body + end + mark.len());
                return self.literal(start, end);
            }
        }
        if self.rules.has(Rules::MONEY) && self.peek(1).is_ascii_digit() {
            self.at += 1;
            return self.number(start);
        }
        self.skip_placeholder();
    }

    /// A sign that may begin a placeholder, with its digits.
    fn placeholder(&mut self) {
        let before = self.before();
        let can_be = self.bytes[self.at] == b'?' || before <= b' ' || b"(,=<>+-*/|".contains(&before);
        if can_be {
            self.skip_placeholder();
        } else {
            self.at += 1;
        }
    }

    fn skip_placeholder(&mut self) {
        self.is_password = false;
        let rest = &self.bytes[self.at + 1..];
        let digits =
            rest.iter().take(MAX_PLACEHOLDER_DIGITS + 1).take_while(|byte| byte.is_ascii_digit()).count();
        let is_one = digits <= MAX_PLACEHOLDER_DIGITS
            && !rest.get(digits).is_some_and(|byte| *byte == b'.' || is_word(*byte));
        self.at += 1 + if is_one { digits } else { 0 };
    }

    fn follows_a_name(&self) -> bool {
        let before = self.before();
        !self.follows_a_literal()
            && (is_word(before) || before.is_ascii_digit() || matches!(before, b'"' | b'`' | b']'))
    }

    fn follows_a_literal(&self) -> bool {
        self.found.last().is_some_and(|last| last.end == self.at)
    }

    fn number(&mut self, start: usize) {
        let mut at = self.at + 1;
        while let Some(byte) = self.bytes.get(at) {
            let is_exponent = matches!(self.bytes[at - 1], b'e' | b'E') && at - 1 > start;
            let is_sign =
                matches!(byte, b'+' | b'-') && is_exponent && !self.bytes[start..].starts_with(b"0x");
            let goes_on = self.bytes.get(at + 1).is_some_and(u8::is_ascii_digit);
            if !(byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_') || is_sign && goes_on) {
                break;
            }
            at += 1;
        }
        self.literal(start, at);
    }

    fn word(&mut self) {
        let start = self.at;
        let is_of_word = |byte: &u8| {
            is_word(*byte)
                || byte.is_ascii_digit()
                || *byte == b'$'
                || *byte == b'#' && !self.rules.has(Rules::HASH)
        };
        let rest = &self.bytes[start..];
        let end = start + rest.iter().position(|byte| !is_of_word(byte)).unwrap_or(rest.len());
        self.at = end;
        let word = &self.bytes[start..end];
        let quote = self.peek(0);
        if quote == b'\'' || quote == b'"' && self.rules.has(Rules::DOUBLE_TEXT) {
            if self.rules.has(Rules::Q_TEXT) && is(word, &["q", "nq"]) && quote == b'\'' {
                return self.q_text(start);
            }
            if is(word, &["e", "n", "b", "x", "r", "br", "rb", "u", "q", "nq"]) {
                let escapes = self.rules.has(Rules::BACKSLASH)
                    || self.rules.has(Rules::E_TEXT) && is(word, &["e", "b"]);
                return self.text_literal(start, escapes);
            }
        }
        if quote == b'&' && is(word, &["u"]) && self.peek(1) == b'\'' {
            self.at += 1;
            return self.text_literal(start, self.rules.has(Rules::BACKSLASH));
        }
        if self.is_password {
            let ends = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b';' | b')');
            let end = rest.iter().position(ends).unwrap_or(rest.len());
            return self.literal(start, start + end);
        }
        let last = std::mem::replace(&mut self.last, word);
        self.has_passwords |= is(word, &["identified"])
            || is(word, &["user"]) && is(last, &["alter", "create", "modify", "replace"]);
        self.is_password = self.has_passwords && is(word, &["by", "replace", "password"]);
        self.note_word(word);
    }

    /// `q'[...]'`: of brackets the other one closes, of anything else the same.
    fn q_text(&mut self, start: usize) {
        let body = &self.text[self.at + 1..];
        let Some(open) = body.chars().next() else { return self.literal(start, self.bytes.len()) };
        let close = match open {
            '[' => ']',
            '(' => ')',
            '{' => '}',
            '<' => '>',
            same => same,
        };
        let mark: String = [close, '\''].iter().collect();
        let from = self.at + 1 + open.len_utf8();
        let end = self.text[from..].find(&mark).map_or(self.bytes.len(), |end| from + end + mark.len());
        self.literal(start, end);
    }

    fn note_word(&mut self, word: &[u8]) {
        if !self.rules.has(Rules::DOUBLE_EITHER) || self.expects == Expects::InColumns {
            return;
        }
        if is(word, BEFORE_NAMES) {
            self.expects = Expects::Identifier;
            self.is_insert = is(word, &["into"]);
        } else {
            self.note_name();
        }
    }

    fn note_name(&mut self) {
        self.expects = match self.expects {
            Expects::InColumns => Expects::InColumns,
            Expects::Identifier if self.is_insert => Expects::Columns,
            _ => Expects::Anything,
        };
    }

    fn note_sign(&mut self, sign: u8) {
        // A placeholder of Python's.
        self.is_password &= sign != b'%';
        self.expects = match (self.expects, sign) {
            (Expects::Columns, b'(') => Expects::InColumns,
            (Expects::InColumns, b')') => Expects::Anything,
            (Expects::Columns, b'.') => Expects::Identifier,
            (expects, _) if sign.is_ascii_whitespace() => expects,
            (Expects::InColumns, _) => Expects::InColumns,
            _ => Expects::Anything,
        };
    }
}

fn is(word: &[u8], names: &[&str]) -> bool {
    names.iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes()))
}

/// What a word may begin with.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || !byte.is_ascii()
}
