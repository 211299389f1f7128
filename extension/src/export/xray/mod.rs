//! The outlet to X-Ray itself: `PutTraceSegments`, within the time allowed.

mod answer;
mod batch;
mod delivery;
pub(crate) mod sampling;
mod send;
pub(crate) mod telemetry;
mod verdict;

use crate::accounts::{Accounts, Reason};
use crate::export::answers::trouble::{Trouble, Troubles};
use crate::export::client::{Clients, Session};
use crate::export::pacing::backoff::{Jitter, Persistence};
use crate::export::pacing::clocks::{Moment, Occasion, Window};
use crate::export::pacing::complaints::Complaints;
use crate::export::pacing::flights::{Flights, Landing};
use crate::export::pacing::health::{Attempt, Health, Verdict};
use crate::export::waiting::buffer::Buffer;
use crate::export::waiting::outgoing::{Outgoing, spans_of};
use crate::ledger::Share;
use crate::log::{Level, Log};
use crate::translate::TranslatedDocument;
use batch::{MAX_DOCUMENTS, MAX_REQUEST_BYTES};
use delivery::{Delivery, Parcel, Remark};
use send::send;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use verdict::Outcome;

/// Requests in flight at once (BET-28).
const PARALLEL_REQUESTS: usize = 3;
/// How long nothing is tried after X-Ray has refused the caller (BET-36).
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_mins(1);
/// After this long without a flush the environment was likely frozen, and its connections are likely dead (BET-34).
const CONNECTIONS_LAST: Duration = Duration::from_secs(20);

/// Sends documents to X-Ray and keeps what X-Ray could not take yet. What it holds is in it at any time, and in no
/// future: a flush may panic, or be dropped in the middle.
#[derive(Debug)]
pub(crate) struct Xray {
    clients: Arc<Clients>,
    buffer: Buffer<Outgoing>,
    /// What has come with the flush under way.
    arrived: Vec<Outgoing>,
    delivery: Delivery,
    flights: Flights<Parcel, (Outcome, Troubles)>,
    health: Health,
    /// What has been answered since `health` was told.
    verdict: Option<Verdict>,
    last_try: Option<Moment>,
    jitter: Jitter,
    complaints: Complaints,
    troubles: Troubles,
}

impl Xray {
    /// As many documents as have room in `share` are kept while X-Ray can't be reached.
    pub(crate) fn new(clients: Arc<Clients>, share: &Share, seed: u64, log: Log) -> Self {
        Self {
            clients,
            buffer: Buffer::new(share),
            arrived: Vec::new(),
            delivery: Delivery::default(),
            flights: Flights::default(),
            health: Health::default(),
            verdict: None,
            last_try: None,
            jitter: Jitter::new(seed),
            complaints: Complaints::new(log),
            troubles: Troubles::default(),
        }
    }

    pub(crate) fn has_waiting(&self) -> bool {
        !self.buffer.is_empty() || self.flights.len() > 0
    }

    /// What waits for a better moment.
    pub(crate) fn buffer(&mut self) -> &mut Buffer<Outgoing> {
        &mut self.buffer
    }

    pub(crate) fn waiting_spans(&self) -> u64 {
        let held =
            self.buffer.spans().saturating_add(self.delivery.spans()).saturating_add(spans_of(&self.arrived));
        self.flights.cargo().map(Parcel::spans).fold(held, u64::saturating_add)
    }

    /// Failed tries so far.
    pub(crate) fn troubles(&self) -> Troubles {
        self.troubles
    }

    /// What comes from now on is of a flush of its own.
    pub(crate) fn begin_flush(&mut self) {
        self.buffer.next_generation();
        self.health.begin_flush();
    }

    /// Takes documents in, to be sent with the flush under way.
    pub(crate) fn take_in(&mut self, documents: Vec<TranslatedDocument>) {
        let generation = self.buffer.generation();
        self.arrived.extend(documents.into_iter().map(|document| Outgoing::new(document, generation)));
    }

    /// Sends what is here, what has waited first, until all is gone or the time is up (P4). [`Self::settle`] says what
    /// became of it.
    pub(crate) async fn flush(&mut self, window: Window) {
        if let Some((parcel, landing)) = self.flights.probed(window).await {
            self.buffer.forget_lent();
            self.landed(parcel, landing, window.now);
            self.judge(window.now);
            self.health.begin_flush();
        }
        match self.health.attempt(window) {
            _ if self.flights.is_probing() => {}
            Attempt::No if window.occasion == Occasion::Beside => self.probe(window),
            Attempt::No => {}
            attempt => self.send_all(attempt, window).await,
        }
    }

