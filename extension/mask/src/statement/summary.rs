//! What a statement does to what, in a few words (PL-47): `SELECT users`, `INSERT orders SELECT carts`.

use super::dialect::{self, Language};

/// As long as the semantic conventions let it be. Words are not cut.
const MAX_BYTES: usize = 255;

/// Verbs that a statement begins with, and what stands behind each.
const VERBS: &[(&str, Behind)] = &[
    ("SELECT", Behind::From),
    ("DELETE", Behind::From),
    ("INSERT", Behind::Into),
    ("REPLACE", Behind::Into),
    ("UPSERT", Behind::Into),
    ("UPDATE", Behind::Target),
    ("MERGE", Behind::Target),
    ("TRUNCATE", Behind::Target),
    ("CALL", Behind::Target),
    ("EXEC", Behind::Target),
    ("EXECUTE", Behind::Target),
    ("COPY", Behind::Target),
    ("CREATE", Behind::Thing),
    ("ALTER", Behind::Thing),
    ("DROP", Behind::Thing),
];
/// Verbs that may stand in brackets, or behind them.
const NESTED: &[&str] = &["SELECT", "INSERT", "UPDATE", "DELETE", "MERGE"];
/// What is made, altered and dropped.
const THINGS: &[&str] =
    &["TABLE", "VIEW", "INDEX", "SCHEMA", "DATABASE", "SEQUENCE", "FUNCTION", "PROCEDURE", "TRIGGER", "TYPE"];
/// Words between a verb and its target.
const BETWEEN: &[&str] =
    &["INTO", "TABLE", "ONLY", "IF", "NOT", "EXISTS", "CONCURRENTLY", "LATERAL", "IGNORE", "LOW_PRIORITY"];
/// Words that end a list of tables.
const BEHIND_TABLES: &[&str] = &[
    "ON",
    "USING",
    "WHERE",
    "GROUP",
    "ORDER",
    "HAVING",
    "LIMIT",
    "OFFSET",
    "FETCH",
    "UNION",
    "EXCEPT",
    "INTERSECT",
    "SET",
    "VALUES",
    "RETURNING",
    "WINDOW",
    "FOR",
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Behind {
    /// Its targets stand behind `FROM`.
    From,
    /// Its target stands behind `INTO`.
    Into,
    /// Its target is next.
    Target,
    /// A kind of thing is next, and its name.
    Thing,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Expects {
    Nothing,
    /// A name. Of tables there may be more, and what looks like a call is one.
    Name {
        of_table: bool,
    },
    /// A comma, and another table.
    Comma,
}

/// Which verbs may be next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Any,
    /// Those that may stand in brackets, or behind them.
    Nested,
    Select,
}

enum Token<'a> {
    Word(&'a str),
    Quoted(&'a str),
    Sign(u8),
}

/// Of a masked statement in SQL; `None` where it names nothing that it is done to.
pub(crate) fn of(masked: &str, system: &str) -> Option<String> {
    if !matches!(dialect::of(system), Language::Sql(rules) if rules != dialect::GRAPHQL) {
        return None;
    }
    let mut summary = Summary::default();
    let mut reader = Reader { text: masked, at: 0 };
    while let Some(token) = reader.next(summary.expects != Expects::Nothing) {
        summary.take(&token, &mut reader);
    }
    summary.has_target.then_some(summary.text)
}

struct Summary<'a> {
    text: String,
    has_target: bool,
    expects: Expects,
    behind: Option<Behind>,
    /// Of each bracket that is open: whether a `FROM` is to come.
    open: Vec<bool>,
    is_from_to_come: bool,
    verb: Verb,
    last: &'a str,
}

impl Default for Summary<'_> {
    fn default() -> Self {
        Self {
            text: String::new(),
            has_target: false,
            expects: Expects::Nothing,
            behind: None,
            open: Vec::new(),
            is_from_to_come: false,
            verb: Verb::Any,
            last: "",
        }
    }
}

impl<'a> Summary<'a> {
    fn take(&mut self, token: &Token<'a>, reader: &mut Reader<'a>) {
        match *token {
            Token::Sign(sign) => self.sign(sign),
            Token::Quoted(name) => self.name(name, reader),
            Token::Word(word) => {
                self.word(word, reader);
                self.last = word;
            }
        }
    }

