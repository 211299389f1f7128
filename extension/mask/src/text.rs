//! Secrets in any text: in the URLs it quotes, in parameters and connection strings, and behind names that say so.

use super::edit::{Edit, apply};
use super::names::{is_secret_in_entry, is_secret_in_text, is_secret_in_url, is_secret_of_connection};
use super::signs;
use super::url::{self, begins_pair, braced};
use std::borrow::Cow;

/// How far back the name of a value is read.
const MAX_NAME_BYTES: usize = 64;
/// How far behind a URL the rest of a password is looked for that has no place in one.
const MAX_TAIL_BYTES: usize = 256;
/// How far a value is searched for a semicolon.
const MAX_LOOK_BYTES: usize = 512;
const ORACLE: &[u8] = b"jdbc:oracle:";

/// A text as it may be shown.
pub(super) fn mask(text: &str) -> Cow<'_, str> {
    if !may_hold_secrets(text.as_bytes()) {
        return text.into();
    }
    let mut edits = Vec::new();
    Scan::new(text, is_secret_in_text, &mut edits).run(0);
    apply(text, edits)
}

/// What tells how to connect: a URL, `key=value` pairs, or `user:password@host`.
pub(super) fn connection_string(text: &str) -> Cow<'_, str> {
    let mut edits = Vec::new();
    if text.contains("://") {
        url::secrets(text, 0, text.len(), &mut edits);
    } else {
        user_and_password(text, &mut edits);
        Scan::new(text, is_secret_of_connection, &mut edits).run(0);
    }
    apply(text, edits)
}

/// Whether it is worth while to look closer: few texts have any of these.
fn may_hold_secrets(bytes: &[u8]) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let is_any = |eight: u64| {
        let is = |byte: u8| {
            let zero = eight ^ (ONES * u64::from(byte));
            zero.wrapping_sub(ONES) & !zero & HIGHS
        };
        is(b'=') | is(b'@') | is(b'"') | is(b'\'') | is(b':') != 0
    };
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [b' '; 8];
    last[..rest.len()].copy_from_slice(rest);
    if !words.iter().any(|word| is_any(u64::from_le_bytes(*word))) && !is_any(u64::from_le_bytes(last)) {
        return false;
    }
    bytes.iter().enumerate().any(|(at, byte)| match byte {
        b'=' | b'@' => true,
        b':' => bytes[at..].starts_with(b"://"),
        b'"' | b'\'' => bytes[at + 1..].iter().find(|byte| **byte != b' ') == Some(&b':'),
        _ => false,
    })
}

/// What [`Scan`] looks closer at.
const IS_SIGN: [bool; 256] = signs::table(b":-=?@\"'Yy");

pub(super) struct Scan<'a, 'e> {
    text: &'a str,
    pub(super) bytes: &'a [u8],
    names: fn(&[u8]) -> bool,
    pub(super) is_message: bool,
    pub(super) edits: &'e mut Vec<Edit>,
}

impl<'a, 'e> Scan<'a, 'e> {
    fn new(text: &'a str, names: fn(&[u8]) -> bool, edits: &'e mut Vec<Edit>) -> Self {
        Self { text, bytes: text.as_bytes(), names, is_message: false, edits }
    }

    /// In messages a name may stand before a colon or a blank too.
    pub(super) fn of_message(text: &'a str, edits: &'e mut Vec<Edit>) -> Self {
        Self { is_message: true, ..Self::new(text, is_secret_in_text, edits) }
    }
}

impl Scan<'_, '_> {
    pub(super) fn run(&mut self, from: usize) {
        let mut at = from;
        while at < self.bytes.len() {
            if !IS_SIGN[usize::from(self.bytes[at])] {
                at += 1;
                continue;
            }
            let next = match self.bytes[at] {
                b':' if self.bytes[at..].starts_with(b"://") => Some(self.url(at)),
                b':' if self.bytes[..at].ends_with(b":thin") || self.bytes[..at].ends_with(b":oci") => {
                    self.oracle(at)
                }
                b':' if self.is_message => self.setting(at),
                b'-' if self.is_message => self.option(at),
                b'=' => self.pair(at),
                b'?' if begins_pair(self.bytes, at + 1) => Some(self.query(at)),
                b'@' => self.driver(at),
                b'"' | b'\'' => self.entry(at).or_else(|| self.password(at)),
                b'Y' | b'y' if self.is_message => self.identified(at),
                _ => None,
            };
            at = next.unwrap_or(at + 1);
        }
    }

