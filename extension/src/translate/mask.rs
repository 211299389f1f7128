//! What must not leave the environment: credentials in URLs and headers, literals in SQL (xray.md section 14.3).

use std::borrow::Cow;

const MASK: &str = "REDACTED";

/// Query keys whose values are secrets, in lower case.
const SECRET_KEYS: &[&str] = &[
    "access_token",
    "api-key",
    "api_key",
    "apikey",
    "auth",
    "authorization",
    "awsaccesskeyid",
    "client_secret",
    "code",
    "id_token",
    "key",
    "passwd",
    "password",
    "pwd",
    "refresh_token",
    "secret",
    "sig",
    "signature",
    "token",
    "x-amz-credential",
    "x-amz-security-token",
    "x-amz-signature",
    "x-goog-signature",
];

/// Headers whose values are secrets, in lower case; attribute names write `-` or `_`.
const SECRET_HEADERS: &[&str] =
    &["authorization", "cookie", "proxy-authorization", "set-cookie", "x-amz-security-token", "x-api-key"];

/// An attribute's text as it may be shown, whatever block it ends in.
pub(super) fn attribute<'a>(name: &str, text: &'a str) -> Cow<'a, str> {
    match name {
        "url.full" | "http.url" => url(text),
        "db.connection_string" => connection_string(text).into(),
        "http.target" => query_of(text),
        "url.query" => query(text),
        "db.query.text" | "db.statement" => sql(text).into(),
        _ => {
            let header = name
                .strip_prefix("http.request.header.")
                .or_else(|| name.strip_prefix("http.response.header."))
                .map(|header| header.to_ascii_lowercase().replace('_', "-"));
            match header {
                Some(header) if SECRET_HEADERS.contains(&header.as_str()) => MASK.into(),
                _ => text.into(),
            }
        }
    }
}

/// A URL without user, password, and the values of secret query keys (BET-23).
pub(super) fn url(text: &str) -> Cow<'_, str> {
    let Some(scheme_end) = text.find("://") else {
        return query_of(text);
    };
    let (head, rest) = text.split_at(scheme_end + 3);
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    match (authority.rfind('@'), query_of(path)) {
        (None, Cow::Borrowed(_)) => text.into(),
        (user_end, path) => [head, &authority[user_end.map_or(0, |at| at + 1)..], &path].concat().into(),
    }
}

/// A connection string without password: a URL, or `key=value` pairs between semicolons or blanks.
pub(super) fn connection_string(text: &str) -> String {
    if text.contains("://") {
        return url(text).into_owned();
    }
    let separator = if text.contains(';') { ';' } else { ' ' };
    let masked: Vec<Cow<'_, str>> = text
        .split(separator)
        .map(|pair| match pair.split_once('=') {
            Some((key, _)) if is_secret_key(key) => format!("{key}={MASK}").into(),
            _ => pair.into(),
        })
        .collect();
    masked.join(&separator.to_string())
}

/// A path with its query masked.
fn query_of(path: &str) -> Cow<'_, str> {
    let Some((before, after)) = path.split_once('?') else {
        return path.into();
    };
    let (pairs, fragment) = after.split_at(after.find('#').unwrap_or(after.len()));
    match query(pairs) {
        Cow::Borrowed(_) => path.into(),
        Cow::Owned(masked) => [before, "?", &masked, fragment].concat().into(),
    }
}

fn query(pairs: &str) -> Cow<'_, str> {
    let is_secret = |pair: &str| pair.split_once('=').is_some_and(|(key, _)| is_secret_key(key));
    if !pairs.split('&').any(is_secret) {
        return pairs.into();
    }
    let masked: Vec<Cow<'_, str>> = pairs
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((key, _)) if is_secret_key(key) => format!("{key}={MASK}").into(),
            _ => pair.into(),
        })
        .collect();
    masked.join("&").into()
}

fn is_secret_key(key: &str) -> bool {
    let key = key.trim().trim_start_matches('?');
    SECRET_KEYS.iter().any(|secret| secret.eq_ignore_ascii_case(key))
}

