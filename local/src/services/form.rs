//! `application/x-www-form-urlencoded` and percent-encoded paths.

use std::collections::BTreeMap;

/// Names and values of a form.
pub(super) fn parse(body: &[u8]) -> BTreeMap<String, String> {
    let body = String::from_utf8_lossy(body);
    let pairs = body.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decoded(&name.replace('+', " ")), decoded(&value.replace('+', " ")))).collect()
}

/// Undoes percent-encoding; what is not of that form stays as it is.
pub(super) fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| *first == b'%').and_then(|code| std::str::from_utf8(code).ok());
        if let Some(byte) = code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            bytes.push(byte);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_and_paths() {
        let form = parse(b"Action=SendMessage&MessageBody=a+%26+b%C3%A9%2&Empty=&bare");
        let text = |name: &str| form.get(name).map(String::as_str);
        assert_eq!(text("Action"), Some("SendMessage"));
        assert_eq!(text("MessageBody"), Some("a & b\u{e9}%2"));
        assert_eq!(text("Empty"), Some(""));
        assert_eq!(text("bare"), None);
        assert_eq!(decoded("arn%3Aaws%3Alambda"), "arn:aws:lambda");
    }
}
