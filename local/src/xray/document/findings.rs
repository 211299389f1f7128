//! What the checks of one document found.

use serde_json::Value;

/// Characters of a value that a message repeats.
const MAX_QUOTED_CHARS: usize = 60;

/// Collects what is wrong with one document while its parts are looked at.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) refused: Option<(&'static str, String)>,
    pub(super) warnings: Vec<String>,
}

impl Findings {
    /// The first refusal is the one that is told.
    pub(super) fn refuse(&mut self, code: &'static str, message: String) {
        self.refused.get_or_insert((code, message));
    }

    /// What the published schema forbids and the service is known, or likely, to take.
    pub(super) fn warn(&mut self, message: String) {
        self.warnings.push(message);
    }
}

/// A value as JSON, short enough for a message.
pub(super) fn quoted(value: &Value) -> String {
    let text = value.to_string();
    let count = text.chars().count();
    if count <= MAX_QUOTED_CHARS {
        return text;
    }
    format!("{}… ({count} characters)", text.chars().take(MAX_QUOTED_CHARS).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn long_values_are_cut_on_a_character() {
        assert_eq!(quoted(&json!("ä")), "\"ä\"");
        assert_eq!(quoted(&json!("ä".repeat(100))), format!("\"{}… (102 characters)", "ä".repeat(59)));
    }
}
