//! Metrics and logs, sent on as they came: what is in them is the other side's business.

use super::answer::Answer;
use super::request::{Body, send};
use super::{Endpoint, open};
use crate::accounts::{Accounts, Reason};
use crate::export::client::Clients;
use crate::export::pacing::backoff::{Jitter, Persistence};
use crate::export::pacing::clocks::{Moment, Occasion, Window};
use crate::export::pacing::flights::{Flights, Landing};
use crate::export::pacing::health::{Attempt, Health};
use crate::ledger::{Charge, Share};
use crate::log::{Level, Log};
use crate::received::{OtlpSignal, Relayed};
use crate::shown;
use std::collections::VecDeque;
use std::sync::Arc;

/// What waits to be sent on. Metrics and logs may go to different places: neither waits for the other.
#[derive(Debug)]
pub(super) struct Relay {
    lanes: [Lane; 2],
    /// Of everything that waits or is under way.
    bytes: usize,
    charge: Charge,
    limit_bytes: usize,
    came: u64,
    clients: Arc<Clients>,
    jitter: Jitter,
    log: Log,
}

#[derive(Debug)]
struct Lane {
    signal: OtlpSignal,
    /// With their numbers, in the order in which they came.
    waiting: VecDeque<(u64, Relayed)>,
    flights: Flights<(u64, Relayed), Answer>,
    health: Health,
    /// Looked up when first needed.
    endpoint: Option<Result<Arc<Endpoint>, String>>,
    accounts: Accounts,
}

impl Relay {
    /// They have half as much room as spans, and one request has room in any case.
    pub(super) fn new(clients: Arc<Clients>, share: &Share, jitter: Jitter, log: Log) -> Self {
        let lanes = [OtlpSignal::Metrics, OtlpSignal::Logs].map(Lane::of);
        let (charge, limit_bytes) = (share.charge(0), share.limit_bytes() / 2);
        Self { lanes, bytes: 0, charge, limit_bytes, came: 0, clients, jitter, log }
    }

    pub(super) fn has_waiting(&self) -> bool {
        self.lanes.iter().any(|lane| !lane.waiting.is_empty() || lane.flights.len() > 0)
    }

    /// What became of requests since the last time.
    pub(super) fn take_accounts(&mut self) -> Vec<(OtlpSignal, Accounts)> {
        let take = |lane: &mut Lane| (lane.signal, std::mem::take(&mut lane.accounts));
        self.lanes.iter_mut().map(take).filter(|(_, accounts)| *accounts != Accounts::default()).collect()
    }

    /// Takes requests in. Where there is no room the oldest goes.
    pub(super) fn add(&mut self, requests: Vec<Relayed>) {
        for request in requests {
            self.bytes = self.bytes.saturating_add(request.body.len());
            self.came = self.came.saturating_add(1);
            if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.signal == request.signal) {
                lane.waiting.push_back((self.came, request));
            }
        }
        while self.bytes > self.limit_bytes
            && self.lanes.iter().map(|lane| lane.waiting.len()).sum::<usize>() > 1
        {
            let oldest = |lane: &&mut Lane| lane.waiting.front().map_or(u64::MAX, |(number, _)| *number);
            let lane = self.lanes.iter_mut().min_by_key(oldest);
            let Some((lane, (_, request))) =
                lane.and_then(|lane| lane.waiting.pop_front().map(|gone| (lane, gone)))
            else {
                break;
            };
            lane.accounts.drop(Reason::BufferFull, 1);
            self.bytes = self.bytes.saturating_sub(request.body.len());
        }
        self.charge.set(self.bytes);
    }

    pub(super) fn begin_flush(&mut self) {
        self.lanes.iter_mut().for_each(|lane| lane.health.begin_flush());
    }

    /// Sends of each kind one after the other until the time is up, or one can't be sent now.
    pub(super) async fn flush(&mut self, window: Window) {
        let Self { lanes: [metrics, logs], clients, jitter, log, .. } = self;
        let mut other_jitter = jitter.split();
        tokio::join!(
            metrics.flush(window, clients, jitter, log),
            logs.flush(window, clients, &mut other_jitter, log)
        );
    }

    /// Sends one of each kind beside whatever goes on, where the other side fails and it is time to try again.
    pub(super) fn probe(&mut self, window: Window) {
        for lane in &mut self.lanes {
            lane.probe(window, &mut self.jitter);
        }
    }

    /// What has not left waits from now on. A probe goes on, unless the environment ends.
    pub(super) fn settle(&mut self, window: Window) {
        for lane in &mut self.lanes {
            if !lane.flights.is_probing() || window.occasion == Occasion::Last {
                lane.flights.abandon().into_iter().for_each(|request| lane.waiting.push_front(request));
            }
        }
        let held = self.lanes.iter().flat_map(|lane| lane.waiting.iter().chain(lane.flights.cargo()));
        self.bytes = held.map(|(_, request)| request.body.len()).fold(0, usize::saturating_add);
        self.charge.set(self.bytes);
    }
}

impl Lane {
    fn of(signal: OtlpSignal) -> Self {
        Self {
            signal,
            waiting: VecDeque::new(),
            flights: Flights::default(),
            health: Health::default(),
            endpoint: None,
            accounts: Accounts::default(),
        }
    }

