//! What drivers of databases say when a statement fails, without the data that they quote (PL-53).

use super::edit::{Edit, apply};
use super::statement;
use std::borrow::Cow;
use std::cmp::Reverse;

/// What an error's text quotes, and where that ends.
enum Quotes {
    /// Until a line that tells something else.
    Paragraph,
    /// Until the first of these, else until the last bracket of the line.
    Until(&'static [&'static str], char),
    /// A statement that may have a number before it, until the first of these outside of quotes, else until the last
    /// bracket of the line.
    Statement(&'static [&'static str]),
}

/// Words that only errors of databases have, before what they quote.
const ANCHORS: &[(&str, Quotes)] = &[
    ("DETAIL:", Quotes::Paragraph),
    ("Failing row contains (", Quotes::Until(&[], ')')),
    (
        ")=(",
        Quotes::Until(
            &[") already exists", ") is not present", ") is still referenced", ") conflicts with"],
            ')',
        ),
    ),
    ("Duplicate entry '", Quotes::Until(&["' for key"], '\'')),
    ("duplicate key value is (", Quotes::Until(&[], ')')),
    ("column values (", Quotes::Until(&[], ')')),
    ("dup key: {", Quotes::Until(&[], '}')),
    ("[SQL: ", Quotes::Statement(&["]\n"])),
    ("SQL [", Quotes::Statement(&["]\n", "]; "])),
    ("SQL grammar [", Quotes::Statement(&["]\n", "]; "])),
    ("Batch entry ", Quotes::Statement(&[" was aborted"])),
    ("args beginning with: ", Quotes::Paragraph),
    ("[parameters: ", Quotes::Until(&["]\n"], ']')),
    (" with params [", Quotes::Until(&["]:", "]\n"], ']')),
    ("\nparams: ", Quotes::Paragraph),
    ("(SQL: ", Quotes::Paragraph),
    (", SQL: ", Quotes::Paragraph),
    ("CONTEXT:", Quotes::Paragraph),
    ("QUERY:", Quotes::Paragraph),
    ("STATEMENT:", Quotes::Paragraph),
];

/// Of the anchors, those at the end are words of others too: they make no error one of a database.
const SAY_SO: usize = ANCHORS.len() - 3;

/// Words by which the errors of databases are known whose data is in quotes.
const SIGNS: &[&str] = &[
    "invalid input syntax for",
    "invalid input value for enum",
    "at or near",
    "near '",
    "near \"",
    "LINE ",
    " value: '",
    " value: \"",
    "for value \"",
    "out of range for type",
    "value out of range",
    "Conversion failed when",
    "converting the ",
    "unrecognized token: ",
    "violates ",
    "SQLSTATE",
    "ORA-",
    "E11000",
    "ER_",
    "SQLITE_",
    "PG::",
    "psycopg",
    "pymysql",
    "sqlite3.",
    "asyncpg.",
    "MySQLdb",
    "oracledb.",
    "pyodbc.",
    "sqlalchemy",
    "SQLException",
    "OperationalError",
    "IntegrityError",
    "ProgrammingError",
    "DataError",
    "MongoServerError",
    "QueryFailedError",
];

/// Words before the name of a thing, which may be shown.
const NOUNS: &[&str] = &[
    "table",
    "column",
    "columns",
    "relation",
    "constraint",
    "index",
    "key",
    "database",
    "schema",
    "function",
    "procedure",
    "role",
    "user",
    "field",
    "view",
    "sequence",
    "trigger",
    "type",
    "collection",
    "object",
    "in",
    "into",
    "extension",
    "server",
];

/// Names that `MySQL` gives to the parts of a statement.
const CLAUSES: &[&str] =
    &["where clause", "field list", "order clause", "on clause", "group statement", "having clause"];

/// A message, or a stack with its messages. `is_of_database` says that it is known to come from one.
pub(super) fn mask(text: &str, is_of_database: bool) -> Cow<'_, str> {
    if is_of_database || is_database_error(text) { masked(text) } else { text.into() }
}

#[cold]
fn masked(text: &str) -> Cow<'_, str> {
    let mut edits = Vec::new();
    for (anchor, quotes) in ANCHORS {
        quoted_behind(text, anchor, quotes, &mut edits);
    }
    lines_of_statements(text, &mut edits);
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        // Frames of a stack are indented, and quote the function's own code.
        if !line.starts_with([' ', '\t']) {
            quotes_of_line(line, start, &mut edits);
        }
        start += line.len();
    }
    edits.sort_by_key(|edit| (edit.start, Reverse(edit.end)));
    // Two marks side by side say no more than one.
    edits.dedup_by(|edit, earlier| {
        let touches = edit.start <= earlier.end;
        if touches && edit.end > earlier.end {
            earlier.end = edit.end;
            earlier.mark = "?".into();
        }
        touches
    });
    apply(text, edits)
}

