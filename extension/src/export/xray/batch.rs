//! Grouping documents into requests (LIM-3, LIM-4, BET-28). One takes up several times its length while it is made and
//! sent, and several are under way: each is far shorter than X-Ray would take.

use crate::export::waiting::buffer::Waits as _;
use crate::export::waiting::outgoing::Outgoing;

pub(crate) const MAX_DOCUMENTS: usize = 50;
pub(crate) const MAX_REQUEST_BYTES: usize = 256_000;

/// Batches in the documents' order, each within the limits of one request.
pub(crate) fn batches(documents: impl IntoIterator<Item = Outgoing>) -> Vec<Vec<Outgoing>> {
    let mut batches: Vec<Vec<Outgoing>> = Vec::new();
    let mut bytes = 0;
    for document in documents {
        let fits = document.bytes().saturating_add(bytes) <= MAX_REQUEST_BYTES;
        if let Some(batch) = batches.last_mut().filter(|batch| fits && batch.len() < MAX_DOCUMENTS) {
            bytes += document.bytes();
            batch.push(document);
        } else {
            bytes = document.bytes();
            batches.push(vec![document]);
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::waiting::outgoing::tests::outgoing;
    use proptest::prelude::*;

    fn documents(sizes: &[usize]) -> Vec<Outgoing> {
        let document = |(index, size): (usize, &usize)| {
            let mut document = outgoing(index as u64 + 1);
            document.document.json = "x".repeat(*size);
            document
        };
        sizes.iter().enumerate().map(document).collect()
    }

    #[test]
    fn tv_16_lim_3_51_documents_are_two_requests() {
        let lengths: Vec<_> = batches(documents(&[10; 51])).iter().map(Vec::len).collect();
        assert_eq!(lengths, [50, 1]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_reordered_or_over_a_limit(sizes in proptest::collection::vec(1_usize..64_000, 0..200)) {
            let given = documents(&sizes);
            let batches = batches(given.clone());
            let ids = |documents: &[Outgoing]| documents.iter().map(|d| d.id().as_str().to_owned()).collect::<Vec<_>>();
            for batch in &batches {
                prop_assert!(batch.len() <= MAX_DOCUMENTS);
                prop_assert!(batch.iter().map(Outgoing::bytes).sum::<usize>() <= MAX_REQUEST_BYTES);
            }
            prop_assert_eq!(ids(&batches.concat()), ids(&given));
        }
    }
}