    fn sign(&mut self, sign: u8) {
        match sign {
            b'(' => {
                self.open.push(self.is_from_to_come);
                self.is_from_to_come = false;
            }
            b')' => self.is_from_to_come = self.open.pop().unwrap_or(false),
            _ => {}
        }
        self.expects = match (self.expects, sign) {
            (Expects::Comma, b',') => Expects::Name { of_table: true },
            _ => Expects::Nothing,
        };
        self.verb = match sign {
            b';' => Verb::Any,
            b'(' if self.verb == Verb::Any => Verb::Any,
            b'(' | b')' => Verb::Nested,
            _ => Verb::Select,
        };
    }

    fn word(&mut self, word: &'a str, reader: &mut Reader<'a>) {
        let is = |known: &[&str]| known.iter().any(|one| word.eq_ignore_ascii_case(one));
        let may_be_verb = match self.verb {
            Verb::Any => true,
            Verb::Nested => is(NESTED),
            Verb::Select => is(&["SELECT"]),
        };
        self.verb = if self.verb == Verb::Any && is(&["EXPLAIN"]) { Verb::Any } else { Verb::Select };
        if may_be_verb
            && let Some((verb, behind)) = VERBS.iter().find(|(verb, _)| word.eq_ignore_ascii_case(verb))
        {
            self.push(verb);
            self.behind = Some(*behind);
            self.is_from_to_come |= *behind == Behind::From;
            let is_next = *behind == Behind::Target;
            self.expects = if is_next { Expects::Name { of_table: false } } else { Expects::Nothing };
        } else if is(&["FROM"]) && self.is_from_to_come && !self.last.eq_ignore_ascii_case("DISTINCT") {
            self.is_from_to_come = false;
            self.expects = Expects::Name { of_table: true };
        } else if is(&["JOIN"]) || is(&["USING"]) && self.expects != Expects::Nothing {
            self.expects = Expects::Name { of_table: true };
        } else if is(&["INTO"]) && self.behind == Some(Behind::Into) {
            self.expects = Expects::Name { of_table: false };
        } else if self.behind == Some(Behind::Thing) && is(THINGS) {
            self.push(&word.to_ascii_uppercase());
            self.behind = None;
            self.expects = Expects::Name { of_table: false };
        } else if matches!(self.expects, Expects::Name { .. }) {
            if !is(BETWEEN) {
                self.name(word, reader);
            }
        } else if is(BEHIND_TABLES) {
            self.expects = Expects::Nothing;
        }
    }

    /// A name with what stands before its dots, unless it is a function's.
    fn name(&mut self, first: &'a str, reader: &mut Reader<'a>) {
        let Expects::Name { of_table } = self.expects else { return };
        let mut name = first.to_owned();
        while reader.skip(b'.') {
            let Some(Token::Word(part) | Token::Quoted(part)) = reader.next(true) else { break };
            name.push('.');
            name.push_str(part);
        }
        if of_table && reader.peek() == Some(b'(') {
            self.expects = Expects::Nothing;
            return;
        }
        self.expects = if of_table { Expects::Comma } else { Expects::Nothing };
        self.has_target |= self.push(&name);
        self.last = first;
    }