/// Whether a type or a text is of a database's error.
pub fn is_database_error(text: &str) -> bool {
    let is_sign = |at: usize| {
        let rest = &text.as_bytes()[at..];
        SIGNS.iter().any(|sign| rest.starts_with(sign.as_bytes()))
            || ANCHORS[..SAY_SO].iter().any(|(anchor, _)| rest.starts_with(anchor.as_bytes()))
    };
    // Errors are many and long, and few are a database's.
    text.as_bytes().windows(3).enumerate().any(|(at, three)| FIRST_THREE.may_hold(three) && is_sign(at))
}

/// The first three bytes of all signs and anchors, as far as bits of their hashes tell.
struct FirstThree([u64; 64]);

static FIRST_THREE: FirstThree = FirstThree::new();

impl FirstThree {
    const fn new() -> Self {
        let mut bits = [0; 64];
        let mut at = 0;
        while at < SIGNS.len() + SAY_SO {
            let sign = if at < SIGNS.len() { SIGNS[at] } else { ANCHORS[at - SIGNS.len()].0 };
            let place = Self::place(sign.as_bytes());
            bits[place / 64] |= 1 << (place % 64);
            at += 1;
        }
        Self(bits)
    }

    const fn place(bytes: &[u8]) -> usize {
        (bytes[0] as usize * 31 + bytes[1] as usize * 257 + bytes[2] as usize * 7919) % 4096
    }

    fn may_hold(&self, three: &[u8]) -> bool {
        let place = Self::place(three);
        self.0[place / 64] & 1 << (place % 64) != 0
    }
}

fn quoted_behind(text: &str, anchor: &str, quotes: &Quotes, edits: &mut Vec<Edit>) {
    let mut from = 0;
    while let Some(found) = text.get(from..).and_then(|rest| rest.find(anchor)) {
        let start = from + found + anchor.len();
        let rest = &text[start..];
        let line = rest.find('\n').unwrap_or(rest.len());
        let length = match quotes {
            Quotes::Paragraph => paragraph(rest),
            Quotes::Until(ends, bracket) => ends
                .iter()
                .filter_map(|end| rest.find(end))
                .min()
                .or_else(|| rest[..line].rfind(*bracket))
                .or_else(|| rest[..paragraph(rest)].rfind(*bracket))
                .unwrap_or_else(|| paragraph(rest)),
            Quotes::Statement(ends) => ends
                .iter()
                .filter_map(|end| outside_of_quotes(rest, end))
                .min()
                .or_else(|| rest[..line].rfind(']'))
                .unwrap_or(rest.len()),
        };
        let data = &rest[..length];
        let (blanks, mark) = match quotes {
            Quotes::Statement(_) => {
                let number =
                    data.len() - data.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ').len();
                (number, statement::mask(&data[number..], None).into_owned().into())
            }
            Quotes::Paragraph => (length - data.trim_start().len(), "?".into()),
            Quotes::Until(..) => (0, "?".into()),
        };
        edits.push(Edit { start: start + blanks, end: start + length, mark });
        from = start + length;
    }
}

fn outside_of_quotes(text: &str, end: &str) -> Option<usize> {
    text.match_indices(end).map(|(at, _)| at).find(|at| text[..*at].matches('\'').count().is_multiple_of(2))
}

/// The length of what goes on until a line begins that tells something else.
fn paragraph(text: &str) -> usize {
    let mut length = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let tells_else = [
            "HINT:",
            "CONTEXT:",
            "QUERY:",
            "LOCATION:",
            "Traceback ",
            "Caused by",
            "[",
            "(Background",
            "goroutine ",
        ]
        .iter()
        .any(|start| line.starts_with(start))
            || line.starts_with("  File ")
            || line.trim_start().starts_with("at ");
        if number > 0 && tells_else {
            // Without the line's end.
            return length - 1;
        }
        length += line.len();
    }
    text.trim_end().len()
}

/// `LINE 1: SELECT ...`, which repeats the statement.
fn lines_of_statements(text: &str, edits: &mut Vec<Edit>) {
    for (at, _) in text.match_indices("LINE ") {
        let rest = &text[at + 5..];
        let digits = rest.bytes().take(8).take_while(u8::is_ascii_digit).count();
        if digits > 0 && rest[digits..].starts_with(": ") {
            let start = at + 5 + digits + 2;
            let end = text[start..].find('\n').map_or(text.len(), |end| start + end);
            edits.push(Edit { start, end, mark: "?".into() });
        }
    }
}

