//! The rest of the ladder of xray.md section 14.5, for documents that are JSON already.

use crate::derive::{self, Purpose};
use crate::fit::size::{LIBRARIES, MAX_DOCUMENT_BYTES, MAX_ENTRY_BYTES, cut, cut_value};
use crate::trace_header::{SpanId, TraceId};
use serde_json::{Map, Value, json};

/// What the harshest form keeps of any text, in characters.
const MINIMAL_CHARS: usize = 250;
/// What an overflow subsegment has besides its metadata, with room to spare.
const OVERFLOW_FRAME_BYTES: usize = 2_000;

type Object = Map<String, Value>;

/// Makes the document fit, and hands out documents for metadata that had to leave it.
pub(super) fn fit(document: &mut Object, trace_id: TraceId) -> Vec<(SpanId, Object)> {
    let steps: [fn(&mut Object); 5] = [
        |document| cut_stacks(document, 20),
        |document| cut_stacks(document, 5),
        drop_library_frames,
        |document| cut_metadata(document, 4096),
        |document| cut_metadata(document, 1024),
    ];
    if fits(document)
        || steps.iter().any(|step| {
            step(document);
            fits(document)
        })
    {
        return Vec::new();
    }
    let overflow = overflow_of(document, trace_id);
    if !fits(document) {
        cut_texts(document);
    }
    if !fits(document) {
        minimise(document);
    }
    overflow
}

/// Ids, times, flags, `http`, `aws` and the name; and a mark that the rest is missing.
pub(super) fn minimise(document: &mut Object) {
    for gone in ["metadata", "cause", "sql", "service", "links"] {
        document.remove(gone);
    }
    document.insert("annotations".to_owned(), json!({"truncated": true}));
    for (name, value) in document.iter_mut() {
        if !matches!(name.as_str(), "subsegments" | "name") {
            cut_value(value, MINIMAL_CHARS);
        }
    }
}

fn fits(document: &Object) -> bool {
    super::written_len(document) <= MAX_DOCUMENT_BYTES
}

fn exceptions(document: &mut Object) -> impl Iterator<Item = &mut Object> {
    let exceptions = document.get_mut("cause").and_then(|cause| cause.get_mut("exceptions"));
    exceptions.and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

/// Keeps the frames that `keep` takes, and adds the others to `truncated`.
fn keep_frames(document: &mut Object, mut keep: impl FnMut(usize, &Value) -> bool) {
    for exception in exceptions(document) {
        let Some(Value::Array(stack)) = exception.get_mut("stack") else { continue };
        let before = stack.len();
        let mut number = 0;
        stack.retain(|frame| {
            number += 1;
            keep(number, frame)
        });
        let gone = before - stack.len();
        if gone > 0 {
            let truncated = exception.get("truncated").and_then(Value::as_u64).unwrap_or_default();
            exception.insert("truncated".to_owned(), truncated.saturating_add(gone as u64).into());
        }
    }
}

fn cut_stacks(document: &mut Object, frames: usize) {
    keep_frames(document, |number, _| number <= frames);
}

fn drop_library_frames(document: &mut Object) {
    keep_frames(document, |_, frame| {
        let path = frame.get("path").and_then(Value::as_str).unwrap_or_default();
        !LIBRARIES.iter().any(|part| path.contains(part))
    });
}

fn cut_metadata(document: &mut Object, chars: usize) {
    if let Some(metadata) = document.get_mut("metadata") {
        cut_value(metadata, chars);
    }
}

fn cut_texts(document: &mut Object) {
    for exception in exceptions(document) {
        if let Some(message) = exception.get_mut("message") {
            cut_value(message, 500);
        }
    }
    if let Some(sql) = document.get_mut("sql") {
        cut_value(sql, 500);
    }
}

/// Moves metadata into subsegments that have nothing else, the largest namespace first, until the document fits.
fn overflow_of(document: &mut Object, trace_id: TraceId) -> Vec<(SpanId, Object)> {
    let Some(Value::Object(mut spaces)) = document.remove("metadata") else { return Vec::new() };
    let mut parts: Vec<Object> = Vec::new();
    let mut part_bytes = usize::MAX;
    loop {
        let largest = spaces.iter().max_by_key(|(_, entries)| entries.to_string().len());
        let Some(space) = largest.map(|(space, _)| space.clone()) else { break };
        document.insert("metadata".to_owned(), Value::Object(spaces.clone()));
        if fits(document) {
            break;
        }
        document.remove("metadata");
        let entries = match spaces.remove(&space) {
            Some(Value::Object(entries)) => entries,
            Some(other) => Object::from_iter([("value".to_owned(), other)]),
            None => break,
        };
        for (name, mut entry) in entries {
            let mut text = entry.to_string();
            if text.len() > MAX_ENTRY_BYTES {
                // A list or a map of many: as text it can be cut.
                cut(&mut text, MAX_ENTRY_BYTES / 8);
                entry = text.into();
            }
            let bytes = name.len() + space.len() + entry.to_string().len() + 16;
            if part_bytes.saturating_add(bytes) > MAX_DOCUMENT_BYTES - OVERFLOW_FRAME_BYTES {
                parts.push(Object::new());
                part_bytes = 0;
            }
            part_bytes += bytes;
            if let Some(part) = parts.last_mut() {
                let into = part.entry(space.clone()).or_insert_with(|| Value::Object(Object::new()));
                if let Value::Object(into) = into {
                    into.insert(name, entry);
                }
            }
        }
    }
    let count = parts.len();
    let numbered = parts.into_iter().enumerate();
    numbered.filter_map(|(number, part)| overflow(document, trace_id, part, number, count)).collect()
}

fn overflow(
    of: &Object,
    trace_id: TraceId,
    metadata: Object,
    number: usize,
    count: usize,
) -> Option<(SpanId, Object)> {
    let parent = super::id_of(of)?;
    let id = derive::id(trace_id, parent, Purpose::Overflow(number));
    let name = of.get("name").and_then(Value::as_str).unwrap_or("document");
    let base: String = name.chars().take(160).collect();
    let start = of.get("start_time").cloned().unwrap_or_else(|| 0.into());
    let end = of.get("end_time").cloned().unwrap_or_else(|| start.clone());
    let fields: [(&str, Value); 8] = [
        ("id", id.to_text().as_str().into()),
        ("trace_id", trace_id.to_text().as_str().into()),
        ("parent_id", parent.to_text().as_str().into()),
        ("type", "subsegment".into()),
        ("name", format!("{base} metadata {}/{count}", number + 1).into()),
        ("start_time", start),
        ("end_time", end),
        ("metadata", metadata.into()),
    ];
    Some((id, fields.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()))
}
