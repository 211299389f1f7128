//! A document over X-Ray's limit, taken apart: the first step of the ladder of xray.md section 14.5.

use super::written_len;
use crate::sdk::{id_of, nested};
use serde_json::{Map, Value};

/// What is left in the place of a subsegment that has gone: `null`.
const GAP_BYTES: usize = 4;

/// The document itself first, then the subsegments that had to leave it, with trace and parent of their own.
///
/// Deepest and largest go first, and no more than it takes to bring the document to `limit_bytes`.
pub(super) fn parts(mut document: Map<String, Value>, limit_bytes: usize) -> Vec<Map<String, Value>> {
    let mut bytes = written_len(&document);
    let mut parts = Vec::new();
    if bytes > limit_bytes && nested(&document).next().is_some() {
        let mut places = Vec::new();
        find(&document, &mut Vec::new(), &mut places);
        places.sort_by_key(|(path, bytes)| std::cmp::Reverse((path.len(), *bytes)));
        for (path, _) in places {
            if bytes <= limit_bytes {
                break;
            }
            if let Some((part, part_bytes)) = take(&mut document, &path) {
                bytes -= part_bytes - GAP_BYTES;
                parts.push(part);
            }
        }
        remove_gaps(&mut document);
    }
    let trace_id = document.get("trace_id").cloned().unwrap_or_default();
    for part in &mut parts {
        part.insert("type".to_owned(), "subsegment".into());
        part.insert("trace_id".to_owned(), trace_id.clone());
    }
    // Children before their parents so far, by the order they were taken in.
    parts.push(document);
    parts.reverse();
    parts
}

/// The places of the subsegments that can stand alone, and their lengths.
fn find(document: &Map<String, Value>, path: &mut Vec<usize>, places: &mut Vec<(Vec<usize>, usize)>) {
    let children = document.get("subsegments").and_then(Value::as_array).into_iter().flatten();
    for (number, child) in children.enumerate() {
        let Some(child) = child.as_object() else { continue };
        path.push(number);
        if id_of(child).is_some() && id_of(document).is_some() {
            places.push((path.clone(), written_len(child)));
        }
        find(child, path, places);
        path.pop();
    }
}

/// Takes a subsegment out, says whose it was, and how long it was there. Its place stays empty until all are taken.
fn take(document: &mut Map<String, Value>, path: &[usize]) -> Option<(Map<String, Value>, usize)> {
    let (number, rest) = path.split_first()?;
    let parent_id = document.get("id").cloned();
    let child = document.get_mut("subsegments")?.as_array_mut()?.get_mut(*number)?;
    if !rest.is_empty() {
        return take(child.as_object_mut()?, rest);
    }
    let Value::Object(mut taken) = child.take() else { return None };
    let bytes = written_len(&taken);
    remove_gaps(&mut taken);
    taken.insert("parent_id".to_owned(), parent_id?);
    Some((taken, bytes))
}

fn remove_gaps(document: &mut Map<String, Value>) {
    let Some(Value::Array(children)) = document.get_mut("subsegments") else { return };
    children.retain(|child| !child.is_null());
    let is_empty = children.is_empty();
    children.iter_mut().filter_map(Value::as_object_mut).for_each(remove_gaps);
    if is_empty {
        document.remove("subsegments");
    }
}
