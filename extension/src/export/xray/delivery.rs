//! One flush of documents: which requests to send, and what each answer means for the next. No I/O.
//!
//! A document that X-Ray took is not sent again (PTS-7, DOC-3), with one exception: where an answer refuses documents
//! without naming them, halves of the request are sent again to find them. Of each pair only the first half is sent;
//! what it answers says how many are in the second. At most [`MAX_EXTRA_REQUESTS`] go into that; after them the
//! number of refused documents is known, and which they were stays unknown.

use super::answer::{Refusal, Sorted, attribute, sort};
use super::batch::batches;
use super::verdict::Outcome;
use crate::accounts::{Accounts, Trim};
use crate::export::waiting::outgoing::{Outgoing, spans_of};
use crate::export::waiting::repair::is_repairable;
use std::collections::VecDeque;

/// Requests of one flush that may go into finding the documents an answer did not name: enough for one among 50.
const MAX_EXTRA_REQUESTS: u32 = 12;

/// One request.
#[derive(Debug, Default)]
pub(crate) struct Parcel {
    pub(crate) documents: Vec<Outgoing>,
    /// The other half, where this is the first half of a request with documents that were refused unnamed.
    other: Option<Doubt>,
}

impl Parcel {
    pub(crate) fn of(documents: Vec<Outgoing>) -> Self {
        Self { documents, other: None }
    }

    pub(crate) fn spans(&self) -> u64 {
        let other = self.other.as_ref().map_or(0, |other| spans_of(&other.documents));
        spans_of(&self.documents).saturating_add(other)
    }
}

/// Documents of which `unnamed.len()`, together with those of the parcel, were refused.
#[derive(Debug, Default)]
struct Doubt {
    documents: Vec<Outgoing>,
    unnamed: Vec<Refusal>,
}

/// Something to tell the user.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Remark {
    DocumentRefused { id: String, code: String, message: String },
    RequestRefused { code: String, message: String },
    Denied(String),
    Unreachable(String),
    Late,
}

/// What is still to be sent, and what has become of the rest.
#[derive(Debug)]
pub(crate) struct Delivery {
    waiting: VecDeque<Parcel>,
    repaired: Vec<Outgoing>,
    extra_requests: u32,
    /// X-Ray takes nothing now: whatever has not left waits.
    stopped: bool,
    pub(crate) accounts: Accounts,
    pub(crate) remarks: Vec<Remark>,
    /// What has to wait for the next flush.
    pub(crate) kept: Vec<Outgoing>,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            repaired: Vec::new(),
            extra_requests: MAX_EXTRA_REQUESTS,
            stopped: false,
            accounts: Accounts::default(),
            remarks: Vec::new(),
            kept: Vec::new(),
        }
    }
}

impl Delivery {
    /// Sends what an earlier try has left, and these documents, in the order in which they are to leave: parents before
    /// children (BET-28).
    pub(crate) fn begin(&mut self, documents: impl IntoIterator<Item = Outgoing>) {
        self.stopped = false;
        let left = std::mem::take(&mut self.kept);
        self.add(left.into_iter().chain(documents));
    }

    fn add(&mut self, documents: impl IntoIterator<Item = Outgoing>) {
        self.waiting.extend(batches(documents).into_iter().map(Parcel::of));
    }

    /// Spans of what is to leave, or has to wait.
    pub(crate) fn spans(&self) -> u64 {
        let waiting = self.waiting.iter().map(Parcel::spans);
        let others = spans_of(&self.repaired).saturating_add(spans_of(&self.kept));
        waiting.fold(others, u64::saturating_add)
    }

    /// The next request. Repaired documents go together, when all others have been answered.
    pub(crate) fn next(&mut self, in_flight: usize) -> Option<Parcel> {
        if self.stopped {
            return None;
        }
        if self.waiting.is_empty() && in_flight == 0 {
            let repaired = std::mem::take(&mut self.repaired);
            self.add(repaired);
        }
        self.waiting.pop_front()
    }

