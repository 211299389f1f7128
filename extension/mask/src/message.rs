//! Secrets as messages tell them: `name: value`, `--name value`, and the credentials behind the scheme of a header.

use super::edit::{Edit, apply};
use super::names::{
    is_authorization, is_secret_in_message, is_secret_in_text, is_secret_of_connection, is_whole_line,
};
use super::text::Scan;
use std::borrow::Cow;

/// What follows `Bearer` and is shorter is a word.
const MIN_TOKEN_BYTES: usize = 12;

/// Schemes of `Authorization` before a single word.
const SCHEMES: &[&str] = &["basic", "bearer", "token", "apikey", "key", "negotiate", "ntlm", "dpop"];

/// The same two that messages quote, behind a `B` or `b`.
const BEHIND_B: &[&[u8]] = &[b"earer ", b"asic ", b"EARER ", b"ASIC "];

/// Words that stand behind a name in prose, and in what servers say of passwords.
const PROSE: &[&str] = &[
    "a",
    "an",
    "can",
    "cannot",
    "could",
    "expected",
    "expired",
    "failed",
    "false",
    "has",
    "invalid",
    "is",
    "it",
    "missing",
    "must",
    "no",
    "none",
    "not",
    "null",
    "required",
    "should",
    "str",
    "string",
    "the",
    "true",
    "undefined",
    "yes",
];

/// A message without the secrets that it names.
pub(super) fn mask(text: &str) -> Cow<'_, str> {
    let mut edits = Vec::new();
    Scan::of_message(text, &mut edits).run(0);
    credentials(text, &mut edits);
    apply(text, edits)
}

/// What a message quotes of a header: `Bearer ...`, `Basic ...`.
fn credentials(text: &str, edits: &mut Vec<Edit>) {
    let bytes = text.as_bytes();
    for at in (0..bytes.len()).filter(|at| matches!(bytes[*at], b'B' | b'b')) {
        let rest = &bytes[at + 1..];
        let Some(scheme) = BEHIND_B.iter().find(|scheme| rest.starts_with(scheme)) else { continue };
        let start = at + 1 + scheme.len();
        let is_of_token = |byte: &&u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
        let length = bytes[start..].iter().take_while(is_of_token).count();
        if length >= MIN_TOKEN_BYTES {
            edits.push(Edit::mask(start, start + length));
        }
    }
}

