//! Keeping a document within X-Ray's limit (LIM-1) without dropping it: xray.md section 14.5.

use super::document::{Document, TranslatedDocument};
use serde_json::Value;

/// The design target: below the hard 65,536 bytes.
const MAX_DOCUMENT_BYTES: usize = 64_000;

type Step = fn(&mut Document);

/// From the mildest to the harshest.
const STEPS: &[Step] = &[
    |document| cut_stacks(document, 20),
    |document| cut_stacks(document, 5),
    |document| cut_strings(document, 4096),
    |document| cut_strings(document, 1024),
    |document| cut_texts(document, 500),
    minimal,
];

/// Shortens the document until it fits. `None` when nothing helps.
pub(super) fn fit(mut document: Document) -> Option<TranslatedDocument> {
    let mut json = document.to_json();
    for step in STEPS {
        if json.len() <= MAX_DOCUMENT_BYTES {
            break;
        }
        step(&mut document);
        json = document.to_json();
    }
    (json.len() <= MAX_DOCUMENT_BYTES).then(|| document.into_translated(json))
}

fn cut_stacks(document: &mut Document, frames: usize) {
    for exception in document.cause.iter_mut().flat_map(|cause| &mut cause.exceptions) {
        exception.truncated += exception.stack.len().saturating_sub(frames);
        exception.stack.truncate(frames);
    }
}

fn cut_strings(document: &mut Document, chars: usize) {
    document
        .metadata
        .values_mut()
        .flat_map(|namespace| namespace.values_mut())
        .for_each(|value| cut_value(value, chars));
}

fn cut_value(value: &mut Value, chars: usize) {
    match value {
        Value::String(text) => cut(text, chars),
        Value::Array(items) => items.iter_mut().for_each(|item| cut_value(item, chars)),
        Value::Object(entries) => entries.values_mut().for_each(|entry| cut_value(entry, chars)),
        _ => {}
    }
}

/// Cuts a text and says how long it was.
fn cut(text: &mut String, chars: usize) {
    if let Some((end, _)) = text.char_indices().nth(chars) {
        let original = text.chars().count();
        text.truncate(end);
        text.extend(["... (", &original.to_string(), " characters)"]);
    }
}

fn cut_texts(document: &mut Document, chars: usize) {
    for exception in document.cause.iter_mut().flat_map(|cause| &mut cause.exceptions) {
        exception.message.iter_mut().for_each(|message| cut(message, chars));
    }
    for value in document.sql.iter_mut().flat_map(|sql| sql.values_mut()) {
        cut_value(value, chars);
    }
}

/// Ids, times, flags, `http`, `aws` and the name; and a mark that the rest is missing.
fn minimal(document: &mut Document) {
    document.metadata.clear();
    document.annotations.clear();
    document.annotations.insert("truncated".into(), true.into());
    document.sql = None;
    document.cause = None;
    document.service = None;
}
