//! A document on its way out.

use super::buffer::Waits;
use super::repair::repair;
use crate::invocation::trace_header::IdText;
use crate::translate::TranslatedDocument;

/// A document, and what has been tried with it.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    pub(super) document: TranslatedDocument,
    generation: u64,
    repaired: bool,
}

impl Outgoing {
    /// `generation` is the number of the flush it came with.
    pub(super) fn new(document: TranslatedDocument, generation: u64) -> Self {
        Self { document, generation, repaired: false }
    }

    pub(super) fn id(&self) -> IdText {
        self.document.id.to_text()
    }

    /// Whether X-Ray can find the document's id in its text.
    pub(super) fn names_itself(&self) -> bool {
        serde_json::from_str::<serde_json::Value>(&self.document.json)
            .is_ok_and(|document| document["id"].as_str() == Some(&*self.id()))
    }

    /// Its harsher form (BET-31). `None` when it has had its second chance, or there is none.
    pub(super) fn repaired(&self) -> Option<Self> {
        if self.repaired {
            return None;
        }
        let json = repair(&self.document.json)?;
        let document = TranslatedDocument { json, ..self.document.clone() };
        Some(Self { document, generation: self.generation, repaired: true })
    }
}

impl Waits for Outgoing {
    fn generation(&self) -> u64 {
        self.generation
    }

    fn bytes(&self) -> usize {
        self.document.json.len()
    }

    fn spans(&self) -> u64 {
        self.document.spans
    }

    fn may_wait(&self) -> bool {
        !self.document.is_progress()
    }
}

/// The spans that these documents stand for.
pub(super) fn spans_of(documents: &[Outgoing]) -> u64 {
    documents.iter().map(Waits::spans).sum()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::invocation::trace_header::SpanId;
    use serde_json::json;

    /// A valid document of one span.
    pub(in crate::export) fn outgoing(id: u64) -> Outgoing {
        let id = SpanId::from_bytes(&id.to_be_bytes()).unwrap();
        let json = json!({
            "id": id.to_string(), "trace_id": "1-581cf771-a006649127e371903a2de979", "parent_id": "00f067aa0ba902b7",
            "type": "subsegment", "name": "GET", "start_time": 1.0, "end_time": 2.0, "metadata": {"default": {"k": "v"}},
        });
        let json = json.to_string();
        Outgoing::new(TranslatedDocument { id, json, spans: 1, is_segment: false }, 1)
    }

    #[test]
    fn bet_31_a_document_is_repaired_once() {
        let once = outgoing(1).repaired().unwrap();
        assert!(once.names_itself() && !once.document.json.contains("metadata"));
        assert!(once.repaired().is_none());
    }
}
