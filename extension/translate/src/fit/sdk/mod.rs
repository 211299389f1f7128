//! Documents that an X-Ray SDK has written itself (xray.md section 15, row 11), within X-Ray's limits. Most pass as they
//! came.

mod ladder;
mod split;

use super::budget::{LEAN_BYTES, MAX_BYTES, RICH_BYTES};
use super::size::MAX_DOCUMENT_BYTES;
use crate::accounts::{Accounts, Reason, Trim};
use crate::document::TranslatedDocument;
use crate::plan::memory::TraceState;
use crate::sdk::{SdkDocument, id_of, is_segment, note_nested};
use serde_json::{Map, Value};

/// Remembers the ids, so that spans under them find their parents.
pub(crate) fn note_ids(document: &SdkDocument, state: &mut TraceState) {
    for id in &document.ids {
        state.note_sent(*id);
    }
}

/// Adds the document, or what is left of it where X-Ray's limits ask for less.
pub(crate) fn translate(
    document: &SdkDocument,
    state: &mut TraceState,
    accounts: &mut Accounts,
    documents: &mut Vec<TranslatedDocument>,
) {
    accounts.trim(Trim::FieldInvalid, document.fields_lost);
    let whole = || TranslatedDocument {
        id: document.ids[0],
        json: document.json.clone(),
        spans: document.spans(),
        is_segment: document.is_segment(),
    };
    if document.bytes() <= MAX_DOCUMENT_BYTES && state.bytes + document.bytes() <= RICH_BYTES {
        state.bytes += document.bytes();
        documents.push(whole());
        return;
    }
    // It has been parsed before, so that this is an object; were it none, nothing would be lost but its size.
    let Ok(Value::Object(object)) = serde_json::from_str(&document.json) else {
        return documents.push(whole());
    };
    if document.bytes() > MAX_DOCUMENT_BYTES {
        accounts.trim(Trim::DocumentShortened, 1);
    }
    for mut part in split::parts(object, MAX_DOCUMENT_BYTES) {
        let mut ids: Vec<_> = id_of(&part).into_iter().collect();
        note_nested(&part, &mut ids);
        let spans = ids.len() as u64;
        let mut more = Vec::new();
        let bytes = state.bytes + written_len(&part);
        if bytes > LEAN_BYTES {
            accounts.trim(Trim::MetadataBudget, 1);
            ladder::minimise(&mut part);
        } else if bytes > RICH_BYTES {
            accounts.trim(Trim::MetadataBudget, 1);
            part.remove("metadata");
        } else {
            more = ladder::fit(&mut part, document.trace_id);
        }
        let is_segment = is_segment(&part);
        let json = Value::Object(part).to_string();
        if json.len() > MAX_DOCUMENT_BYTES {
            accounts.drop(Reason::Oversize, spans);
            continue;
        }
        if state.bytes + json.len() > MAX_BYTES {
            accounts.drop(Reason::TraceBudget, spans);
            continue;
        }
        state.bytes += json.len();
        let id = ids.first().copied().unwrap_or(document.ids[0]);
        documents.push(TranslatedDocument { id, json, spans, is_segment });
        for (id, part) in more {
            let json = Value::Object(part).to_string();
            if state.bytes + json.len() <= RICH_BYTES {
                state.bytes += json.len();
                documents.push(TranslatedDocument { id, json, spans: 0, is_segment: false });
            }
        }
    }
}

fn written_len(document: &Map<String, Value>) -> usize {
    serde_json::to_string(document).map_or(0, |text| text.len())
}

#[cfg(test)]
mod tests;
