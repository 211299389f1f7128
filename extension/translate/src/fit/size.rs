//! Keeping a document within X-Ray's limit (LIM-1) without dropping it: the ladder of xray.md section 14.5.

use crate::accounts::{Accounts, Reason, Trim};
use crate::compose::Composed;
use crate::derive::{self, Purpose};
use crate::document::fields::{Field, Meta, Metadata, Object, Spare, cut_chars};
use crate::document::json::{self, Json as _};
use crate::document::value::Scalar;
use crate::document::{Cause, Document, Frame, Micros, TranslatedDocument};
use serde_json::Value;

/// The design target: below the hard 65,536 bytes.
pub(crate) const MAX_DOCUMENT_BYTES: usize = 64_000;
/// What one metadata entry may take when it has to be moved.
pub(crate) const MAX_ENTRY_BYTES: usize = 16_000;
/// What an overflow subsegment has besides its metadata, with room to spare.
const OVERFLOW_FRAME_BYTES: usize = 2_000;
/// Where installed packages are: their frames say least about the function.
pub(crate) const LIBRARIES: [&str; 6] =
    ["/site-packages/", "/node_modules/", "/var/runtime/", "/var/lang/", "/opt/", "/gems/"];
/// Resource names that a minimal document keeps.
const MINIMAL_NAMES: usize = 5;

type Step = fn(&mut Document<'_>);

/// From the mildest to the harshest; between the two lists, metadata moves to documents of its own.
const BEFORE_OVERFLOW: &[Step] = &[
    |document| cut_stacks(document, 20),
    |document| cut_stacks(document, 5),
    drop_library_frames,
    |document| cut_metadata(document, 4096),
    |document| cut_metadata(document, 1024),
];
const AFTER_OVERFLOW: &[Step] = &[|document| cut_texts(document, 500), |document| document.minimise()];

/// Hands out the document, with others for the metadata that did not fit.
pub(crate) fn fit<'a>(
    composed: Composed<'_, 'a>,
    spare: &mut Spare<'a>,
    buffer: &mut String,
    accounts: &mut Accounts,
    emit: &mut impl FnMut(TranslatedDocument),
) -> Result<(), Reason> {
    let Composed { document, spans } = composed;
    write(document, buffer);
    if buffer.len() <= MAX_DOCUMENT_BYTES {
        emit(translated(document, spans, buffer));
        spare.take_back(std::mem::take(&mut document.metadata), std::mem::take(&mut document.aws));
        return Ok(());
    }
    accounts.trim(Trim::DocumentShortened, 1);
    let mut overflow = Vec::new();
    if !steps_fit(document, BEFORE_OVERFLOW, buffer) {
        overflow = overflow_of(document, buffer);
        write(document, buffer);
        if buffer.len() > MAX_DOCUMENT_BYTES && !steps_fit(document, AFTER_OVERFLOW, buffer) {
            return Err(Reason::Oversize);
        }
    }
    emit(translated(document, spans, buffer));
    for more in overflow {
        write(&more, buffer);
        emit(translated(&more, 0, buffer));
    }
    Ok(())
}

/// Writes into a buffer that is used again and again.
fn write(document: &Document<'_>, buffer: &mut String) {
    buffer.clear();
    document.write(buffer);
}

/// Takes one step after the other until the document fits.
fn steps_fit(document: &mut Document<'_>, steps: &[Step], buffer: &mut String) -> bool {
    steps.iter().any(|step| {
        step(document);
        write(document, buffer);
        buffer.len() <= MAX_DOCUMENT_BYTES
    })
}

fn translated(document: &Document<'_>, spans: u64, json: &str) -> TranslatedDocument {
    TranslatedDocument { id: document.id, json: json.to_owned(), spans, is_segment: document.is_segment() }
}

impl Document<'_> {
    /// Ids, times, flags, `http`, `aws` and the name; and a mark that the rest is missing.
    pub(crate) fn minimise(&mut self) {
        self.metadata = Metadata::default();
        self.annotations.clear();
        self.annotations.push("truncated", Scalar::Flag(true));
        self.links.clear();
        self.sql.clear();
        self.service.clear();
        self.cause = None;
        for field in self.aws.values_mut() {
            if let Field::Texts(names) = field {
                names.truncate(MINIMAL_NAMES);
            }
        }
    }
}

fn cut_stacks(document: &mut Document<'_>, frames: usize) {
    for exception in document.cause.iter_mut().flat_map(Cause::exceptions_mut) {
        exception.truncated += exception.stack.len().saturating_sub(frames);
        exception.stack.truncate(frames);
    }
}