impl Scan<'_, '_> {
    /// `name: value`.
    pub(super) fn setting(&mut self, colon: usize) -> Option<usize> {
        let name = self.name_before(colon);
        let blanks = |at: usize| {
            let is_blank = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'[');
            self.bytes[at..].iter().take(8).take_while(is_blank).count()
        };
        let start = colon + 1 + blanks(colon + 1);
        let before = name.start.checked_sub(1).map_or(b' ', |at| self.bytes[at]);
        // Parts of an ARN, of a path of Rust's or C++'s.
        let is_part = before == b':' && start == colon + 1 || self.bytes.get(colon + 1) == Some(&b':');
        let first = *self.bytes.get(start)?;
        let word = self.word(start);
        if name.is_empty()
            || is_part
            || matches!(first, b'\r' | b'\n' | b'{')
            || !is_secret_in_message(&self.bytes[name.clone()])
        {
            return None;
        }
        if matches!(first, b'\'' | b'"') {
            return Some(self.whole_quoted(start));
        }
        if self.is_prose(&self.bytes[name.clone()], start, word) {
            return None;
        }
        let end = if is_whole_line(&self.bytes[name.clone()]) {
            match self.behind_scheme(&self.bytes[name], start) {
                Some(secret) => {
                    let end = self.word(secret);
                    self.edits.push(Edit::mask(secret, end));
                    return Some(end.max(colon + 1));
                }
                None => self.line(start, before),
            }
        } else {
            word
        };
        self.edits.push(Edit::mask(start, end));
        Some(end.max(colon + 1))
    }

    /// `--name value`.
    pub(super) fn option(&mut self, dash: usize) -> Option<usize> {
        let is_alone = dash.checked_sub(1).is_none_or(|at| b" \t\n'\"`[,".contains(&self.bytes[at]));
        let rest = self.bytes[dash..].strip_prefix(b"--").filter(|_| is_alone)?;
        let is_of_name = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let length = rest.iter().take(64).take_while(is_of_name).count();
        let start = dash + 2 + length + 1;
        let is_value =
            rest.get(length) == Some(&b' ') && self.bytes.get(start).is_some_and(|byte| *byte != b'-');
        if !is_value || !is_secret_of_connection(&rest[..length]) {
            return None;
        }
        let end = match self.bytes[start] {
            quote @ (b'\'' | b'"') => self.quoted(start, quote),
            _ => self.word(start),
        };
        self.edits.push(Edit::mask(start, end));
        Some(end)
    }

    /// `password 'value'`. Secrets have names that are none.
    pub(super) fn password(&mut self, quote: usize) -> Option<usize> {
        let name = self.name_before(quote);
        let is_apart = self.is_message && name.end < quote && self.bytes.get(quote + 1) != Some(&b'?');
        let name = self.bytes.get(name).filter(|name| is_apart && !name.eq_ignore_ascii_case(b"secret"))?;
        is_secret_in_text(name).then(|| self.whole_quoted(quote))
    }

    /// `IDENTIFIED BY value`, in statements that are quoted without a driver's words around them.
    pub(super) fn identified(&mut self, last: usize) -> Option<usize> {
        let before = &self.bytes[last.saturating_sub(128)..=last];
        let is_statement = || {
            before.ends_with(b"IDENTIFIED BY")
                || before.windows(7).any(|end| matches!(end, b"er user" | b"te user"))
        };
        let start = last + 2;
        let first = *self.bytes.get(start).filter(|_| self.bytes[last + 1] == b' ')?;
        if !ends_with(before, b"identified by") || !is_statement() || b"?:%@ ".contains(&first) {
            return None;
        }
        if matches!(first, b'\'' | b'"') {
            return Some(self.whole_quoted(start));
        }
        let end = self.word(start);
        self.edits.push(Edit::mask(start, end));
        Some(end)
    }

    fn whole_quoted(&mut self, start: usize) -> usize {
        let end = self.quoted(start, self.bytes[start]);
        self.edits.push(Edit::mask(start, end));
        end
    }

    /// Where the secret of a header begins whose scheme is told before it.
    pub(super) fn behind_scheme(&self, name: &[u8], start: usize) -> Option<usize> {
        let rest = self.bytes.get(start..)?;
        let length = rest.iter().take(16).position(|byte| *byte == b' ')?;
        let is_scheme = |scheme: &&str| rest[..length].eq_ignore_ascii_case(scheme.as_bytes());
        let blanks = rest[length..].iter().take(8).take_while(|byte| **byte == b' ').count();
        let secret = start + length + blanks;
        (is_authorization(name) && SCHEMES.iter().any(is_scheme) && self.word(secret) > secret)
            .then_some(secret)
    }

    fn word(&self, start: usize) -> usize {
        let ends = |byte: &u8| byte.is_ascii_whitespace() || b",;)]}\"'`<".contains(byte);
        let rest = self.bytes.get(start..).unwrap_or_default();
        start + rest.iter().position(ends).unwrap_or(rest.len())
    }

    /// The end of the line, or of the quotes around it.
    fn line(&self, start: usize, quote: u8) -> usize {
        let rest = &self.bytes[start..];
        let is_quoted = matches!(quote, b'\'' | b'"' | b'`');
        let ends = |byte: &u8| matches!(byte, b'\r' | b'\n') || is_quoted && *byte == quote;
        let length = rest.iter().position(ends).unwrap_or(rest.len());
        start + rest[..length].trim_ascii_end().len()
    }

    /// Whether a sentence goes on behind the colon. The name may be an error's type: `InvalidSignature: none matches`.
    fn is_prose(&self, name: &[u8], start: usize, end: usize) -> bool {
        let word = &self.bytes[start..end];
        if PROSE.iter().any(|known| word.eq_ignore_ascii_case(known.as_bytes())) {
            return true;
        }
        let is_type = name[0].is_ascii_uppercase()
            && name[1..].iter().any(u8::is_ascii_uppercase)
            && name.iter().all(u8::is_ascii_alphabetic)
            && name.iter().any(u8::is_ascii_lowercase);
        let goes_on = self.bytes.get(end) == Some(&b' ')
            && self.bytes.get(end + 1).is_some_and(u8::is_ascii_alphabetic);
        is_type && goes_on && word.iter().skip(1).all(u8::is_ascii_lowercase)
    }
}

fn ends_with(text: &[u8], end: &[u8]) -> bool {
    text.len() >= end.len() && text[text.len() - end.len()..].eq_ignore_ascii_case(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_secret_is_told() {
        for given in [
            "Access denied for user 'root'@'localhost' (using password: YES)",
            "Invalid password: must have 8 characters",
            "InvalidSignature: None matches the key",
            "InvalidClientToken: The token of the request is invalid",
            "no such secret arn:aws:secretsmanager:eu-west-1:1:secret:db/prod",
            "Unexpected token: < at 1",
            "aws_sdk::secret::Missing",
            "--verbose yes",
            "the user is identified by its number",
            "no such secret 'db/prod'",
            "at pg (/var/task/node_modules/.pnpm/pg@8.11.3/node_modules/pg/lib/client.js:12:3)",
            "arn:aws:iam::123456789012:user/ann@example.com/x",
        ] {
            assert_eq!(mask(given), given);
        }
    }

    proptest! {
        #[test]
        fn any_message_is_masked_once(text in "(password|Authorization|Cookie|Basic|--token|x-api-key|[:= '\"\n,;\\[-]|a){0,16}|(?s).{0,60}") {
            let once = mask(&text).into_owned();
            prop_assert_eq!(&mask(&once), &once);
        }
    }
}
