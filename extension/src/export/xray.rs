//! The outlet to X-Ray itself: `PutTraceSegments`, within the time allowed.

use super::backoff::Jitter;
use super::buffer::Buffer;
use super::client::{Clients, Session};
use super::clocks::{Moment, Window};
use super::complaints::Complaints;
use super::delivery::{Delivery, Parcel, Remark};
use super::outgoing::Outgoing;
use super::patience::Patience;
use super::send::{Outcome, send};
use super::trouble::Troubles;
use crate::accounts::{Accounts, Reason};
use crate::log::{Level, Log};
use crate::translate::TranslatedDocument;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{self, JoinSet};
use tokio::time::Instant;

/// Requests in flight at once (BET-28).
const PARALLEL_REQUESTS: usize = 3;
/// How long nothing is tried after X-Ray has refused the caller (BET-36).
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_mins(1);
/// After this long without a flush the environment was likely frozen, and its connections are likely dead (BET-34).
const CONNECTIONS_LAST: Duration = Duration::from_secs(20);

/// Sends documents to X-Ray and keeps what X-Ray could not take yet.
#[derive(Debug)]
pub(super) struct Xray {
    clients: Arc<Clients>,
    buffer: Buffer<Outgoing>,
    denied_at: Option<Moment>,
    patience: Patience,
    last_flush: Option<Moment>,
    jitter: Jitter,
    complaints: Complaints,
    troubles: Troubles,
}

impl Xray {
    /// At most `limit_bytes` of documents are kept while X-Ray can't be reached.
    pub(super) fn new(clients: Arc<Clients>, limit_bytes: usize, seed: u64, log: Log) -> Self {
        Self {
            clients,
            buffer: Buffer::new(limit_bytes),
            denied_at: None,
            patience: Patience::default(),
            last_flush: None,
            jitter: Jitter::new(seed),
            complaints: Complaints::new(log),
            troubles: Troubles::default(),
        }
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// What waits for a better moment.
    pub(super) fn buffer(&mut self) -> &mut Buffer<Outgoing> {
        &mut self.buffer
    }

    pub(super) fn waiting_spans(&self) -> u64 {
        self.buffer.spans()
    }

    /// Failed tries so far.
    pub(super) fn troubles(&self) -> Troubles {
        self.troubles
    }

    /// Sends the documents, those that have waited first, until all are gone or the time is up (P4).
    pub(super) async fn flush(&mut self, documents: Vec<TranslatedDocument>, window: Window) -> Accounts {
        let Window { now, until, .. } = window;
        let generation = self.buffer.generation();
        let documents = documents.into_iter().map(|document| Outgoing::new(document, generation));
        let mut all = self.buffer.take();
        all.extend(documents);
        if all.is_empty() {
            return Accounts::default();
        }
        let is_paused = self.denied_at.is_some_and(|denied| now.since(denied) < PAUSE_AFTER_REFUSAL);
        let may_try = !is_paused && self.patience.allows(window);
        let session = if may_try { self.clients.session() } else { None };
        let mut delivery = Delivery::new(all);
        if let Some(session) = session {
            self.denied_at = None;
            if self.last_flush.is_some_and(|last| now.since(last) > CONNECTIONS_LAST) {
                session.connections.renew();
            }
            self.last_flush = Some(now);
            self.deliver(&session, &mut delivery, until).await;
            self.patience.tried(delivery.remarks.contains(&Remark::Late), window);
        }
        delivery.end();
        for remark in std::mem::take(&mut delivery.remarks) {
            self.tell(remark, now);
        }
        let mut accounts = delivery.accounts;
        accounts.drop(Reason::BufferFull, self.buffer.keep(delivery.kept));
        accounts
    }

    async fn deliver(&mut self, session: &Session, delivery: &mut Delivery, until: Instant) {
        // Dropped at the end of the time: what is in flight then does not run on (P4).
        let mut requests: JoinSet<(Outcome, Troubles)> = JoinSet::new();
        let mut in_flight: HashMap<task::Id, Parcel> = HashMap::new();
        loop {
            while in_flight.len() < PARALLEL_REQUESTS
                && Instant::now() < until
                && let Some(parcel) = delivery.next(in_flight.len())
            {
                let texts: Vec<String> = parcel.documents.iter().map(|d| d.document.json.clone()).collect();
                let (session, jitter) = (session.clone(), self.jitter.split());
                let request = requests.spawn(async move { send(&session, &texts, until, jitter).await });
                in_flight.insert(request.id(), parcel);
            }
            match tokio::time::timeout_at(until, requests.join_next_with_id()).await {
                Ok(Some(Ok((id, (outcome, troubles))))) => {
                    self.troubles.add(troubles);
                    if let Some(parcel) = in_flight.remove(&id) {
                        delivery.answered(parcel, Some(outcome));
                    }
                }
                Ok(Some(Err(failed))) => {
                    if let Some(parcel) = in_flight.remove(&failed.id()) {
                        delivery.answered(parcel, Some(Outcome::Unreachable(failed.to_string())));
                    }
                }
                Ok(None) => break,
                Err(_) => {
                    for (_, parcel) in in_flight.drain() {
                        self.troubles.count(super::trouble::Trouble::Timeout);
                        delivery.answered(parcel, None);
                    }
                    break;
                }
            }
        }
    }

    fn tell(&mut self, remark: Remark, now: Moment) {
        match remark {
            Remark::DocumentRefused { id, code, message } => self.complaints.say(
                &code,
                now.unix,
                Level::Warn,
                format_args!("X-Ray refused document {id}: {code}: {message}"),
            ),
            Remark::RequestRefused { code, message } => self.complaints.say(
                &code,
                now.unix,
                Level::Warn,
                format_args!("X-Ray refused a request: {code}: {message}"),
            ),
            Remark::Denied(message) => {
                self.denied_at = Some(now);
                self.complaints.once(Level::Error, &message);
            }
            Remark::Late => self.complaints.say(
                "late",
                now.unix,
                Level::Warn,
                "X-Ray did not answer in the time allowed, what was not sent is kept for later",
            ),
            Remark::Unreachable(message) => self.complaints.say(
                "unreachable",
                now.unix,
                Level::Warn,
                format_args!("X-Ray could not be reached, what was not sent is kept for later: {message}"),
            ),
        }
    }
}
