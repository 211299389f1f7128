//! Annotations: which attributes become searchable (ANN-1 to ANN-3, BET-24 to BET-26).

use super::document::Document;
use super::{Subject, attributes, mask};
use serde_json::Value;

/// Annotations X-Ray indexes of one trace (ANN-3).
const MAX_ANNOTATIONS: usize = 50;
const MAX_KEY_CHARS: usize = 500;
const MAX_VALUE_CHARS: usize = 1000;

/// Useful filters that cost three of the fifty (LAM-22).
const ALWAYS: &[&str] = &["faas.coldstart", "faas.invocation_id", "faas.trigger"];

const LIST: &str = "aws.xray.annotations";

/// Puts the selected scalars into the document. Explicit ones come first.
pub(super) fn set(subject: &Subject<'_>, document: &mut Document) {
    let named_by_span = subject.attributes.texts(&[LIST]);
    let configured = subject.function.annotations.iter().map(String::as_str);
    let always = ALWAYS.iter().copied().filter(|name| subject.attributes.has(name));
    let mut selected: Vec<&str> = Vec::new();
    for name in named_by_span.into_iter().chain(configured).chain(always) {
        if !selected.contains(&name) {
            selected.push(name);
        }
    }
    for name in selected {
        let attribute = [&subject.attributes, &subject.resource]
            .into_iter()
            .find_map(|list| list.iter().find(|attribute| attribute.key == name));
        let Some(attribute) = attribute else { continue };
        let key = clean_key(name);
        // What can't be indexed stays in metadata, where unused attributes go.
        if document.annotations.len() == MAX_ANNOTATIONS || document.annotations.contains_key(&key) {
            continue;
        }
        let value = match attributes::to_json(attribute.value.as_ref()) {
            Value::String(text) => {
                let text = mask::attribute(name, &text);
                if text.chars().count() <= MAX_VALUE_CHARS {
                    subject.attributes.get(&[name]);
                }
                Value::String(text.chars().take(MAX_VALUE_CHARS).collect())
            }
            scalar @ (Value::Bool(_) | Value::Number(_)) => {
                subject.attributes.get(&[name]);
                scalar
            }
            _ => continue,
        };
        document.annotations.insert(key, value);
    }
}

/// Keeps `A-Z a-z 0-9 _ .`, everything else becomes `_` (BET-25).
fn clean_key(name: &str) -> String {
    let clean = |c: char| {
        if c.is_ascii_alphanumeric() || c == '_' || c == '.' { c } else { '_' }
    };
    name.chars().take(MAX_KEY_CHARS).map(clean).collect()
}
