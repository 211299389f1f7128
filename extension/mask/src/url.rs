//! URLs without user and password, and without the values of secret parameters: in the query, in the fragment, behind
//! the `;` of a path, and in a URL that is itself a parameter, however often that has been percent-encoded.

use super::edit::{Edit, apply};
use super::names::is_secret_in_url;
use super::signs;
use std::borrow::Cow;
use std::ops::Range;

/// How far behind a separator the `=` of a parameter is looked for.
const MAX_KEY_BYTES: usize = 96;

/// Places where the path itself is the secret: the host's end, and what stands before the secret, `*` for any segment.
const SECRET_PATHS: &[(&str, &str)] = &[
    ("hooks.slack.com", "/services/"),
    ("hooks.slack.com", "/workflows/"),
    ("hooks.slack.com", "/triggers/"),
    ("discord.com", "/api/webhooks/"),
    ("discord.com", "/api/*/webhooks/"),
    ("discordapp.com", "/api/webhooks/"),
    ("discordapp.com", "/api/*/webhooks/"),
    ("api.telegram.org", "/bot"),
    ("api.telegram.org", "/file/bot"),
    (".webhook.office.com", "/webhookb2/"),
    ("outlook.office.com", "/webhook/"),
    ("hooks.zapier.com", "/hooks/catch/"),
    ("maker.ifttt.com", "/trigger/*/with/key/"),
];

/// A URL as it may be shown (BET-23).
pub(super) fn url(text: &str) -> Cow<'_, str> {
    if !may_hold_secrets(text.as_bytes()) {
        return text.into();
    }
    shown(text, has_bare_userinfo(text))
}

/// A host that may have user and password before it, which is then a URL without its scheme.
pub(super) fn host(text: &str) -> Cow<'_, str> {
    if !text.contains('@') {
        return text.into();
    }
    shown(text, !text.contains("//"))
}

fn shown(text: &str, is_bare: bool) -> Cow<'_, str> {
    let mut edits = Vec::new();
    let bytes = text.as_bytes();
    let start = if is_bare { userinfo(bytes, 0, (0, false), text.rfind('@'), &mut edits) } else { 0 };
    secrets(text, start, text.len(), &mut edits);
    apply(text, edits)
}

/// Whether user and password stand at the start, without a scheme: `user:password@host/path`.
fn has_bare_userinfo(text: &str) -> bool {
    let Some((before, _)) = text.split_once('@') else { return false };
    let separator = before.find([':', '/', '?', '#', '=', '&', ' ']);
    separator.is_some_and(|at| at > 0 && before[at..].starts_with(':'))
        && !before.contains("://")
        && !before.contains(' ')
}

fn may_hold_secrets(bytes: &[u8]) -> bool {
    let mut colons = 0;
    for byte in bytes {
        match byte {
            b'=' | b'@' | b'%' => return true,
            b':' => colons += 1,
            _ => {}
        }
    }
    // The second would be before a port, or before a password that has been cut off.
    colons > 1 || colons == 1 && has_secret_path(bytes)
}

fn has_secret_path(bytes: &[u8]) -> bool {
    let Some(colon) = bytes.iter().take(32).position(|byte| *byte == b':') else { return false };
    let Some(rest) = bytes[colon..].strip_prefix(b"://") else { return false };
    let host = rest.split(|byte| matches!(byte, b'/' | b'?' | b'#')).next().unwrap_or_default();
    SECRET_PATHS.iter().any(|(known, _)| is_of(host, known))
}

/// Whether a host is a known one, or below it.
fn is_of(host: &[u8], known: &str) -> bool {
    let start = host.len().checked_sub(known.len());
    start.is_some_and(|start| host[start..].eq_ignore_ascii_case(known.as_bytes()))
}

/// One character, its percent-encoding undone however often it was done.
#[derive(Debug, Clone, Copy)]
struct Unit {
    byte: u8,
    len: usize,
    /// How often it had been encoded.
    depth: usize,
}

