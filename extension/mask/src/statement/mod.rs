//! Statements to databases without the values in them, whatever language the system speaks.

mod commands;
mod dialect;
mod sql;
mod summary;

use super::edit::{Edit, apply, then};
use super::text;
use commands::{commands, is_command};
use dialect::Language;
use std::borrow::Cow;

/// A statement to a system, of which nothing may be known.
pub(super) fn mask<'a>(statement: &'a str, system: Option<&str>) -> Cow<'a, str> {
    let masked = match system.map_or(Language::Unknown, dialect::of) {
        _ if statement.trim().is_empty() => return statement.into(),
        Language::Commands => commands(statement),
        Language::Documents => documents(statement),
        Language::Sql(rules) if rules == dialect::GRAPHQL => sql::mask(statement, rules),
        _ if statement.trim_start().starts_with(['{', '[']) => documents(statement),
        Language::Sql(rules) => sql::mask(statement, rules),
        Language::Unknown if is_sql(statement) => sql::mask_unknown(statement),
        Language::Unknown => commands(statement),
    };
    // Files and remote tables are named by URLs that need no quotes everywhere.
    then(masked, text::mask)
}

/// What a statement does to what, without the values in it: `SELECT users`.
pub(super) fn summary(statement: &str, system: &str) -> Option<String> {
    summary::of(&mask(statement, Some(system)), system)
}

/// Whether a span is named after its whole statement, values and all.
pub(super) fn is_name_whole(name: &str, system: Option<&str>, is_of_database: bool) -> bool {
    let holds = |words: &str| {
        name.as_bytes().windows(words.len()).any(|window| window.eq_ignore_ascii_case(words.as_bytes()))
    };
    // Passwords need no quotes there.
    let has_password = holds("identified by ") || holds(" password ");
    if !is_of_database || has_password {
        return (has_password || name.contains(['\'', '"'])) && is_sql(name);
    }
    name.contains(['\'', '"', '=', '$'])
        || is_command(name) && system.is_some_and(|system| dialect::of(system) == Language::Commands)
}

/// The words that statements in languages like SQL begin with.
const VERBS: &[&str] = &[
    "alter",
    "analyze",
    "begin",
    "call",
    "close",
    "comment",
    "commit",
    "copy",
    "create",
    "deallocate",
    "declare",
    "delete",
    "desc",
    "describe",
    "do",
    "drop",
    "end",
    "exec",
    "execute",
    "explain",
    "fetch",
    "for",
    "grant",
    "insert",
    "kill",
    "let",
    "load",
    "lock",
    "match",
    "merge",
    "optional",
    "optimize",
    "pragma",
    "prepare",
    "query",
    "refresh",
    "release",
    "rename",
    "repair",
    "replace",
    "reset",
    "return",
    "revoke",
    "rollback",
    "savepoint",
    "select",
    "show",
    "start",
    "table",
    "truncate",
    "unload",
    "unwind",
    "update",
    "upsert",
    "use",
    "vacuum",
    "values",
    "with",
];

fn is_sql(statement: &str) -> bool {
    let trimmed = |text| str::trim_start_matches(text, |c: char| c.is_whitespace() || c == '(');
    let mut start = trimmed(statement);
    // What stands behind its comments is what it is.
    while let Some(rest) = behind_comment(start) {
        start = trimmed(rest);
    }
    if start.is_empty() {
        return true;
    }
    let word = start.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
    let is = |words: &[&str]| words.iter().any(|known| word.eq_ignore_ascii_case(known));
    // Redis has a SET too; its values are the one thing that has no sign of equality before it.
    is(VERBS) || is(&["set"]) && statement.contains('=')
}

/// The text behind the comment that it begins with.
fn behind_comment(text: &str) -> Option<&str> {
    let end = match text.strip_prefix("/*") {
        Some(comment) => comment.split_once("*/"),
        None if text.starts_with("--") || text.starts_with('#') => text.split_once('\n'),
        None => return None,
    };
    Some(end.map_or("", |(_, rest)| rest))
}