    /// A URL, as far as it goes.
    fn url(&mut self, colon: usize) -> usize {
        let is_of_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || b"+.-:".contains(byte);
        let scheme = self.bytes[..colon].iter().rev().take(32).take_while(|byte| is_of_scheme(byte)).count();
        let is_quoted = (colon - scheme).checked_sub(1).is_some_and(|at| self.bytes[at] == b'\'');
        let mut end = colon + self.length_of_url(colon, is_quoted);
        // An authority that has not ended may go on behind what ends a URL.
        let authority = &self.bytes[colon + 3..end];
        if !authority.iter().any(|byte| b"@/?#".contains(byte)) && authority.contains(&b':') {
            let tail =
                self.bytes[end..].iter().take(MAX_TAIL_BYTES).take_while(|byte| !byte.is_ascii_whitespace());
            let tail: &[u8] = &self.bytes[end..end + tail.count()];
            if let Some(sign) = tail.iter().rposition(|byte| *byte == b'@') {
                let host = &self.bytes[end + sign..];
                end += sign + host.iter().position(|byte| ends_url(*byte)).unwrap_or(host.len());
            }
        }
        url::secrets(self.text, colon, end, self.edits);
        end
    }

    /// The query of a URL that has no scheme.
    fn query(&mut self, mark: usize) -> usize {
        let end = mark + self.length_of_url(mark, false);
        url::secrets(self.text, mark, end, self.edits);
        end
    }

    fn length_of_url(&self, colon: usize, is_quoted: bool) -> usize {
        let bytes = &self.bytes[colon..];
        let mut open = 0_usize;
        let mut closes = |at: usize, byte: u8| match byte {
            b'\'' => is_quoted || bytes.get(at + 1).is_none_or(|next| !next.is_ascii_alphanumeric()),
            b'(' | b'[' | b'{' => {
                open += 1;
                false
            }
            b')' | b']' | b'}' if open > 0 => {
                open -= 1;
                false
            }
            // A bracket that was opened before the URL, where the word ends.
            b')' | b']' | b'}' => {
                let next = bytes[at + 1..].iter().take(8).find(|byte| !b",.;:)]}".contains(byte));
                next.is_none_or(|byte| ends_url(*byte) || *byte == b'\'')
            }
            _ => ends_url(byte),
        };
        (0..bytes.len()).find(|at| closes(*at, bytes[*at])).unwrap_or(bytes.len())
    }

    /// `name=value`.
    fn pair(&mut self, equals: usize) -> Option<usize> {
        let name = self.name_before(equals);
        let before = name.start.checked_sub(1).map_or(0, |at| self.bytes[at]);
        let is_parameter = matches!(before, b'?' | b'&');
        let is_secret = if is_parameter { is_secret_in_url } else { self.names };
        // An option of a command: `--token=`.
        let is_option = self.bytes[name.clone()].starts_with(b"--");
        let is_secret = if is_option { is_secret_of_connection } else { is_secret };
        if name.is_empty() || !is_secret(&self.bytes[name.clone()]) {
            return None;
        }
        let blanks = self.bytes[equals + 1..].iter().take(8).take_while(|byte| **byte == b' ').count();
        let start = equals + 1 + blanks;
        let start = self.behind_scheme(&self.bytes[name], start).unwrap_or(start);
        // A statement's mark for a value.
        let ends = |byte: &u8| byte.is_ascii_whitespace() || b",;)".contains(byte);
        if self.bytes.get(start) == Some(&b'?') && self.bytes.get(start + 1).is_none_or(ends) {
            return None;
        }
        let end = self.value_end(start, before);
        self.edits.push(Edit::mask(start, end));
        Some(end.max(equals + 1))
    }