fn unit(bytes: &[u8], at: usize) -> Unit {
    let plain = Unit { byte: bytes[at], len: 1, depth: 0 };
    if bytes[at] != b'%' {
        return plain;
    }
    let mut digits = at + 1;
    while bytes[digits..].starts_with(b"25") {
        digits += 2;
    }
    let hex = |at: usize| char::from(*bytes.get(at)?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    match (hex(digits), hex(digits + 1)) {
        (Some(high), Some(low)) => {
            Unit { byte: high * 16 + low, len: digits + 2 - at, depth: 1 + (digits - at - 1) / 2 }
        }
        // The last `25` is then the character, which is a percent sign.
        _ if digits > at + 1 => Unit { byte: b'%', len: digits - at, depth: (digits - at - 1) / 2 },
        _ => plain,
    }
}

/// Whether a byte can be one that [`secrets`] looks at.
const IS_SIGN: [bool; 256] = signs::table(b"=:?#&;/(),! %\"'");

/// What is secret in the URL, or the rest of one, that lies between two places of a text.
pub(super) fn secrets(text: &str, from: usize, to: usize, edits: &mut Vec<Edit>) {
    let bytes = &text.as_bytes()[..to];
    let last_at_sign = bytes[from..].iter().rposition(|byte| *byte == b'@').map(|at| from + at);
    let (mut at, mut key_start, mut in_query) = (from, from, false);
    let mut opener = 0;
    // Behind the last quote.
    let mut quote = from;
    // A URL that has its scheme of the page it is on.
    if bytes[from..].starts_with(b"//") {
        at = userinfo(bytes, from + 2, (0, false), last_at_sign, edits);
        key_start = at;
    }
    while at < to {
        if !IS_SIGN[usize::from(bytes[at])] {
            at += 1;
            continue;
        }
        let Unit { byte, len, depth } = unit(bytes, at);
        let next = at + len;
        match byte {
            b'=' => {
                if is_secret(&bytes[key_start..at]) {
                    let start = if bytes[at - 1] == b' ' { next + blanks(&bytes[next..]) } else { next };
                    let end = value_end(bytes, start, depth, in_query, opener);
                    edits.push(Edit::mask(start, end));
                    at = end;
                    key_start = end;
                    continue;
                }
                key_start = next;
            }
            b'"' | b'\'' => quote = next,
            b':' => {
                opener = byte;
                let key = std::mem::replace(&mut key_start, next);
                if let Some(value) = entry(bytes, next, quote == at)
                    && is_secret(&bytes[key..at])
                {
                    at = value.end;
                    edits.push(Edit::mask(value.start, value.end));
                    continue;
                }
                if let Some(authority) = authority_start(bytes, next) {
                    at = userinfo(bytes, authority, (depth, in_query), last_at_sign, edits);
                    // The scheme of another URL: `amqp://h1,amqp://h2`.
                    if bytes[at - 1] == b':' && bytes[at..].starts_with(b"//") {
                        at -= 1;
                    }
                    if depth == 0 && !in_query {
                        secret_path(text, authority..at, to, edits);
                    }
                    key_start = at;
                    continue;
                }
            }
            b'?' | b'#' => {
                in_query = true;
                key_start = next;
            }
            b' ' if bytes.get(next + blanks(&bytes[next..])) == Some(&b'=') => {}
            b'&' | b';' | b'/' | b'(' | b')' | b',' | b'!' | b' ' => {
                opener = byte;
                key_start = next;
            }
            _ => {}
        }
        at = next;
    }
}

fn is_secret(key: &[u8]) -> bool {
    if !key.contains(&b'%') {
        return is_secret_in_url(key);
    }
    let key = &key[key.len().saturating_sub(4 * MAX_KEY_BYTES)..];
    let (mut decoded, mut at) = (Vec::with_capacity(key.len()), 0);
    while at < key.len() {
        let unit = unit(key, at);
        decoded.push(unit.byte);
        at += unit.len;
    }
    is_secret_in_url(&decoded)
}

fn blanks(bytes: &[u8]) -> usize {
    bytes.iter().take(8).take_while(|byte| **byte == b' ').count()
}

/// The value behind the colon of JSON, or of a query in `GraphQL`: a text, without its quotes, or what stands behind a
/// name in quotes.
fn entry(bytes: &[u8], start: usize, is_json: bool) -> Option<Range<usize>> {
    let mut rest = units(bytes, start).peekable();
    let mut skip = |skipped: &[u8]| {
        std::iter::from_fn(|| rest.next_if(|(_, unit)| skipped.contains(&unit.byte))).count()
    };
    skip(b" +[");
    // JSON in JSON has its quotes behind backslashes.
    let escapes = skip(b"\\");
    let (begin, first) = rest.next()?;
    let mark = matches!(first.byte, b'"' | b'\'').then_some(first.byte);
    if mark.is_none() && (!is_json || b"{/".contains(&first.byte)) {
        return None;
    }
    let (mut end, mut backslashes) = (begin, 0);
    let end = rest.find_map(|(at, unit)| {
        if backslashes == 0 {
            end = at;
        }
        match (unit.byte, mark) {
            (b'\\', Some(_)) => backslashes += 1,
            (byte, Some(mark)) if byte == mark && backslashes <= escapes => return Some(end),
            (b',' | b'}' | b']' | b'&' | b'#', None) => return Some(end),
            _ => backslashes = 0,
        }
        None
    });
    Some(if mark.is_some() { begin + first.len } else { begin }..end.unwrap_or(bytes.len()))
}

fn units(bytes: &[u8], mut at: usize) -> impl Iterator<Item = (usize, Unit)> {
    std::iter::from_fn(move || {
        let unit = (at < bytes.len()).then(|| (at, unit(bytes, at)))?;
        at += unit.1.len;
        Some(unit)
    })
}

/// The place behind `//`.
fn authority_start(bytes: &[u8], at: usize) -> Option<usize> {
    let slash = |at: usize| bytes.get(at).map(|_| unit(bytes, at)).filter(|unit| unit.byte == b'/');
    let first = slash(at)?;
    let second = slash(at + first.len)?;
    Some(at + first.len + second.len)
}

/// Takes out user and password, and goes on behind the authority.
fn userinfo(
    bytes: &[u8],
    start: usize,
    (depth, in_query): (usize, bool),
    last_at_sign: Option<usize>,
    edits: &mut Vec<Edit>,
) -> usize {
    let (mut at, mut host) = (start, start);
    while at < bytes.len() {
        let unit = unit(bytes, at);
        let next = at + unit.len;
        match unit.byte {
            b'/' | b'?' | b'#' if unit.depth <= depth => break,
            b'&' if in_query && unit.depth <= depth => break,
            b';' if begins_pair(bytes, next) => break,
            b'(' if at > start && bytes[at - 1] == b'=' => break,
            b'@' => host = next,
            _ => {}
        }
        at = next;
    }
    if host > start {
        edits.push(Edit::cut(start, host));
    }
    if depth > 0 || has_ports_only(&bytes[host..at]) {
        return at;
    }
    // A password with a slash in it, or one whose end has been cut off.
    if let Some(sign) = last_at_sign.filter(|sign| *sign > at && !in_query) {
        edits.push(Edit::cut(host, sign + 1));
        return sign + 1;
    }
    let colon = bytes[host..at].iter().position(|byte| *byte == b':').map_or(at, |colon| host + colon + 1);
    edits.push(Edit::mask(colon, at));
    at
}

/// Whether what follows each host is a port: `h`, `h:80`, `[::1]:80`, `h1:27017,h2:27017`.
fn has_ports_only(authority: &[u8]) -> bool {
    authority.split(|byte| *byte == b',').all(|host| {
        let host = match host.iter().rposition(|byte| *byte == b']') {
            Some(end) if host.starts_with(b"[") => &host[end..],
            _ => host,
        };
        let mut parts = host.splitn(2, |byte| *byte == b':').skip(1);
        parts.next().is_none_or(|port| port.len() < 6 && port.iter().all(u8::is_ascii_digit))
    })
}

fn secret_path(text: &str, authority: Range<usize>, to: usize, edits: &mut Vec<Edit>) {
    let (host, path) = (&text.as_bytes()[authority.clone()], &text.as_bytes()[authority.end..to]);
    let port = host.iter().rev().take(6).position(|byte| *byte == b':').map_or(0, |digits| digits + 1);
    let host = &host[..host.len() - port];
    for (known, before) in SECRET_PATHS {
        if is_of(host, known)
            && let Some(length) = behind(path, before)
        {
            let start = authority.end + length;
            let rest = &text.as_bytes()[start..to];
            let length = rest.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(rest.len());
            edits.push(Edit::mask(start, start + length));
        }
    }
}

/// The length of what a path begins with, slashes counted once and capitals as small letters.
fn behind(path: &[u8], before: &str) -> Option<usize> {
    let mut at = 0;
    for byte in before.bytes() {
        let rest = &path[at..];
        at += match byte {
            b'/' => rest.iter().take_while(|byte| **byte == b'/').count(),
            b'*' => rest.iter().take_while(|byte| !matches!(byte, b'/' | b'?' | b'#')).count(),
            _ => usize::from(rest.first().is_some_and(|first| first.eq_ignore_ascii_case(&byte))),
        };
        if path.len() - at == rest.len() {
            return None;
        }
    }
    Some(at)
}

/// Where the value of a secret parameter ends. Of two readings the longer one is taken.
fn value_end(bytes: &[u8], start: usize, depth: usize, in_query: bool, opener: u8) -> usize {
    if bytes.get(start) == Some(&b'{') {
        return braced(bytes, start);
    }
    let mut at = start;
    while at < bytes.len() {
        let unit = unit(bytes, at);
        let next = at + unit.len;
        if unit.depth <= depth {
            match unit.byte {
                b'&' | b'#' => break,
                b';' if next == bytes.len() || begins_pair(bytes, next) => break,
                b',' if !in_query && begins_pair(bytes, next) => break,
                b'/' | b'?' if !in_query => break,
                b')' if opener == b'(' => break,
                _ => {}
            }
        }
        at = next;
    }
    at
}

/// The end of a value in braces, where a brace is doubled.
pub(super) fn braced(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1)) {
            (b'}', Some(b'}')) => at += 2,
            (b'}', _) => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Whether `key=` stands here.
pub(super) fn begins_pair(bytes: &[u8], at: usize) -> bool {
    let rest = &bytes[at..bytes.len().min(at + MAX_KEY_BYTES)];
    let is_of_key = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.[] %".contains(byte);
    rest.iter().position(|byte| !is_of_key(byte)).is_some_and(|end| end > 0 && rest[end] == b'=')
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
            ("https://h:8080/a@b?x=y", "https://h:8080/a@b?x=y"),
            ("/relative?password=x", "/relative?password=REDACTED"),
            ("", ""),
            ("https://h/p;token=a/q;v=1?x=1", "https://h/p;token=REDACTED/q;v=1?x=1"),
            ("https://h/?token=a;b&c=1", "https://h/?token=REDACTED&c=1"),
            ("https://h/?token=a;b=1", "https://h/?token=REDACTED;b=1"),
            ("https://h/?%74oken=a&b=1", "https://h/?%74oken=REDACTED&b=1"),
            (
                "https://h/?next=https%3A%2F%2Fu%3Ap%40g%2F%3Ftoken%3Da%26b%3D1&c=2",
                "https://h/?next=https%3A%2F%2Fg%2F%3Ftoken%3DREDACTED%26b%3D1&c=2",
            ),
            ("https://h/?next=%253Ftoken%253Da&c=2", "https://h/?next=%253Ftoken%253DREDACTED&c=2"),
            ("https://h/#access_token=a&type=b", "https://h/#access_token=REDACTED&type=b"),
            ("postgres://u:p/w@h/db", "postgres://h/db"),
            ("postgres://u:p", "postgres://u:REDACTED"),
            ("mongodb://u:p@h1:27017,h2:27017/db?x=y", "mongodb://h1:27017,h2:27017/db?x=y"),
            ("mongodb://h1:27017,h2:27017/db?x=a@b", "mongodb://h1:27017,h2:27017/db?x=a@b"),
            ("redis://:p@h:6379/0", "redis://h:6379/0"),
            ("http://[::1]:8080/a@b", "http://[::1]:8080/a@b"),
            (
                "jdbc:sqlserver://h:1433;user=sa;password={a;b}}c};x=1",
                "jdbc:sqlserver://h:1433;user=sa;password=REDACTED;x=1",
            ),
            (
                "jdbc:mysql://address=(host=h)(password=p)/db",
                "jdbc:mysql://address=(host=h)(password=REDACTED)/db",
            ),
            ("jdbc:db2://h:50000/db:user=u;password=p;", "jdbc:db2://h:50000/db:user=u;password=REDACTED;"),
            ("https://hooks.slack.com/services/T/B/x?y=1", "https://hooks.slack.com/services/REDACTED?y=1"),
            ("https://u@api.telegram.org/bot12:x/send", "https://api.telegram.org/botREDACTED"),
        ] {
            assert_eq!(url(given), expected);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_masked_once_and_without_panic(text in "[a-z:/?&;=@%25{}#.token]{0,60}|.{0,80}") {
            let once = url(&text).into_owned();
            prop_assert!(once.len() <= text.len() + 8 * text.len().min(text.matches('=').count() + text.matches('%').count() + text.matches("//").count() + 1));
            prop_assert_eq!(&url(&once), &once);
        }
    }
}
