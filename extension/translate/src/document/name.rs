//! What X-Ray allows in a name: NAME-1 to NAME-3.

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory as _};

/// Characters of a name that X-Ray keeps (LIM-6).
const MAX_CHARS: usize = 200;

/// Keeps what X-Ray allows in a name, at most 200 characters; `span` when nothing remains. `None` when the name is
/// right as it is.
pub(crate) fn clean(name: &str) -> Option<String> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.:/%&#=+-@ ".contains(byte);
    let is_trimmed = !name.starts_with(' ') && !name.ends_with(' ');
    if !name.is_empty() && name.len() <= MAX_CHARS && is_trimmed && name.as_bytes().iter().all(is_plain) {
        return None;
    }
    let kept: String = name.chars().filter(|c| is_allowed(*c)).collect();
    let cut: String = kept.trim().chars().take(MAX_CHARS).collect();
    let cut = cut.trim_end();
    let cleaned = if cut.is_empty() { "span" } else { cut };
    (cleaned != name).then(|| cleaned.to_owned())
}

/// Letters, numbers, separators and a few signs (NAME-1). Control characters are not separators (NAME-2).
fn is_allowed(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric() || " _.:/%&#=+-@".contains(c);
    }
    matches!(
        c.general_category_group(),
        GeneralCategoryGroup::Letter | GeneralCategoryGroup::Number | GeneralCategoryGroup::Separator
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tv_6_name_2_name_3_cleaning() {
        for (given, expected) in [
            ("GET /users/{id}?x=1,2", "GET /users/idx=12"),
            ("???", "span"),
            ("", "span"),
            ("  tab\there \n", "tabhere"),
            ("back\\slash", "backslash"),
        ] {
            assert_eq!(clean(given).as_deref(), Some(expected));
        }
        for right in ["日本語 名前", "GET /users/:id", "span"] {
            assert_eq!(clean(right), None);
        }
        let long = clean(&"ä".repeat(300)).unwrap();
        assert_eq!((long.chars().count(), long.len()), (200, 400));
    }
}