fn drop_library_frames(document: &mut Document<'_>) {
    let is_library = |frame: &Frame| LIBRARIES.iter().any(|part| frame.path.contains(part));
    for exception in document.cause.iter_mut().flat_map(Cause::exceptions_mut) {
        let before = exception.stack.len();
        exception.stack.retain(|frame| !is_library(frame));
        exception.truncated += before - exception.stack.len();
    }
}

fn cut_metadata(document: &mut Document<'_>, chars: usize) {
    for entry in document.metadata.spaces_mut().flat_map(Object::values_mut) {
        let mut value = json::to_value(&*entry);
        cut_value(&mut value, chars);
        *entry = Meta::Json(value);
    }
}

/// Cuts every text in it that is longer, and says how long it was.
pub(crate) fn cut_value(value: &mut Value, chars: usize) {
    match value {
        Value::String(text) => cut(text, chars),
        Value::Array(items) => items.iter_mut().for_each(|item| cut_value(item, chars)),
        Value::Object(entries) => entries.values_mut().for_each(|entry| cut_value(entry, chars)),
        _ => {}
    }
}

/// Cuts a text and says how long it was.
pub(crate) fn cut(text: &mut String, chars: usize) {
    if let Some((end, _)) = text.char_indices().nth(chars) {
        let original = text.chars().count();
        text.truncate(end);
        text.extend(["... (", &original.to_string(), " characters)"]);
    }
}

fn cut_texts(document: &mut Document<'_>, chars: usize) {
    for exception in document.cause.iter_mut().flat_map(Cause::exceptions_mut) {
        if let Some(message) = &mut exception.message {
            cut(message, chars);
        }
    }
    for field in document.sql.values_mut() {
        if let Field::Text(text) = field {
            cut(text.to_mut(), chars);
        }
    }
}

/// Moves metadata into subsegments that have nothing else, the largest namespace first, until the document fits.
fn overflow_of<'a>(document: &mut Document<'a>, buffer: &mut String) -> Vec<Document<'a>> {
    let mut spaces: Vec<_> = std::mem::take(&mut document.metadata).into_spaces().collect();
    write(document, buffer);
    spaces.sort_by_cached_key(|(_, entries)| json::written(entries).len());
    let mut bytes = buffer.len() + "\"metadata\":{},".len();
    let mut parts: Vec<Metadata<'a>> = Vec::new();
    let mut part_bytes = usize::MAX;
    for (space, entries) in spaces {
        let size = json::written(&entries).len() + space.len() * 6 + 4;
        if bytes + size <= MAX_DOCUMENT_BYTES {
            bytes += size;
            *document.metadata.space(space) = entries;
            continue;
        }
        for (name, mut entry) in entries.into_iter() {
            let mut size = json::written(&entry).len() + name.len() * 6 + space.len() * 6 + 8;
            if size > MAX_ENTRY_BYTES {
                // A list or a map of many: as text it can be cut.
                let mut text = json::written(&entry);
                cut(&mut text, MAX_ENTRY_BYTES / 8);
                entry = Meta::Text(text.into());
                size = MAX_ENTRY_BYTES.min(size);
            }
            if part_bytes.saturating_add(size) > MAX_DOCUMENT_BYTES - OVERFLOW_FRAME_BYTES {
                parts.push(Metadata::default());
                part_bytes = 0;
            }
            part_bytes += size;
            if let Some(part) = parts.last_mut() {
                let name = cut_chars(name, 500);
                part.space(space.clone()).push(name, entry);
            }
        }
    }
    let count = parts.len();
    parts.into_iter().enumerate().map(|(index, part)| overflow(document, part, index, count)).collect()
}

fn overflow<'a>(of: &Document<'_>, metadata: Metadata<'a>, index: usize, count: usize) -> Document<'a> {
    let Micros(start) = of.start_time;
    let end = of.end_time.unwrap_or(of.start_time).0;
    let id = derive::id(of.trace_id, of.id, Purpose::Overflow(index));
    let mut document = Document::new(
        of.trace_id,
        id,
        start.saturating_mul(1000),
        end.max(1).saturating_mul(1000),
        &mut Spare::default(),
    );
    document.hang_on(of.id);
    let base: String = of.name.chars().take(160).collect();
    document.name = format!("{base} metadata {}/{count}", index + 1).into();
    document.metadata = metadata;
    document
}