    /// Sends one request beside whatever goes on, where X-Ray fails and it is time to try again.
    pub(crate) fn probe(&mut self, window: Window) {
        if let Some(parcel) = self.flights.frozen(window.now) {
            self.buffer.forget_lent();
            self.delivery.accounts.drop(Reason::BufferFull, self.buffer.keep(parcel.documents));
        }
        if self.flights.is_probing() || !self.health.is_due(window.now) || self.buffer.is_empty() {
            return;
        }
        let Some(session) = self.clients.session() else { return };
        // The kept connections may be why.
        session.connections.renew();
        let parcel = Parcel::of(self.buffer.lend(MAX_DOCUMENTS, MAX_REQUEST_BYTES));
        let request = self.request(&session, &parcel, Persistence::Once);
        self.flights.probe(parcel, request, window);
    }

    async fn send_all(&mut self, attempt: Attempt, window: Window) {
        let Window { now, until, .. } = window;
        let Some(session) = self.clients.session() else { return };
        let waited = self.buffer.take();
        self.delivery.begin(waited.into_iter().chain(std::mem::take(&mut self.arrived)));
        if self.last_try.is_some_and(|last| now.since(last) > CONNECTIONS_LAST) {
            session.connections.renew();
        }
        self.last_try = Some(now);
        let persistence = match (attempt, window.occasion) {
            (Attempt::Freely, _) | (_, Occasion::Last) => Persistence::Until(until),
            _ => Persistence::OncePerConnection,
        };
        let mut parallel = if attempt == Attempt::Freely { PARALLEL_REQUESTS } else { 1 };
        loop {
            while self.flights.len() < parallel
                && Instant::now() < until
                && let Some(parcel) = self.delivery.next(self.flights.len())
            {
                let request = self.request(&session, &parcel, persistence);
                self.flights.start(parcel, request);
            }
            if self.flights.len() == 0 {
                break;
            }
            let Some((parcel, landing)) = self.flights.landed(until).await else {
                // What is in flight at the end of the time does not run on (P4).
                for parcel in self.flights.abandon() {
                    self.landed(parcel, Landing::Late, now);
                }
                break;
            };
            self.landed(parcel, landing, now);
            parallel = PARALLEL_REQUESTS;
        }
        self.judge(now);
    }

    fn request(
        &mut self,
        session: &Session,
        parcel: &Parcel,
        persistence: Persistence,
    ) -> impl Future<Output = (Outcome, Troubles)> + Send + use<> {
        let texts: Vec<String> = parcel.documents.iter().map(|d| d.document.json.clone()).collect();
        let (session, jitter) = (session.clone(), self.jitter.split());
        async move { send(&session, &texts, persistence, jitter).await }
    }

    /// Takes in what became of a request.
    fn landed(&mut self, parcel: Parcel, landing: Landing<(Outcome, Troubles)>, now: Moment) {
        let outcome = match landing {
            Landing::Answered((outcome, troubles)) => {
                self.troubles.add(troubles);
                Some(outcome)
            }
            Landing::Failed(message) => Some(Outcome::Unreachable { message, asked: None }),
            Landing::Late => {
                self.troubles.count(Trouble::Timeout);
                None
            }
            Landing::Cut => {
                self.delivery.put_off(parcel);
                self.health.was_cut(now, &mut self.jitter);
                return;
            }
        };
        let verdict = match &outcome {
            Some(Outcome::Accepted { .. } | Outcome::Refused { .. }) => Verdict::Well,
            Some(Outcome::Denied(_)) => Verdict::Failed { asked: Some(PAUSE_AFTER_REFUSAL) },
            Some(Outcome::Unreachable { asked, .. }) => Verdict::Failed { asked: *asked },
            None => Verdict::Failed { asked: None },
        };
        self.verdict = Some(verdict.and(self.verdict));
        self.delivery.answered(parcel, outcome);
    }

    fn judge(&mut self, now: Moment) {
        if let Some(verdict) = self.verdict.take() {
            self.health.take_down(verdict, now, &mut self.jitter);
        }
    }

    /// What became of the last flush, whole or cut off; what has not left waits from now on. A probe goes on, unless
    /// the environment ends.
    pub(crate) fn settle(&mut self, window: Window) -> Accounts {
        if !self.flights.is_probing() || window.occasion == Occasion::Last {
            for parcel in self.flights.abandon() {
                self.delivery.put_off(parcel);
            }
            self.buffer.forget_lent();
        }
        self.judge(window.now);
        let mut delivery = std::mem::take(&mut self.delivery);
        delivery.end();
        delivery.kept.append(&mut self.arrived);
        for remark in std::mem::take(&mut delivery.remarks) {
            self.tell(remark, window.now);
        }
        let mut accounts = delivery.accounts;
        accounts.drop(Reason::BufferFull, self.buffer.keep(delivery.kept));
        accounts
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
            Remark::Denied(message) => self.complaints.once(Level::Error, &message),
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