    /// The name that ends before the sign of equality.
    pub(super) fn name_before(&self, equals: usize) -> std::ops::Range<usize> {
        let bytes = &self.bytes[..equals];
        let blanks = bytes.iter().rev().take(8).take_while(|byte| **byte == b' ').count();
        let end = equals - blanks;
        let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.[]%".contains(byte);
        let length =
            bytes[..end].iter().rev().take(MAX_NAME_BYTES).take_while(|byte| is_of_name(byte)).count();
        end - length..end
    }

    fn value_end(&self, start: usize, before: u8) -> usize {
        match self.bytes.get(start) {
            Some(b'{') => return braced(self.bytes, start),
            Some(quote @ (b'\'' | b'"')) => return self.quoted(start, *quote),
            _ => {}
        }
        // Blanks are a part of a value where semicolons are between the pairs.
        let mut line = self.bytes[start..].iter().take(MAX_LOOK_BYTES).take_while(|byte| **byte != b'\n');
        let has_semicolons = before == b';' || line.any(|byte| *byte == b';');
        let is_parameter = matches!(before, b'?' | b'&');
        let ends = |at: usize| match self.bytes[at] {
            b'&' => is_parameter,
            b'#' => before == b'?',
            b';' => {
                self.bytes.get(at + 1).is_none_or(u8::is_ascii_whitespace) || begins_pair(self.bytes, at + 1)
            }
            b')' => before == b'(',
            b',' => begins_pair(self.bytes, at + 1) || self.bytes.get(at + 1) == Some(&b' '),
            b'\n' => true,
            byte if byte.is_ascii_whitespace() => !has_semicolons || is_parameter,
            b'"' | b'\'' | b'<' | b'>' => {
                self.bytes.get(at + 1).is_none_or(|next| !next.is_ascii_alphanumeric())
            }
            _ => false,
        };
        (start..self.bytes.len()).find(|at| ends(*at)).unwrap_or(self.bytes.len())
    }

    /// The end of a value in quotes, of which a doubled one and one behind a backslash are a part.
    pub(super) fn quoted(&self, start: usize, quote: u8) -> usize {
        let mut at = start + 1;
        while at < self.bytes.len() {
            match (self.bytes[at], self.bytes.get(at + 1)) {
                (b'\\', Some(_)) => at += 2,
                (byte, Some(next)) if byte == quote && *next == quote => at += 2,
                (byte, _) if byte == quote => return at + 1,
                _ => at += 1,
            }
        }
        self.bytes.len()
    }

    /// `"name": "value"`, as in JSON and in what languages print of their dictionaries.
    fn entry(&mut self, quote: usize) -> Option<usize> {
        let mark = self.bytes[quote];
        let rest = &self.bytes[quote + 1..];
        let blanks = rest.iter().take(8).take_while(|byte| **byte == b' ').count();
        if rest.get(blanks) != Some(&b':') {
            return None;
        }
        // JSON in JSON has its quotes behind backslashes.
        let escapes = self.bytes[..quote].iter().rev().take(8).take_while(|byte| **byte == b'\\').count();
        let name = self.name_before(quote - escapes);
        if name.is_empty() || !is_secret_in_entry(&self.bytes[name]) {
            return None;
        }
        let colon = quote + 1 + blanks;
        let rest = &self.bytes[colon + 1..];
        let blanks = rest.iter().take(8).take_while(|byte| **byte == b' ' || **byte == b'[').count();
        let begin = colon + 1 + blanks + escapes;
        // Bytes and raw texts of Python.
        let is_quote = |at: usize| matches!(self.bytes.get(at), Some(b'"' | b'\''));
        let has_prefix = matches!(self.bytes.get(begin), Some(b'b' | b'u' | b'r')) && is_quote(begin + 1);
        let begin = begin + usize::from(has_prefix);
        if !is_quote(begin) {
            return self.number(colon + 1 + blanks);
        }
        let mark = if mark == b'"' { b'"' } else { self.bytes[begin] };
        let mut at = begin + 1;
        let mut backslashes = 0;
        while at < self.bytes.len() {
            match self.bytes[at] {
                b'\\' => backslashes += 1,
                byte if byte == mark && backslashes <= escapes => break,
                _ => backslashes = 0,
            }
            at += 1;
        }
        self.edits.push(Edit::mask(begin + 1, (at - backslashes.min(escapes)).max(begin + 1)));
        Some(at.max(quote + 1))
    }

