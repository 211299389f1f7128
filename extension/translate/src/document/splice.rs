//! The first fields of a written document, which have fixed places: id, trace, parent and type.

use crate::document::TranslatedDocument;

const ID: std::ops::Range<usize> = 7..23;
const TRACE_ID: std::ops::Range<usize> = 37..72;
const PARENT_ID: std::ops::Range<usize> = 87..103;
/// Where the comma before a subsegment's name is.
const NAME: usize = 124;

/// Trace and id, as they stand in the document.
pub(crate) fn ids(document: &TranslatedDocument) -> (&str, &str) {
    (&document.json[TRACE_ID], &document.json[ID])
}

/// Trace and parent of a subsegment.
pub(crate) fn parent(document: &TranslatedDocument) -> Option<(&str, &str)> {
    (!document.is_segment).then(|| (&document.json[TRACE_ID], &document.json[PARENT_ID]))
}

/// Hangs a subsegment on another parent.
pub(crate) fn set_parent(document: &mut TranslatedDocument, parent_id: &str) {
    document.json.replace_range(PARENT_ID, parent_id);
}

/// A subsegment as it stands inside its parent: without trace, parent and type (DOC-5). It is not closed yet.
pub(crate) fn push_nested(document: &TranslatedDocument, out: &mut String) {
    out.push_str(&document.json[..=ID.end]);
    out.push_str(&document.json[NAME..document.json.len() - 1]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;
    use crate::document::fields::Spare;
    use crate::trace_header::{SpanId, TraceId};

    #[test]
    fn doc_5_the_places_are_where_serialisation_puts_the_fields() {
        let id = |byte| SpanId::from_bytes(&[byte; 8]).unwrap();
        let mut document =
            Document::new(TraceId::from_bytes(&[7; 16]).unwrap(), id(1), 5, 6, &mut Spare::default());
        document.hang_on(id(2));
        let mut written = TranslatedDocument {
            id: id(1),
            json: crate::document::json::written(&document),
            spans: 1,
            is_segment: false,
        };
        assert_eq!(ids(&written), ("1-07070707-070707070707070707070707", "0101010101010101"));
        assert_eq!(parent(&written).unwrap().1, "0202020202020202");
        set_parent(&mut written, "0303030303030303");
        assert_eq!(parent(&written).unwrap().1, "0303030303030303");
        let mut nested = String::new();
        push_nested(&written, &mut nested);
        assert!(nested.starts_with(r#"{"id":"0101010101010101","name":"span","start_time":"#), "{nested}");
        assert!(!nested.ends_with('}'));
    }
}