/// A query with its literals replaced by `?` (BET-22). Comments go too: they may hold anything.
pub(super) fn sql(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.char_indices().peekable();
    let mut previous = ' ';
    while let Some((at, c)) = chars.next() {
        let rest = &text[at..];
        match c {
            '\'' => {
                skip_quoted(&mut chars, '\'');
                out.push('?');
            }
            '-' if rest.starts_with("--") => while chars.next_if(|(_, c)| *c != '\n').is_some() {},
            '/' if rest.starts_with("/*") => {
                let end = rest[2..].find("*/").map_or(text.len(), |end| at + 2 + end + 2);
                while chars.next_if(|(at, _)| *at < end).is_some() {}
            }
            '0'..='9' if !is_word(previous) && previous != '$' => {
                while chars.next_if(|(_, c)| c.is_ascii_alphanumeric() || *c == '.').is_some() {}
                out.push('?');
            }
            '$' if rest.starts_with("$$") => {
                let end = rest[2..].find("$$").map_or(text.len(), |end| at + 2 + end + 2);
                while chars.next_if(|(at, _)| *at < end).is_some() {}
                out.push('?');
            }
            c => out.push(c),
        }
        previous = c;
    }
    out
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '.'
}

/// Passes the closing quote; a doubled one, or one behind a backslash, does not close.
fn skip_quoted(chars: &mut std::iter::Peekable<std::str::CharIndices<'_>>, quote: char) {
    while let Some((_, c)) = chars.next() {
        if c == '\\' {
            chars.next();
        } else if c == quote && chars.next_if(|(_, c)| *c == quote).is_none() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bet_23_urls() {
        for (given, expected) in [
            ("https://u:p@h/x?a=1&X-Amz-Signature=abc&b", "https://h/x?a=1&X-Amz-Signature=REDACTED&b"),
            ("https://h?token=1#frag", "https://h?token=REDACTED#frag"),
            ("https://h/a@b", "https://h/a@b"),
            ("/relative?password=x", "/relative?password=REDACTED"),
            ("", ""),
        ] {
            assert_eq!(url(given), expected);
        }
    }

    #[test]
    fn bet_22_sql_literals() {
        for (given, expected) in [
            ("SELECT * FROM t1 WHERE a = 'it''s' AND b=12.5", "SELECT * FROM t1 WHERE a = ? AND b=?"),
            ("INSERT INTO t VALUES (1, 'x\\'y', $1, 0xFF)", "INSERT INTO t VALUES (?, ?, $1, ?)"),
            ("SELECT a -- 'secret'\nFROM b /* 4711 */", "SELECT a \nFROM b "),
            ("SELECT $$secret$$", "SELECT ?"),
            ("SELECT 'open", "SELECT ?"),
        ] {
            assert_eq!(sql(given), expected);
        }
    }

    #[test]
    fn bet_22_connection_strings() {
        for (given, expected) in [
            (
                "Server=db;Database=shop;User Id=app;Password=s3cr3t;",
                "Server=db;Database=shop;User Id=app;Password=REDACTED;",
            ),
            ("host=db user=app password=s3cr3t", "host=db user=app password=REDACTED"),
            ("postgresql://app:s3cr3t@db/shop", "postgresql://db/shop"),
            ("jdbc:postgresql://db/shop?password=s3cr3t", "jdbc:postgresql://db/shop?password=REDACTED"),
        ] {
            assert_eq!(connection_string(given), expected);
        }
    }

    #[test]
    fn attributes_by_name() {
        assert_eq!(attribute("http.request.header.authorization", "Bearer x"), MASK);
        assert_eq!(attribute("http.request.header.x_api_key", "x"), MASK);
        assert_eq!(attribute("http.request.header.accept", "x"), "x");
        assert_eq!(attribute("url.query", "?token=1&a=2"), "?token=REDACTED&a=2");
        assert_eq!(attribute("note", "token=1"), "token=1");
    }

    proptest! {
        #[test]
        fn any_text_is_masked_without_panic(text in ".{0,200}") {
            let _ = (url(&text), sql(&text), query(&text));
        }

        #[test]
        fn no_quoted_literal_survives(secret in "[a-z]{12}") {
            let statement = format!("UPDATE t SET a='{secret}' WHERE b = 1");
            prop_assert!(!sql(&statement).contains(&secret));
        }
    }
}
