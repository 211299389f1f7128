//! JSON as an SDK writes it where its language lets it: `NaN`, and halves of surrogate pairs.

/// The text as JSON proper: what is no number becomes `null`, half of a pair the sign for what can't be read.
pub(super) fn mended(text: &str) -> String {
    let mut mended = String::with_capacity(text.len());
    let mut rest = text;
    let mut is_in_text = false;
    while let Some(c) = rest.chars().next() {
        let token = if is_in_text { &rest[..text_token(rest)] } else { &rest[..bare_token(rest)] };
        rest = &rest[token.len()..];
        mended.push_str(match (is_in_text, token) {
            (false, "NaN" | "Infinity" | "-Infinity") => "null",
            (true, _) if token.len() == 6 && surrogate(token).is_some() => "\\ufffd",
            _ => token,
        });
        is_in_text ^= c == '"';
    }
    mended
}

/// The length of what comes next outside of a text: one of the words that are no JSON, or a character.
fn bare_token(rest: &str) -> usize {
    let word = ["NaN", "Infinity", "-Infinity"].into_iter().find(|word| rest.starts_with(word));
    word.map_or_else(|| rest.chars().next().map_or(0, char::len_utf8), str::len)
}

/// The length of what comes next in a text: a character, an escape, or the two escapes of a pair.
fn text_token(rest: &str) -> usize {
    if !rest.starts_with('\\') {
        return rest.chars().next().map_or(0, char::len_utf8);
    }
    if surrogate(rest) == Some(false) && surrogate(rest.get(6..).unwrap_or_default()) == Some(true) {
        return 12;
    }
    if surrogate(rest).is_some() {
        return 6;
    }
    1 + rest[1..].chars().next().map_or(0, char::len_utf8)
}

/// Whether this begins with an escape of half a pair, and whether it is the second half.
fn surrogate(rest: &str) -> Option<bool> {
    let digits = rest.strip_prefix("\\u")?.get(..4)?;
    match u16::from_str_radix(digits, 16).ok()? {
        0xd800..0xdc00 => Some(false),
        0xdc00..0xe000 => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_languages_write_and_json_has_not() {
        for (text, expected) in [
            (r#"{"a":NaN,"b":[Infinity,-Infinity,-1]}"#, r#"{"a":null,"b":[null,null,-1]}"#),
            (r#"{"NaN":"NaN \" Infinity","b":"\\"}"#, r#"{"NaN":"NaN \" Infinity","b":"\\"}"#),
            (r#"["\ud83e\udd80 \ud83e \udd80\ud83e"]"#, r#"["\ud83e\udd80 \ufffd \ufffd\ufffd"]"#),
            (r#"["\ud83e\ud83e\udd80","\u00e4","ä\"#, r#"["\ufffd\ud83e\udd80","\u00e4","ä\"#),
        ] {
            assert_eq!(mended(text), expected);
        }
    }

    proptest! {
        #[test]
        fn what_is_json_stays_as_it_is(text in "[NaInfity\\-\\\\ud8d0 \"ä,]{0,60}") {
            let json = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(mended(&json), json);
            let _ = mended(&text);
        }
    }
}