/// What stands in quotes, unless a noun before it says that it is the name of a thing.
fn quotes_of_line(line: &str, offset: usize, edits: &mut Vec<Edit>) {
    let bytes = line.as_bytes();
    let is_word = |at: Option<&u8>| at.is_some_and(|byte| byte.is_ascii_alphanumeric() || !byte.is_ascii());
    let mut at = 0;
    while at < bytes.len() {
        let quote = bytes[at];
        // An apostrophe is no quote.
        if !matches!(quote, b'\'' | b'"') || at > 0 && is_word(bytes.get(at - 1)) && quote == b'\'' {
            at += 1;
            continue;
        }
        let closes = |end: &usize| bytes[*end] == quote && !is_word(bytes.get(end + 1));
        let end = (at + 1..bytes.len()).find(closes).unwrap_or(line.trim_end().len().max(at + 1));
        let content = line.get(at + 1..end).unwrap_or_default();
        let end = (end + 1).min(line.trim_end().len().max(at + 1));
        if content != "?" && !is_name(&line[..at], content) {
            edits.push(Edit {
                start: offset + at,
                end: offset + end,
                mark: format!("{0}?{0}", char::from(quote)).into(),
            });
        }
        at = end.max(at + 1);
    }
}

fn is_name(before: &str, content: &str) -> bool {
    let is_plain = content.len() <= 64
        && content.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.$#-/:%".contains(&byte));
    let before = before.strip_suffix(' ').unwrap_or(before);
    let word = before.rsplit(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
    let is_noun = |noun: &&str| word.eq_ignore_ascii_case(noun);
    let names_host = before.ends_with("'@") || before.ends_with("\"@");
    is_plain && (NOUNS.iter().any(is_noun) || names_host) || CLAUSES.contains(&content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pl_53_errors_do_not_quote_data() {
        for (given, expected) in [
            (
                "duplicate key value violates unique constraint \"users_email_key\"\nDETAIL:  Key (email)=(a@b) already exists.",
                "duplicate key value violates unique constraint \"users_email_key\"\nDETAIL:  ?",
            ),
            ("Key (email)=(a)b) already exists.", "Key (email)=(?) already exists."),
            ("Duplicate entry 'it's me' for key 'users.email'", "Duplicate entry '?' for key 'users.email'"),
            (
                "Cannot insert duplicate key in object 'dbo.users'. The duplicate key value is (a, b).",
                "Cannot insert duplicate key in object 'dbo.users'. The duplicate key value is (?).",
            ),
            (
                "E11000 duplicate key error collection: shop.users index: email_1 dup key: { email: \"a}b\" }",
                "E11000 duplicate key error collection: shop.users index: email_1 dup key: {?}",
            ),
            (
                "invalid input syntax for type integer: \"abc\"",
                "invalid input syntax for type integer: \"?\"",
            ),
            (
                "syntax error at or near \"hunter2\"\nLINE 1: SELECT 'hunter2' FRO\n        ^",
                "syntax error at or near \"?\"\nLINE 1: ?\n        ^",
            ),
            (
                "Incorrect integer value: 'abc' for column 'age' at row 1",
                "Incorrect integer value: '?' for column 'age' at row 1",
            ),
            (
                "Unknown column 'x' in 'where clause', Table 'shop.t' doesn't exist, near 'abc'",
                "Unknown column 'x' in 'where clause', Table 'shop.t' doesn't exist, near '?'",
            ),
            (
                "(sqlite3.IntegrityError) UNIQUE constraint failed: t.a\n[SQL: INSERT INTO t VALUES ('x', ?)]\n[parameters: {'a': 'x'}]\n(Background on this)",
                "(sqlite3.IntegrityError) UNIQUE constraint failed: t.a\n[SQL: INSERT INTO t VALUES (?, ?)]\n[parameters: ?]\n(Background on this)",
            ),
            (
                "ORA-03301: (ORA-00001 details) row with column values (EMAIL:'a') already exists",
                "ORA-03301: (ORA-00001 details) row with column values (?) already exists",
            ),
            ("Access denied for user 'root'@'localhost'", "Access denied for user 'root'@'localhost'"),
            ("open '/tmp/x': no such file", "open '/tmp/x': no such file"),
        ] {
            assert_eq!(mask(given, false), expected);
        }
        assert_eq!(mask("bad value 'abc' of \"def\"", true), "bad value '?' of \"?\"");
    }

    #[test]
    fn frames_of_a_stack_are_shown() {
        let stack = "Traceback (most recent call last):\n  File \"/var/task/app.py\", line 3, in handler\n    cur.execute('x')\npsycopg.DataError: bad 'abc'\n";
        assert_eq!(mask(stack, false), stack.replace("'abc'", "'?'"));
    }

    proptest! {
        #[test]
        fn any_message_is_masked_and_the_mask_holds(text in "(DETAIL:|dup key: \\{|LINE 1: |\\)=\\(|[a-z'\"(){}\\[\\] \n:]|\\[SQL: |Duplicate entry '){0,12}|(?s).{0,40}", is_of_database: bool) {
            let once = mask(&text, is_of_database).into_owned();
            let twice = mask(&once, is_of_database).into_owned();
            prop_assert!(twice.len() <= once.len() + 2, "{once}\n{twice}");
        }
    }
}