    /// Takes in what became of a request. `None`: it was not answered in time.
    pub(crate) fn answered(&mut self, parcel: Parcel, outcome: Option<Outcome>) {
        match outcome {
            Some(Outcome::Accepted { refusals }) => {
                let mut sorted = sort(parcel.documents, refusals);
                if let Some(mut other) = parcel.other {
                    let found = sorted.unnamed.len()
                        + sorted.refused.iter().filter(|(_, refusal)| refusal.id.is_none()).count();
                    let left = other.unnamed.len().saturating_sub(found);
                    other.unnamed.truncate(left);
                    let mut rest = Sorted::default();
                    attribute(other.documents, other.unnamed, &mut rest);
                    self.settle(rest);
                }
                self.settle(std::mem::take(&mut sorted));
            }
            Some(Outcome::Refused { code, message }) => self.request_refused(parcel, code, message),
            Some(Outcome::Denied(message)) => self.stop(parcel, Remark::Denied(message)),
            Some(Outcome::Unreachable { message, .. }) => self.stop(parcel, Remark::Unreachable(message)),
            None => self.stop(parcel, Remark::Late),
        }
    }

    fn stop(&mut self, parcel: Parcel, remark: Remark) {
        self.stopped = true;
        self.remarks.push(remark);
        self.put_off(parcel);
    }

    /// Nothing more is sent: what is left waits for the next flush.
    pub(crate) fn end(&mut self) {
        for parcel in std::mem::take(&mut self.waiting) {
            self.put_off(parcel);
        }
        self.kept.append(&mut self.repaired);
    }

    fn settle(&mut self, sorted: Sorted) {
        self.accounts.send(spans_of(&sorted.taken));
        for (document, refusal) in sorted.refused {
            self.refused(&document, refusal);
        }
        if sorted.doubtful.is_empty() {
            return;
        }
        let doubt = Doubt { documents: sorted.doubtful, unnamed: sorted.unnamed };
        if self.extra_requests == 0 {
            self.give_up(doubt);
            return;
        }
        self.extra_requests -= 1;
        let Doubt { mut documents, unnamed } = doubt;
        let second = documents.split_off(documents.len() / 2);
        self.waiting.push_front(Parcel { documents, other: Some(Doubt { documents: second, unnamed }) });
    }

    fn refused(&mut self, document: &Outgoing, refusal: Refusal) {
        // Without an id, X-Ray could not read the document, whatever the code.
        let repairable = refusal.id.is_none() || is_repairable(&refusal.code);
        if let Some(repaired) = repairable.then(|| document.repaired()).flatten() {
            self.accounts.trim(Trim::DocumentRepaired, 1);
            self.repaired.push(repaired);
        } else {
            self.accounts.reject(&refusal.code, document.document.spans);
            let (code, message) = (refusal.code, refusal.message);
            self.remarks.push(Remark::DocumentRefused {
                id: document.id().as_str().to_owned(),
                code,
                message,
            });
        }
    }

    /// The whole request was wrong, and nothing of it was taken: the halves may be right.
    fn request_refused(&mut self, parcel: Parcel, code: String, message: String) {
        if let Some(other) = parcel.other {
            self.give_up(join(parcel.documents, other));
            return;
        }
        let mut documents = parcel.documents;
        let a_document_may_be_why = code == "InvalidRequestException" || code.contains("TooLarge");
        if let ([document], true) = (documents.as_slice(), a_document_may_be_why) {
            let document = document.clone();
            self.refused(&document, Refusal { id: None, code, message });
        } else if a_document_may_be_why && self.extra_requests >= 2 {
            self.extra_requests -= 2;
            let second = documents.split_off(documents.len() / 2);
            for documents in [second, documents] {
                self.waiting.push_front(Parcel::of(documents));
            }
        } else {
            self.accounts.reject(&code, spans_of(&documents));
            self.remarks.push(Remark::RequestRefused { code, message });
        }
    }