    async fn flush(&mut self, window: Window, clients: &Clients, jitter: &mut Jitter, log: &Log) {
        if self.waiting.is_empty() && self.flights.len() == 0 {
            return;
        }
        let signal = self.signal;
        let endpoint = self.endpoint.get_or_insert_with(|| open(signal, clients, log).map(Arc::new));
        let endpoint = match endpoint.clone() {
            Ok(endpoint) => endpoint,
            Err(message) => {
                self.drop_waiting(&message, log);
                return;
            }
        };
        if let Some((request, landing)) = self.flights.probed(window).await {
            self.landed(&endpoint, request, landing, window.now, jitter, log);
            self.health.begin_flush();
        }
        match self.health.attempt(window) {
            _ if self.flights.is_probing() => {}
            Attempt::No if window.occasion == Occasion::Beside => self.probe(window, jitter),
            Attempt::No => {}
            Attempt::Freely | Attempt::OneFirst => self.send_all(&endpoint, window, jitter, log).await,
        }
    }

    async fn send_all(&mut self, endpoint: &Arc<Endpoint>, window: Window, jitter: &mut Jitter, log: &Log) {
        while let Some(request) = self.waiting.pop_front() {
            let sent = start(endpoint, &request.1, Persistence::OncePerConnection, jitter);
            self.flights.start(request, sent);
            let landed = match self.flights.landed(window.until).await {
                Some(landed) => Some(landed),
                None => self.flights.abandon().pop().map(|request| (request, Landing::Late)),
            };
            let goes_on = landed.is_some_and(|(request, landing)| {
                self.landed(endpoint, request, landing, window.now, jitter, log)
            });
            if !goes_on {
                return;
            }
        }
    }

    fn probe(&mut self, window: Window, jitter: &mut Jitter) {
        if let Some(request) = self.flights.frozen(window.now) {
            self.waiting.push_front(request);
        }
        if self.flights.is_probing() || !self.health.is_due(window.now) {
            return;
        }
        let Some(Ok(endpoint)) = self.endpoint.clone() else { return };
        let Some(request) = self.waiting.pop_front() else { return };
        endpoint.connections.renew();
        let sent = start(&endpoint, &request.1, Persistence::Once, jitter);
        self.flights.probe(request, sent, window);
    }

    /// Takes in what became of a request, and says whether others may follow.
    fn landed(
        &mut self,
        endpoint: &Endpoint,
        request: (u64, Relayed),
        landing: Landing<Answer>,
        now: Moment,
        jitter: &mut Jitter,
        log: &Log,
    ) -> bool {
        let answer = match landing {
            Landing::Answered(answer) => answer,
            Landing::Failed(message) => Answer::Silence(message),
            Landing::Late => Answer::Silence("no answer in the time allowed".to_owned()),
            Landing::Cut => {
                self.waiting.push_front(request);
                self.health.was_cut(now, jitter);
                return false;
            }
        };
        self.health.take_down(answer.verdict(), now, jitter);
        match answer {
            Answer::Taken { .. } => self.accounts.send(1),
            // The message may quote what was sent, which is not known here.
            Answer::Refused { status, .. } => {
                self.complain(endpoint, log, format_args!("refused {} with {status}", self.signal.name()));
                self.accounts.reject(&status.to_string(), 1);
            }
            Answer::Kept { trouble, .. } => {
                self.waiting.push_front(request);
                let name = self.signal.name();
                self.complain(endpoint, log, format_args!("{trouble}; {name} are kept and tried again"));
            }
            // Nothing more is sent there.
            Answer::Circle(circle) => {
                let message = endpoint.settings.told_of(circle);
                self.waiting.push_front(request);
                self.drop_waiting(&message, log);
                self.endpoint = Some(Err(message));
            }
            Answer::Later { .. } | Answer::Silence(_) | Answer::NoCredentials(_) => {
                endpoint.connections.renew();
                self.waiting.push_front(request);
            }
        }
        !self.health.is_failing()
    }

    fn drop_waiting(&mut self, message: &str, log: &Log) {
        let name = self.signal.name();
        log.once(key(self.signal), Level::Warn, format_args!("{name} are dropped: {message}"));
        self.accounts.drop(Reason::NoOutlet, self.waiting.len() as u64);
        self.waiting.clear();
    }

    fn complain(&self, endpoint: &Endpoint, log: &Log, what: std::fmt::Arguments<'_>) {
        let url = shown::uri(&endpoint.settings.url);
        log.once(key(self.signal), Level::Warn, format_args!("{url} {what}"));
    }
}

fn start(
    endpoint: &Arc<Endpoint>,
    request: &Relayed,
    persistence: Persistence,
    jitter: &mut Jitter,
) -> impl Future<Output = Answer> + Send + use<> {
    let body = Body { bytes: request.body.clone(), is_json: request.is_json, is_gzip: request.is_gzip };
    let (endpoint, jitter) = (Arc::clone(endpoint), jitter.split());
    async move { send(&endpoint, &body, persistence, jitter).await }
}

/// What is said once of each.
fn key(signal: OtlpSignal) -> &'static str {
    match signal {
        OtlpSignal::Traces => "otlp",
        OtlpSignal::Metrics => "otlp-metrics",
        OtlpSignal::Logs => "otlp-logs",
    }
}