    /// A number in the place of a text.
    fn number(&mut self, start: usize) -> Option<usize> {
        let rest = self.bytes.get(start..)?;
        let length = rest.iter().take_while(|byte| byte.is_ascii_digit() || b"+-.eE".contains(byte)).count();
        let is_number = rest.iter().take(2).any(u8::is_ascii_digit);
        (is_number && length > 0).then(|| self.edits.push(Edit::mask(start, start + length)))?;
        Some(start + length)
    }

    /// `user:password@tcp(host)`, `user:password@host/path` and `user:password@host:1`.
    fn driver(&mut self, sign: usize) -> Option<usize> {
        let rest = &self.bytes[sign + 1..];
        let is_of_host = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        let host = rest.iter().take(MAX_TAIL_BYTES).take_while(is_of_host).count();
        let is_bare = match rest[host..] {
            [b'(', ..] => false,
            [b'/', ..] if host > 0 => true,
            [b':', ref port @ ..] if host > 0 && is_port(port) => true,
            _ => return None,
        };
        let before = &self.bytes[..sign];
        let is_end = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b'`');
        let length = before.iter().rev().take(MAX_TAIL_BYTES).take_while(|byte| !is_end(byte)).count();
        let word = &before[sign - length..];
        let colon = word.iter().position(|byte| *byte == b':')?;
        // A path, an ARN, or no name before the colon.
        let is_other = |byte: &u8| matches!(byte, b':' | b'/');
        let is_name = word[..colon].last().is_some_and(u8::is_ascii_alphanumeric);
        if is_bare && (!is_name || word[..colon].contains(&b'/') || word[colon + 1..].iter().any(is_other)) {
            return None;
        }
        self.edits.push(Edit::mask(sign - length + colon + 1, sign));
        None
    }

    /// `jdbc:oracle:thin:user/password@host`.
    fn oracle(&mut self, colon: usize) -> Option<usize> {
        if !self.bytes[..colon].windows(ORACLE.len()).rev().take(16).any(|window| window == ORACLE) {
            return None;
        }
        let rest = &self.bytes[colon + 1..];
        let length = rest.iter().take(MAX_TAIL_BYTES).take_while(|byte| !byte.is_ascii_whitespace()).count();
        let sign = rest[..length].iter().position(|byte| *byte == b'@')?;
        let slash = rest[..sign].iter().position(|byte| *byte == b'/')?;
        self.edits.push(Edit::mask(colon + 1 + slash + 1, colon + 1 + sign));
        None
    }
}

/// Not the digest of an image: `app:1@sha256:57ab`.
fn is_port(bytes: &[u8]) -> bool {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (1..6).contains(&digits) && !bytes.get(digits).is_some_and(u8::is_ascii_alphanumeric)
}

fn ends_url(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte.is_ascii_control() || b"\"<>`".contains(&byte)
}

