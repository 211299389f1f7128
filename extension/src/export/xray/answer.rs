//! What an answer of X-Ray says of each document (PTS-3, PTS-8). Pure.

use crate::export::waiting::outgoing::Outgoing;

/// One entry of `UnprocessedTraceSegments`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Null where X-Ray could not find the id in the document.
    pub(crate) id: Option<String>,
    pub(crate) code: String,
    pub(crate) message: String,
}

/// The documents of a request, by what became of them.
#[derive(Debug, Default)]
pub(crate) struct Sorted {
    pub(crate) taken: Vec<Outgoing>,
    pub(crate) refused: Vec<(Outgoing, Refusal)>,
    /// Of these, as many as `unnamed` has entries were refused; the answer does not say which.
    pub(crate) doubtful: Vec<Outgoing>,
    pub(crate) unnamed: Vec<Refusal>,
}

/// Matches the entries of an answer to the documents of the request.
pub(crate) fn sort(documents: Vec<Outgoing>, entries: Vec<Refusal>) -> Sorted {
    let mut sorted = Sorted::default();
    let mut rest: Vec<Option<Outgoing>> = documents.into_iter().map(Some).collect();
    let mut unnamed = Vec::new();
    for refusal in entries {
        let named = |document: &Outgoing| refusal.id.as_deref() == Some(&*document.id());
        match rest.iter_mut().find(|document| document.as_ref().is_some_and(named)) {
            Some(found) => sorted.refused.extend(found.take().map(|document| (document, refusal))),
            // Named twice: one document is refused once.
            None if sorted.refused.iter().any(|(document, _)| named(document)) => {}
            None => unnamed.push(Refusal { id: None, ..refusal }),
        }
    }
    attribute(rest.into_iter().flatten().collect(), unnamed, &mut sorted);
    sorted
}

/// Says who was meant by refusals without an id, as far as that is certain.
pub(crate) fn attribute(rest: Vec<Outgoing>, unnamed: Vec<Refusal>, sorted: &mut Sorted) {
    if unnamed.is_empty() {
        sorted.taken.extend(rest);
    } else if unnamed.len() >= rest.len() {
        sorted.refused.extend(rest.into_iter().zip(unnamed));
    } else {
        // X-Ray leaves the id out where it finds none, so documents that have none are the ones.
        let (named, nameless): (Vec<_>, Vec<_>) = rest.into_iter().partition(Outgoing::names_itself);
        if nameless.len() == unnamed.len() {
            sorted.taken.extend(named);
            sorted.refused.extend(nameless.into_iter().zip(unnamed));
        } else {
            sorted.doubtful.extend(named.into_iter().chain(nameless));
            sorted.unnamed = unnamed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::waiting::outgoing::tests::outgoing;

    fn refusal(id: Option<u64>) -> Refusal {
        let id = id.map(|id| format!("{id:016x}"));
        Refusal { id, code: "InvalidName".into(), message: String::new() }
    }

    fn ids(documents: &[Outgoing]) -> Vec<u64> {
        documents.iter().map(|document| u64::from_str_radix(&document.id(), 16).unwrap()).collect()
    }

    fn sorted(documents: u64, refused: &[Option<u64>]) -> (Vec<u64>, Vec<u64>, Vec<u64>, usize) {
        let sorted =
            sort((1..=documents).map(outgoing).collect(), refused.iter().map(|id| refusal(*id)).collect());
        let refused: Vec<_> = sorted.refused.iter().map(|(document, _)| document.clone()).collect();
        (ids(&sorted.taken), ids(&refused), ids(&sorted.doubtful), sorted.unnamed.len())
    }

    #[test]
    fn pts_3_entries_find_their_documents() {
        assert_eq!(sorted(3, &[]), (vec![1, 2, 3], vec![], vec![], 0));
        assert_eq!(sorted(3, &[Some(2)]), (vec![1, 3], vec![2], vec![], 0));
        assert_eq!(sorted(3, &[Some(2), Some(2)]), (vec![1, 3], vec![2], vec![], 0));
    }

    #[test]
    fn pts_8_an_entry_without_an_id_leaves_a_doubt_only_about_the_others() {
        assert_eq!(sorted(1, &[None]), (vec![], vec![1], vec![], 0));
        assert_eq!(sorted(3, &[None]), (vec![], vec![], vec![1, 2, 3], 1));
        assert_eq!(sorted(3, &[Some(9)]), (vec![], vec![], vec![1, 2, 3], 1), "an id that was not sent");
        assert_eq!(sorted(3, &[Some(1), None]), (vec![], vec![1], vec![2, 3], 1));
        assert_eq!(sorted(3, &[Some(1), None, None]), (vec![], vec![1, 2, 3], vec![], 0));
    }

    #[test]
    fn pts_8_a_document_without_an_id_is_the_one_that_was_meant() {
        let mut documents: Vec<_> = (1..=3).map(outgoing).collect();
        documents[1].document.json = "{".into();
        let sorted = sort(documents, vec![refusal(None)]);
        assert_eq!(ids(&sorted.taken), [1, 3]);
        assert_eq!(*sorted.refused[0].0.id(), *format!("{:016x}", 2));
        assert!(sorted.doubtful.is_empty());
    }
}
