//! How what may hold a secret is shown in a log line: a URL without user, password and query, and only the parts of its
//! path that are words. A token of a vendor's is often one of the parts.

use http::Uri;

/// Longer parts of a path are no words.
const MAX_WORD: usize = 16;
/// `v1`, `otlp2`: words have few digits.
const MAX_DIGITS: usize = 2;
/// What stands for something that is not shown.
const HIDDEN: &str = "…";

/// A URL as the log shows it.
pub(crate) fn uri(uri: &Uri) -> String {
    url(&uri.to_string())
}

/// A text in which every URL is as the log shows it.
pub(crate) fn line(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let is_of_scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        let begin = rest[..at].rfind(|c| !is_of_scheme(c)).map_or(0, |last| last + char_length(rest, last));
        let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>');
        let end = rest[at..].find(ends).map_or(rest.len(), |length| at + length);
        let found = &rest[begin..end];
        let bare = found.trim_end_matches(['.', ',', ';', ':', ')', '}', '!', '?']);
        shown.push_str(&rest[..begin]);
        shown.push_str(&url(bare));
        shown.push_str(&found[bare.len()..]);
        rest = &rest[end..];
    }
    shown.push_str(rest);
    shown
}

fn char_length(text: &str, at: usize) -> usize {
    text[at..].chars().next().map_or(1, char::len_utf8)
}

/// `scheme://host:port/` and the words of the path.
fn url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return HIDDEN.to_owned() };
    let (authority, rest) = rest.split_at(rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len()));
    // A password may have a slash or a question mark in it, where it is not written as it should be.
    let (authority, rest) = match rest.rfind('@') {
        Some(at) if !authority.contains('@') => {
            let rest = &rest[at + 1..];
            rest.split_at(rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len()))
        }
        _ => (authority, rest),
    };
    let host = authority.rsplit('@').next().unwrap_or_default();
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    let parts = path.split('/').map(|part| if is_word(part) { part } else { HIDDEN });
    format!("{scheme}://{host}{}", parts.collect::<Vec<_>>().join("/"))
}

fn is_word(part: &str) -> bool {
    part.len() <= MAX_WORD
        && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && part.chars().filter(char::is_ascii_digit).count() <= MAX_DIGITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_of_an_endpoint_is_shown() {
        for (endpoint, expected) in [
            ("https://xray.eu-west-1.amazonaws.com", "https://xray.eu-west-1.amazonaws.com"),
            ("https://c.example:4318/v1/traces", "https://c.example:4318/v1/traces"),
            ("http://user:SECRET@c.example:4318/v1/traces", "http://c.example:4318/v1/traces"),
            ("http://SECRET@c.example", "http://c.example"),
            ("http://user:SEC/RET@c.example/v1", "http://c.example/v1"),
            ("http://user:SEC?RET@c.example/v1", "http://c.example/v1"),
            ("http://a@b:SECRET@c.example/v1", "http://c.example/v1"),
            ("https://c.example/v1/traces?api-key=SECRET", "https://c.example/v1/traces"),
            ("https://c.example?SECRET", "https://c.example"),
            ("https://c.example/v1#SECRET", "https://c.example/v1"),
            (
                "https://c.example/v1/0a1b2c3d4e5f60718293a4b5c6d7e8f901234567/traces",
                "https://c.example/v1/…/traces",
            ),
            ("https://c.example/abcdefghijklmnopq/x", "https://c.example/…/x"),
            ("https://c.example/a1b2c3/x", "https://c.example/…/x"),
            ("https://c.example/token=SECRET/x", "https://c.example/…/x"),
            ("https://c.example/%53ECRET/x", "https://c.example/…/x"),
            ("http://[::1]:4318/v1/traces", "http://[::1]:4318/v1/traces"),
            ("no url SECRET", "…"),
        ] {
            assert_eq!(url(endpoint), expected, "{endpoint}");
        }
    }

    #[test]
    fn urls_are_found_in_a_line() {
        for (text, expected) in [
            ("nothing here", "nothing here"),
            ("to https://u:SECRET@h/p?q=SECRET: no", "to https://h/p: no"),
            ("(http://h/v1?SECRET), and http://u:SECRET@i.", "(http://h/v1), and http://i."),
            ("`grpc+tls://SECRET@h/x` is bad", "`grpc+tls://h/x` is bad"),
            ("é://SECRET@h", "é://h"),
            ("ébhttp://SECRET@h", "ébhttp://h"),
            ("://SECRET@h ://", "://h ://"),
        ] {
            assert_eq!(line(text), expected, "{text}");
        }
    }
}
