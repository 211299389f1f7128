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
        "db.query.text" | "db.statement" => sql(text),
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
    let colon = text.bytes().position(|byte| byte == b':').filter(|at| text[*at..].starts_with("://"));
    let Some(scheme_end) = colon.or_else(|| text.find("://")) else {
        return query_of(text);
    };
    let (head, rest) = text.split_at(scheme_end + 3);
    let authority_end =
        rest.bytes().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    match (authority.rfind('@'), query_of(path)) {
        (None, Cow::Borrowed(_)) => text.into(),
        (user_end, path) => [head, &authority[user_end.map_or(0, |at| at + 1)..], &path].concat().into(),
    }
}

/// A message with the URLs in it masked: messages quote URLs, and URLs carry secrets.
pub(super) fn urls_in(message: &str) -> Cow<'_, str> {
    if !message.contains("://") {
        return message.into();
    }
    let mask = |word| if str::contains(word, "://") { url(word) } else { word.into() };
    message.split(' ').map(mask).collect::<Vec<_>>().join(" ").into()
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
pub(super) fn sql(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut masked = String::new();
    // Everything before this has been written.
    let mut done = 0;
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let (end, mark) = match bytes[at] {
            b'\'' => (at + quoted(rest), "?"),
            b'-' if rest.starts_with(b"--") => (at + until(rest, b'\n'), ""),
            b'/' if rest.starts_with(b"/*") => (at + 2 + behind(&rest[2..], b"*/"), ""),
            b'$' if rest.starts_with(b"$$") => (at + 2 + behind(&rest[2..], b"$$"), "?"),
            b'0'..=b'9' if !follows_a_word(bytes, at) => (at + number(rest), "?"),
            _ => {
                at += 1;
                continue;
            }
        };
        // Only ASCII begins and ends what is masked, so these are the bounds of characters.
        masked.push_str(text.get(done..at).unwrap_or_default());
        masked.push_str(mark);
        (at, done) = (end, end);
    }
    if done == 0 {
        return text.into();
    }
    masked.push_str(text.get(done..).unwrap_or_default());
    masked.into()
}

/// Whether the digits at this place belong to a name or a placeholder.
fn follows_a_word(bytes: &[u8], at: usize) -> bool {
    at.checked_sub(1).map(|before| bytes[before]).is_some_and(|before| {
        before.is_ascii_alphanumeric() || matches!(before, b'_' | b'.' | b'$') || !before.is_ascii()
    })
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'.').unwrap_or(bytes.len())
}

fn until(bytes: &[u8], end: u8) -> usize {
    bytes.iter().position(|byte| *byte == end).unwrap_or(bytes.len())
}

/// The place behind a mark, or the end.
fn behind(bytes: &[u8], mark: &[u8]) -> usize {
    bytes.windows(mark.len()).position(|window| window == mark).map_or(bytes.len(), |at| at + mark.len())
}

/// The length of a quoted text. A doubled quote, or one behind a backslash, does not close it.
fn quoted(bytes: &[u8]) -> usize {
    let mut at = 1;
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1)) {
            (b'\\', Some(_)) | (b'\'', Some(b'\'')) => at += 2,
            (b'\'', _) => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
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
            ("SELECT 'open\\", "SELECT ?"),
            ("SELECT ä1, 'ü', t.1 FROM ö WHERE x = 1", "SELECT ä1, ?, t.1 FROM ö WHERE x = ?"),
            ("SELECT /* open", "SELECT "),
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