/// `user:password@host`, `user/password@host` and `user:password@tcp(host)`, without a scheme.
fn user_and_password(text: &str, edits: &mut Vec<Edit>) {
    let begin = ["jdbc:oracle:thin:", "jdbc:oracle:oci:"]
        .iter()
        .find(|known| text.starts_with(**known))
        .map_or(0, |known| known.len());
    let bytes = text.as_bytes();
    let is_driver = |at: usize| {
        let rest = &bytes[at + 1..];
        rest.get(rest.iter().take(16).take_while(|byte| byte.is_ascii_alphanumeric()).count()) == Some(&b'(')
    };
    let signs = || (begin..bytes.len()).rev().filter(|at| bytes[*at] == b'@');
    let driver = signs().find(|at| is_driver(*at));
    let Some(sign) = driver.or_else(|| signs().next()) else { return };
    let before = &bytes[begin..sign];
    if driver.is_none() && before.contains(&b'=') {
        return;
    }
    if let Some(separator) = before.iter().position(|byte| matches!(byte, b':' | b'/')) {
        edits.push(Edit::mask(begin + separator + 1, sign));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bet_22_connection_strings() {
        for (given, expected) in [
            (
                "Server=db;Database=shop;User Id=app;Password=s3cr3t;",
                "Server=db;Database=shop;User Id=app;Password=REDACTED;",
            ),
            ("Server=db;Password=a b;c;Database=shop", "Server=db;Password=REDACTED;Database=shop"),
            ("Password=a b;Server=db", "Password=REDACTED;Server=db"),
            ("Driver={x};PWD={a;b}}c};UID=u", "Driver={x};PWD=REDACTED;UID=u"),
            ("host=db user=app password=s3cr3t", "host=db user=app password=REDACTED"),
            ("host=db password = 'a \\' b' dbname=x", "host=db password = REDACTED dbname=x"),
            (
                "Endpoint=sb://h/;SharedAccessKeyName=n;SharedAccessKey=a+b=",
                "Endpoint=sb://h/;SharedAccessKeyName=n;SharedAccessKey=REDACTED",
            ),
            (
                "AccountName=n;AccountKey=a+b==;EndpointSuffix=c",
                "AccountName=n;AccountKey=REDACTED;EndpointSuffix=c",
            ),
            ("root:s3cr3t@tcp(127.0.0.1:3306)/db?x=y", "root:REDACTED@tcp(127.0.0.1:3306)/db?x=y"),
            ("root:a=b;c@d@tcp(h)/db", "root:REDACTED@tcp(h)/db"),
            ("scott/tiger@h:1521/x", "scott/REDACTED@h:1521/x"),
            ("jdbc:oracle:thin:scott/tiger@//h:1521/x", "jdbc:oracle:thin:scott/REDACTED@//h:1521/x"),
            ("postgresql://app:s3cr3t@db/shop", "postgresql://db/shop"),
            ("jdbc:postgresql://db/shop?password=s3cr3t", "jdbc:postgresql://db/shop?password=REDACTED"),
            (
                "jdbc:sqlserver://h:1433;user=sa;password=a b",
                "jdbc:sqlserver://h:1433;user=sa;password=REDACTED",
            ),
            ("h:6379,password=s3cr3t,ssl=true", "h:6379,password=REDACTED,ssl=true"),
        ] {
            assert_eq!(connection_string(given), expected);
        }
    }

    #[test]
    fn secrets_in_any_text() {
        for (given, expected) in [
            (
                "GET https://h/?token=a and https://u:p@g/?b=1 failed",
                "GET https://h/?token=REDACTED and https://g/?b=1 failed",
            ),
            (
                "(see https://h/?token=a) 'https://h/?sig=b'",
                "(see https://h/?token=REDACTED) 'https://h/?sig=REDACTED'",
            ),
            ("bad dsn: host=h password=s3cr3t dbname=x", "bad dsn: host=h password=REDACTED dbname=x"),
            ("connect to root:s3cr3t@tcp(h:1)/db: refused", "connect to root:REDACTED@tcp(h:1)/db: refused"),
            ("GET /cb?code=s3cr3t&a=1 404", "GET /cb?code=REDACTED&a=1 404"),
            ("sent {\"password\": \"a\\\"b\", \"n\": 1}", "sent {\"password\": \"REDACTED\", \"n\": 1}"),
            (
                "sent {\\\"api_key\\\":\\\"a\\\",\\\"n\\\":1}",
                "sent {\\\"api_key\\\":\\\"REDACTED\\\",\\\"n\\\":1}",
            ),
            ("{'access_token': 'a', 'n': 1}", "{'access_token': 'REDACTED', 'n': 1}"),
            ("token=1", "token=1"),
            ("a: b", "a: b"),
            ("arn:aws:lambda:eu-west-1:1:function:x", "arn:aws:lambda:eu-west-1:1:function:x"),
            ("postgres://u:p\"w@h/db x", "postgres://h/db x"),
            ("mail a@b.example", "mail a@b.example"),
        ] {
            assert_eq!(mask(given), expected);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_masked_once(text in "[a-z:/?&;=@%'\"{}()\\\\ .password]{0,60}|(?s).{0,60}") {
            for masked in [mask, connection_string] {
                let once = masked(&text).into_owned();
                prop_assert_eq!(&masked(&once), &once);
            }
        }
    }
}
