//! A document on its way out.

use super::buffer::Waits;
use super::repair::repair;
use crate::invocation::trace_header::{IdText, SpanId};
use crate::translate::TranslatedDocument;
use otel_xray_allocator::taken_by;
use std::fmt::Write as _;

/// A document, and what has been tried with it.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) document: TranslatedDocument,
    generation: u64,
    repaired: bool,
}

impl Outgoing {
    /// `generation` is the number of the flush it came with.
    pub(crate) fn new(document: TranslatedDocument, generation: u64) -> Self {
        Self { document, generation, repaired: false }
    }

    /// One that an earlier process has left.
    fn restored(line: &str, json: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let id = SpanId::parse(words.next()?)?;
        // Each has a part in the text.
        let spans = words.next()?.parse::<u64>().ok()?.min(json.len() as u64);
        let (is_segment, repaired) = (words.next()? == "1", words.next()? == "1");
        let document = TranslatedDocument { id, json: json.to_owned(), spans, is_segment };
        Some(Self { document, generation: 0, repaired })
    }

    pub(crate) fn id(&self) -> IdText {
        self.document.id.to_text()
    }

    /// Whether X-Ray can find the document's id in its text.
    pub(crate) fn names_itself(&self) -> bool {
        serde_json::from_str::<serde_json::Value>(&self.document.json)
            .is_ok_and(|document| document["id"].as_str() == Some(&*self.id()))
    }

    /// Its harsher form (BET-31). `None` when it has had its second chance, or there is none.
    pub(crate) fn repaired(&self) -> Option<Self> {
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

    fn held_bytes(&self) -> usize {
        // Its place, where there is room for as many more, and its text.
        2 * size_of::<Self>() + taken_by(self.document.json.capacity())
    }

    fn spans(&self) -> u64 {
        self.document.spans
    }

    fn may_wait(&self) -> bool {
        !self.document.is_progress()
    }
}

/// The documents as text that [`from_text`] reads: two lines each, what is known of one and the document itself.
pub(crate) fn to_text<'a>(documents: impl IntoIterator<Item = &'a Outgoing>) -> String {
    let mut text = String::new();
    for Outgoing { document, repaired, .. } in documents {
        let (is_segment, repaired) = (u8::from(document.is_segment), u8::from(*repaired));
        let id = document.id.to_text();
        // Writing to a string does not fail.
        let _ = write!(text, "{} {} {is_segment} {repaired}\n{}\n", &*id, document.spans, document.json);
    }
    text
}

/// The documents of such a text, as far as they can be read.
pub(crate) fn from_text(text: &str) -> Vec<Outgoing> {
    let mut lines = text.lines();
    std::iter::from_fn(|| Outgoing::restored(lines.next()?, lines.next()?)).collect()
}

/// The spans that these documents stand for.
pub(crate) fn spans_of(documents: &[Outgoing]) -> u64 {
    documents.iter().map(Waits::spans).fold(0, u64::saturating_add)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    /// A valid document of one span.
    pub(crate) fn outgoing(id: u64) -> Outgoing {
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

    #[test]
    fn what_is_left_in_a_file_is_what_comes_back() {
        let documents = [outgoing(1), outgoing(2).repaired().unwrap(), outgoing(3)];
        let text = to_text(&documents);
        let back = from_text(&text);
        assert_eq!(to_text(&back), text);
        assert_eq!((spans_of(&back), back[1].repaired().is_none()), (3, true), "no second repair");
        assert!(
            back.iter().all(|document| document.generation() == 0),
            "older than anything of this process"
        );
        assert_eq!(from_text(text.lines().next().unwrap()).len(), 0);
        assert_eq!(from_text("nonsense\n{}\n").len(), 0);
        let absurd = format!("{:016x} {} 1 0\n{{}}\n", 1, u64::MAX);
        assert_eq!(spans_of(&from_text(&absurd.repeat(3))), 6, "no more than there are bytes");
    }
}