    /// It was not answered, and waits.
    pub(crate) fn put_off(&mut self, parcel: Parcel) {
        match parcel.other {
            // Most of these were taken: keeping them would send those again.
            Some(other) => self.give_up(join(parcel.documents, other)),
            None => self.kept.extend(parcel.documents),
        }
    }

    /// Counts as many as were refused; which they were is not known.
    fn give_up(&mut self, doubt: Doubt) {
        let Doubt { mut documents, unnamed } = doubt;
        let last = documents.split_off(documents.len().saturating_sub(unnamed.len()));
        self.accounts.send(spans_of(&documents));
        for (document, refusal) in last.into_iter().zip(unnamed) {
            self.accounts.reject(&refusal.code, document.document.spans);
            let (code, message) = (refusal.code, refusal.message);
            self.remarks.push(Remark::DocumentRefused {
                id: "(one that was not named)".to_owned(),
                code,
                message,
            });
        }
    }
}

fn join(mut first: Vec<Outgoing>, other: Doubt) -> Doubt {
    first.extend(other.documents);
    Doubt { documents: first, unnamed: other.unnamed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::waiting::outgoing::tests::outgoing;
    use serde_json::json;
    use std::collections::BTreeMap;

    /// An X-Ray that refuses some ids, names them or not, and takes the rest.
    struct Service {
        bad: Vec<u64>,
        names_them: bool,
        accepts_repaired: bool,
        taken: BTreeMap<String, u32>,
        requests: usize,
    }

    impl Service {
        fn new(bad: &[u64], names_them: bool, accepts_repaired: bool) -> Self {
            Self { bad: bad.to_vec(), names_them, accepts_repaired, taken: BTreeMap::new(), requests: 0 }
        }

        fn put(&mut self, documents: &[Outgoing]) -> Outcome {
            self.requests += 1;
            let mut refusals = Vec::new();
            for document in documents {
                let is_repaired = !document.document.json.contains("metadata");
                let id = u64::from_str_radix(&document.id(), 16).unwrap();
                if self.bad.contains(&id) && !(is_repaired && self.accepts_repaired) {
                    let id = self.names_them.then(|| document.id().as_str().to_owned());
                    refusals.push(Refusal { id, code: "InvalidName".into(), message: String::new() });
                } else {
                    *self.taken.entry(document.id().as_str().to_owned()).or_default() += 1;
                }
            }
            Outcome::Accepted { refusals }
        }
    }

    fn delivery_of(count: u64) -> Delivery {
        let mut delivery = Delivery::default();
        delivery.begin((1..=count).map(outgoing));
        delivery
    }

    fn deliver(count: u64, service: &mut Service) -> Delivery {
        let mut delivery = delivery_of(count);
        while let Some(parcel) = delivery.next(0) {
            let outcome = service.put(&parcel.documents);
            delivery.answered(parcel, Some(outcome));
        }
        delivery.end();
        delivery.accounts.receive(count);
        delivery
    }

    fn accounts(delivery: &Delivery) -> (u64, u64) {
        let json = delivery.accounts.to_json_with(0);
        (json["sent"].as_u64().unwrap(), json["rejected"]["InvalidName"].as_u64().unwrap_or_default())
    }

    #[test]
    fn tv_17_bet_31_a_refused_document_is_repaired_and_only_that_one_sent_again() {
        let mut service = Service::new(&[7], true, true);
        let delivery = deliver(20, &mut service);
        assert_eq!((accounts(&delivery), service.requests), ((20, 0), 2));
        assert!(service.taken.values().all(|times| *times == 1) && service.taken.len() == 20);
        assert_eq!(delivery.accounts.to_json_with(0)["trimmed"], json!({"document_repaired": 1}));
    }

    #[test]
    fn tv_17_refused_again_it_is_counted_with_its_code() {
        let mut service = Service::new(&[7, 8], true, false);
        let delivery = deliver(20, &mut service);
        assert_eq!((accounts(&delivery), service.requests), ((18, 2), 2));
        assert_eq!(delivery.remarks.len(), 2);
        assert!(delivery.accounts.balance(0) && delivery.kept.is_empty());
    }

    #[test]
    fn pts_8_one_unnamed_among_50_is_found_and_repaired() {
        for bad in [1, 13, 25, 26, 50] {
            let mut service = Service::new(&[bad], false, true);
            let delivery = deliver(50, &mut service);
            assert_eq!(accounts(&delivery), (50, 0), "{bad}");
            assert_eq!(service.taken.len(), 50);
            // The request, six halvings at most, and the repaired one.
            assert!(service.requests <= 8, "{} requests for {bad}", service.requests);
            let again: u32 = service.taken.values().map(|times| times - 1).sum();
            assert!(again <= 50, "{again} documents were sent again for {bad}");
        }
    }

    #[test]
    fn pts_8_many_unnamed_are_counted_and_the_requests_bounded() {
        let bad: Vec<u64> = (1..=50).filter(|id| id % 3 == 0).collect();
        let mut service = Service::new(&bad, false, false);
        let delivery = deliver(50, &mut service);
        assert_eq!(accounts(&delivery), (50 - bad.len() as u64, bad.len() as u64));
        assert!(service.requests <= 2 + MAX_EXTRA_REQUESTS as usize, "{}", service.requests);
        assert!(delivery.accounts.balance(0));
    }

    #[test]
    fn pts_8_a_search_that_is_interrupted_sends_nothing_again_later() {
        let mut delivery = delivery_of(10);
        let parcel = delivery.next(0).unwrap();
        let refusal = Refusal { id: None, code: "InvalidName".into(), message: String::new() };
        delivery.answered(parcel, Some(Outcome::Accepted { refusals: vec![refusal] }));
        let half = delivery.next(0).unwrap();
        assert_eq!(half.documents.len(), 5);
        delivery.answered(half, None);
        delivery.end();
        assert_eq!((accounts(&delivery), delivery.kept.len()), ((9, 1), 0));
    }

    #[test]
    fn a_request_refused_whole_is_tried_by_halves_and_costs_one_document() {
        let mut delivery = delivery_of(50);
        let mut taken = 0;
        let mut requests = 0;
        while let Some(parcel) = delivery.next(0) {
            requests += 1;
            let bad = parcel.documents.iter().any(|document| document.id().ends_with("0d"));
            let outcome = if bad {
                Outcome::Refused { code: "InvalidRequestException".into(), message: String::new() }
            } else {
                taken += parcel.documents.len();
                Outcome::Accepted { refusals: Vec::new() }
            };
            delivery.answered(parcel, Some(outcome));
        }
        delivery.accounts.receive(50);
        assert_eq!((taken, delivery.accounts.balance(0)), (49, true));
        assert!(requests <= 14, "{requests}");
        assert_eq!(delivery.accounts.to_json_with(0)["rejected"], json!({"InvalidRequestException": 1}));
    }

    #[test]
    fn bet_36_after_a_refused_caller_or_no_answer_nothing_more_is_sent_and_all_is_kept() {
        let unreachable = Outcome::Unreachable { message: "503".into(), asked: None };
        for outcome in [Some(Outcome::Denied("no".into())), Some(unreachable), None] {
            let mut delivery = delivery_of(120);
            let parcel = delivery.next(0).unwrap();
            delivery.answered(parcel, outcome);
            assert!(delivery.next(0).is_none());
            assert_eq!(delivery.spans(), 120);
            delivery.end();
            assert_eq!((delivery.kept.len(), delivery.spans()), (120, 120));
        }
    }

    #[test]
    fn bet_30_repaired_documents_that_are_not_sent_any_more_are_kept() {
        let mut delivery = delivery_of(3);
        let parcel = delivery.next(0).unwrap();
        let refusals = vec![Refusal {
            id: Some(format!("{:016x}", 2)),
            code: "InvalidName".into(),
            message: String::new(),
        }];
        delivery.answered(parcel, Some(Outcome::Accepted { refusals }));
        delivery.end();
        assert_eq!(delivery.kept.len(), 1);
        delivery.accounts.receive(3);
        assert!(delivery.accounts.balance(1));
    }
}