    fn push(&mut self, word: &str) -> bool {
        let is_room = self.text.len() + 1 + word.len() <= MAX_BYTES;
        if is_room {
            if !self.text.is_empty() {
                self.text.push(' ');
            }
            self.text.push_str(word);
        }
        is_room
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    fn skip(&mut self, sign: u8) -> bool {
        let is_next = self.text.as_bytes().get(self.at) == Some(&sign);
        self.at += usize::from(is_next);
        is_next
    }

    /// Square brackets hold a name only where one is expected.
    fn next(&mut self, is_name_expected: bool) -> Option<Token<'a>> {
        let first = self.peek()?;
        let start = self.at;
        let rest = &self.text[start + usize::from(first.is_ascii())..];
        let quote = match first {
            b'"' | b'`' => Some(char::from(first)),
            b'[' if is_name_expected => Some(']'),
            _ => None,
        };
        if let Some(quote) = quote {
            let length = rest.find(quote)?;
            self.at = start + 1 + length + 1;
            return Some(Token::Quoted(&rest[..length]));
        }
        if !is_of_word(first) || first.is_ascii_digit() {
            self.at += 1;
            return Some(Token::Sign(first));
        }
        let bytes = &self.text.as_bytes()[start..];
        let length = bytes.iter().position(|byte| !is_of_word(*byte)).unwrap_or(bytes.len());
        self.at += length;
        Some(Token::Word(&self.text[start..self.at]))
    }
}

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'#') || !byte.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pl_47_a_statement_in_a_few_words() {
        for (statement, expected) in [
            ("SELECT * FROM users WHERE id = $1", "SELECT users"),
            ("select a, b from shop.users u, \"Orders\" as o where u.id = ?", "SELECT shop.users Orders"),
            ("SELECT 1 FROM a JOIN b ON a.x = b.x LEFT JOIN [c d] USING (id)", "SELECT a b c d"),
            ("SELECT EXTRACT(YEAR FROM at), a IS DISTINCT FROM b FROM orders", "SELECT orders"),
            ("SELECT * FROM (SELECT id FROM inner_table) x", "SELECT SELECT inner_table"),
            ("WITH t AS (SELECT a FROM u) SELECT * FROM t", "SELECT u SELECT t"),
            ("WITH t AS (SELECT a FROM u) INSERT INTO v SELECT a FROM t", "SELECT u INSERT v SELECT t"),
            ("WITH gone AS (DELETE FROM a RETURNING *) SELECT * FROM gone", "DELETE a SELECT gone"),
            (
                "INSERT INTO orders (name) VALUES (?) ON CONFLICT (name) DO UPDATE SET name = ?",
                "INSERT orders",
            ),
            ("insert ignore into `orders` values (?)", "INSERT orders"),
            ("REPLACE INTO orders VALUES (REPLACE(?, ?, ?))", "REPLACE orders"),
            ("UPDATE ONLY orders SET a = ? FROM other WHERE b = ?", "UPDATE orders"),
            ("DELETE FROM orders WHERE id IN (SELECT id FROM gone)", "DELETE orders SELECT gone"),
            ("SELECT * FROM orders FOR UPDATE SKIP LOCKED", "SELECT orders"),
            ("SELECT a FROM t UNION ALL SELECT b FROM u", "SELECT t SELECT u"),
            ("MERGE INTO a USING b ON a.x = b.x", "MERGE a"),
            ("TRUNCATE TABLE orders", "TRUNCATE orders"),
            ("CALL shop.pay(?)", "CALL shop.pay"),
            ("CREATE TEMPORARY TABLE IF NOT EXISTS orders (a TEXT)", "CREATE TABLE orders"),
            ("DROP TABLE a; SELECT b FROM c", "DROP TABLE a SELECT c"),
            ("COPY orders FROM STDIN", "COPY orders"),
            ("(SELECT a FROM t)", "SELECT t"),
            ("EXPLAIN SELECT a FROM t", "SELECT t"),
            ("SELECT x FROM größe", "SELECT größe"),
        ] {
            assert_eq!(of(statement, "postgresql").as_deref(), Some(expected), "{statement}");
        }
    }

    #[test]
    fn pl_47_what_is_done_to_nothing_that_has_a_name_is_not_summed_up() {
        for statement in [
            "SELECT ?",
            "BEGIN",
            "SELECT * FROM generate_series(?, ?)",
            "SELECT * FROM ?",
            "SELECT a FROM \"never closed",
            "SHOW TABLES FROM shop",
            "from here into there",
            "",
        ] {
            assert_eq!(of(statement, "postgresql"), None, "{statement}");
        }
        assert_eq!(of("SELECT a FROM t", "redis"), None);
        assert_eq!(of("SELECT a FROM t", "unheard of"), None);
    }

    #[test]
    fn pl_47_a_summary_ends_before_it_is_too_long() {
        let tables: Vec<_> = (0..100).map(|at| format!("table_{at}")).collect();
        let summary = of(&format!("SELECT a FROM {}", tables.join(", ")), "mysql").unwrap();
        assert!(summary.len() <= MAX_BYTES && summary.len() > MAX_BYTES - 10, "{summary}");
        assert!(tables.iter().any(|table| summary.ends_with(&format!(" {table}"))), "{summary}");
    }

    proptest! {
        #[test]
        fn any_statement_can_be_summed_up(text in "([a-zA-Z\"\\[`(),.;? ]|SELECT|FROM|JOIN|INTO|é){0,60}|(?s).{0,60}") {
            let summary = of(&text, "mysql");
            prop_assert!(summary.is_none_or(|summary| summary.len() <= MAX_BYTES));
        }
    }
}