/// Documents and calls with them: texts, numbers and regular expressions are values, what stands before a colon is a
/// name. Texts end at their quote, and a backslash escapes.
#[cold]
pub(super) fn documents(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut edits = Vec::new();
    let mut at = 0;
    // The last byte that is no blank.
    let mut before = b'(';
    while at < bytes.len() {
        let byte = bytes[at];
        let end = match byte {
            b'\'' | b'"' => quoted(bytes, at),
            b'0'..=b'9' => at + word(&bytes[at..]),
            b'/' if b":([,".contains(&before) => regular_expression(bytes, at),
            _ if is_of_word(byte) => {
                at += word(&bytes[at..]);
                before = b'w';
                continue;
            }
            _ => {
                if !byte.is_ascii_whitespace() {
                    before = byte;
                }
                at += 1;
                continue;
            }
        };
        if !(matches!(byte, b'\'' | b'"') && is_name(bytes, at, end)) {
            edits.push(Edit { start: at, end, mark: "?".into() });
        }
        before = b'w';
        at = end;
    }
    apply(text, edits)
}

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'.') || !byte.is_ascii()
}

/// The length of a name or a number, its exponent's sign included.
fn word(bytes: &[u8]) -> usize {
    let is_exponent = |at: usize| at > 0 && matches!(bytes[at - 1], b'e' | b'E') && bytes[0].is_ascii_digit();
    let ends =
        |(at, byte): &(usize, &u8)| !(is_of_word(**byte) || matches!(byte, b'+' | b'-') && is_exponent(*at));
    bytes.iter().enumerate().find(ends).map_or(bytes.len(), |(at, _)| at)
}

fn quoted(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == bytes[start] => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn regular_expression(bytes: &[u8], start: usize) -> usize {
    let end = quoted(bytes, start);
    end + bytes[end..].iter().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(bytes.len() - end)
}

/// Whether a quoted text names a value: a plain word before a colon.
fn is_name(bytes: &[u8], start: usize, end: usize) -> bool {
    let behind = bytes[end..].iter().take(16).find(|byte| !byte.is_ascii_whitespace());
    let name = bytes.get(start + 1..end.saturating_sub(1)).unwrap_or_default();
    behind == Some(&b':')
        && name.len() <= 64
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-.$".contains(byte))
        && !name.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn documents_keep_their_names() {
        for (given, expected) in [
            (
                r#"{"find": "users", "filter": {"email": "a@b", "age": {"$gt": 21}}}"#,
                r#"{"find": ?, "filter": {"email": ?, "age": {"$gt": ?}}}"#,
            ),
            (
                r"db.users.find({email: 'it\'s', n: 1.5e-3, r: /se.cret/i, ok: true})",
                "db.users.find({email: ?, n: ?, r: ?, ok: true})",
            ),
            (r#"{"a@b.example": 1, "secret word": 2}"#, "{?: ?, ?: ?}"),
            ("find users", "find users"),
            (r#"{"open": "never"#, r#"{"open": ?"#),
        ] {
            assert_eq!(mask(given, Some("mongodb")), expected);
        }
    }

    #[test]
    fn a_system_that_nobody_has_named_shows_least() {
        for (given, expected) in [
            ("SELECT a FROM t WHERE b = \"x\"", "SELECT a FROM t WHERE b = ?"),
            ("SET user:1 hunter2", "SET user:1 ?"),
            ("SET x = 'hunter2'", "SET x = ?"),
            ("{\"a\": \"hunter2\"}", "{\"a\": ?}"),
            ("hunter2? nothing known", "? ? ?"),
            ("# who\nhunter2", "? ?\n?"),
            ("/* who */ -- why\n SELECT a FROM t WHERE b = 'x'", " \n SELECT a FROM t WHERE b = ?"),
            ("-- nothing else", ""),
        ] {
            assert_eq!(mask(given, None), expected);
        }
        assert_eq!(mask("{ user(name: \"hunter2\") { id } }", Some("graphql")), "{ user(name: ?) { id } }");
        assert_eq!(
            mask("MATCH (n {p: 'it\\'s'}) RETURN n // x", Some("neo4j")),
            "MATCH (n {p: ?}) RETURN n "
        );
    }

    proptest! {
        #[test]
        fn any_statement_is_masked_once(text in "[a-zA-Z0-9'\"{}:/;= \n\\\\]{0,60}|(?s).{0,60}", system in prop::option::of("redis|mongodb|mysql|x")) {
            let once = mask(&text, system.as_deref()).into_owned();
            prop_assert_eq!(&mask(&once, system.as_deref()), &once);
        }
    }
}
