//! The outlet to an OpenTelemetry collector, or to X-Ray's own OTLP endpoint (xray.md section 19).

mod answer;
mod relay;
mod request;
mod select;
mod settings;

use crate::accounts::{Accounts, Reason};
use crate::export::answers::quoted::Quoted;
use crate::export::client::Clients;
use crate::export::client::connector::Connections;
use crate::export::client::credentials::Provider;
use crate::export::pacing::backoff::{Jitter, Persistence};
use crate::export::pacing::clocks::{Moment, Occasion, Window};
use crate::export::pacing::complaints::Complaints;
use crate::export::pacing::flights::{Flights, Landing};
use crate::export::pacing::health::{Attempt, Health, Verdict};
use crate::export::waiting::buffer::{Buffer, Waits as _};
use crate::ledger::Share;
use crate::log::{Level, Log};
use crate::received::{OtlpSignal, Relayed};
use crate::shown;
use crate::translate::Target;
use answer::Answer;
use http::StatusCode;
use relay::Relay;
use request::{Body, encode, send};
use select::restored;
pub(super) use select::{KnownOrigins, OutgoingSpan, select};
use settings::OtlpSettings;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// One request: well within X-Ray's 10,000 spans and 5 MB (OEP-3), what collectors take by default, and the memory there is.
const MAX_REQUEST_SPANS: usize = 2000;
const MAX_REQUEST_BYTES: usize = 1_000_000;
/// Requests of one flush that are cut in halves because they were too large.
const MAX_HALVINGS: u32 = 12;
/// X-Ray's endpoint refuses larger spans (OEP-3).
const MAX_XRAY_SPAN_BYTES: usize = 200_000;
/// And a whole request for a span that began before or after this (OEP-3).
const XRAY_PAST: Duration = Duration::from_hours(14 * 24);
const XRAY_FUTURE: Duration = Duration::from_hours(2);
/// How long nothing is tried after an answer that asks for something to be put right (BET-36).
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_mins(1);
/// After this long without a flush the connections are likely dead (BET-34).
const CONNECTIONS_LAST: Duration = Duration::from_secs(20);

/// Sends spans by OTLP, and keeps what could not be sent yet. What it holds is in it at any time, and in no future: a
/// flush may panic, or be dropped in the middle.
#[derive(Debug)]
pub(super) struct Otlp {
    clients: Arc<Clients>,
    target: Target,
    /// Looked up at the first flush; what does not work is said then.
    endpoint: Option<Result<Arc<Endpoint>, String>>,
    buffer: Buffer<OutgoingSpan>,
    /// What has come with the flush under way.
    arrived: Vec<OutgoingSpan>,
    /// What this flush has not sent yet.
    requests: VecDeque<Vec<OutgoingSpan>>,
    /// Requests that may still be cut in halves.
    halvings: u32,
    flights: Flights<Vec<OutgoingSpan>, Answer>,
    health: Health,
    accounts: Accounts,
    /// Metrics and logs.
    relay: Relay,
    last_try: Option<Moment>,
    jitter: Jitter,
    complaints: Complaints,
}

#[derive(Debug)]
struct Endpoint {
    settings: OtlpSettings,
    connections: Connections,
    credentials: Option<Arc<Provider>>,
}

impl Otlp {
    /// As many spans as have room in `share` are kept while the other side can't be reached.
    pub(super) fn new(clients: Arc<Clients>, target: Target, share: &Share, seed: u64, log: Log) -> Self {
        let mut jitter = Jitter::new(seed);
        Self {
            relay: Relay::new(Arc::clone(&clients), share, jitter.split(), log.clone()),
            clients,
            target,
            endpoint: None,
            buffer: Buffer::new(share),
            arrived: Vec::new(),
            requests: VecDeque::new(),
            halvings: MAX_HALVINGS,
            flights: Flights::default(),
            health: Health::default(),
            accounts: Accounts::default(),
            last_try: None,
            jitter,
            complaints: Complaints::new(log),
        }
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.buffer.is_empty() || self.flights.len() > 0
    }

    pub(super) fn waiting_spans(&self) -> u64 {
        let under_way = self.requests.iter().chain(self.flights.cargo()).map(|spans| spans.len() as u64);
        under_way.chain([self.arrived.len() as u64]).fold(self.buffer.spans(), u64::saturating_add)
    }

    /// Whether metrics or logs wait.
    pub(super) fn has_relayed(&self) -> bool {
        self.relay.has_waiting()
    }

    /// Takes metrics and logs in, to be sent on with the next flush.
    pub(super) fn relay(&mut self, requests: Vec<Relayed>) {
        self.relay.add(requests);
    }

    /// What became of them since the last time.
    pub(super) fn take_relayed(&mut self) -> Vec<(OtlpSignal, Accounts)> {
        self.relay.take_accounts()
    }

    /// What waits, for the next process, and how many spans.
    pub(super) fn leave(&self) -> (Vec<u8>, u64) {
        let waiting: Vec<&OutgoingSpan> = self.buffer.iter().collect();
        (encode(&waiting, false).into(), waiting.len() as u64)
    }

    /// Takes over what an earlier process has left, and says how many spans had no room.
    pub(super) fn restore(&mut self, left: Vec<OutgoingSpan>) -> u64 {
        self.buffer.keep(left)
    }

    pub(super) fn forget(&mut self) {
        self.buffer.clear();
    }

    /// Whom spans are made for.
    pub(super) fn target(&mut self) -> Target {
        // X-Ray's own endpoint wants spans as they are.
        let is_xrays = self.endpoint().is_ok_and(|endpoint| endpoint.settings.sign_for.is_some());
        if is_xrays { Target::Any } else { self.target }
    }

    /// What comes from now on is of a flush of its own.
    pub(super) fn begin_flush(&mut self) {
        self.buffer.next_generation();
        self.halvings = MAX_HALVINGS;
        self.health.begin_flush();
        self.relay.begin_flush();
    }

    /// Takes spans in, to be sent with the flush under way.
    pub(super) fn take_in(&mut self, spans: Vec<OutgoingSpan>) {
        let generation = self.buffer.generation();
        self.arrived.extend(spans.into_iter().map(|span| OutgoingSpan { generation, ..span }));
    }

    /// Sends the spans, then what is relayed, until all are gone or the time is up (P4). [`Self::settle`] says what
    /// became of them.
    pub(super) async fn flush(&mut self, window: Window) {
        self.flush_spans(window).await;
        self.relay.flush(window).await;
    }

    /// Those that have waited go first.
    async fn flush_spans(&mut self, window: Window) {
        let endpoint = match self.endpoint() {
            Ok(endpoint) => endpoint,
            Err(message) => {
                self.complaints.log().once("otlp", Level::Error, message);
                let spans = self.buffer.clear().saturating_add(self.arrived.len() as u64);
                self.arrived.clear();
                self.accounts.drop(Reason::OutletFailed, spans);
                return;
            }
        };
        let mut arrived = std::mem::take(&mut self.arrived);
        self.leave_out(&endpoint, &mut arrived, window.now);
        self.arrived = arrived;
        if let Some((spans, landing)) = self.flights.probed(window).await {
            self.buffer.forget_lent();
            if let Some(verdict) = self.landed(&endpoint, spans, landing, window.now) {
                self.health.take_down(verdict, window.now, &mut self.jitter);
            }
            self.health.begin_flush();
        }
        match self.health.attempt(window) {
            _ if self.flights.is_probing() => {}
            Attempt::No if window.occasion == Occasion::Beside => self.probe_spans(window),
            Attempt::No => {}
            attempt => self.send_all(&endpoint, attempt, window).await,
        }
    }

    /// Sends one request beside whatever goes on, where the other side fails and it is time to try again.
    pub(super) fn probe(&mut self, window: Window) {
        self.probe_spans(window);
        self.relay.probe(window);
    }

    fn probe_spans(&mut self, window: Window) {
        if let Some(spans) = self.flights.frozen(window.now) {
            self.buffer.forget_lent();
            self.accounts.drop(Reason::BufferFull, self.buffer.keep(spans));
        }
        if self.flights.is_probing() || !self.health.is_due(window.now) || self.buffer.is_empty() {
            return;
        }
        let Ok(endpoint) = self.endpoint() else { return };
        endpoint.connections.renew();
        let spans = self.buffer.lend(MAX_REQUEST_SPANS, MAX_REQUEST_BYTES);
        let request = self.request(&endpoint, &spans, Persistence::Once);
        self.flights.probe(spans, request, window);
    }

    /// Sends one request after the other. What has to wait stays in `requests`.
    async fn send_all(&mut self, endpoint: &Arc<Endpoint>, attempt: Attempt, window: Window) {
        let Window { now, until, .. } = window;
        let mut spans: Vec<OutgoingSpan> = self.requests.drain(..).flatten().collect();
        spans.extend(self.buffer.take());
        spans.append(&mut self.arrived);
        self.leave_out(endpoint, &mut spans, now);
        if spans.is_empty() {
            return;
        }
        self.requests = requests(spans);
        if self.last_try.is_some_and(|last| now.since(last) > CONNECTIONS_LAST) {
            endpoint.connections.renew();
        }
        self.last_try = Some(now);
        let persistence = match (attempt, window.occasion) {
            (Attempt::Freely, _) | (_, Occasion::Last) => Persistence::Until(until),
            _ => Persistence::OncePerConnection,
        };
        while let Some(spans) = self.requests.pop_front() {
            let request = self.request(endpoint, &spans, persistence);
            self.flights.start(spans, request);
            let landed = match self.flights.landed(until).await {
                Some(landed) => Some(landed),
                // What is in flight at the end of the time does not run on (P4).
                None => self.flights.abandon().pop().map(|spans| (spans, Landing::Late)),
            };
            let verdict = landed.and_then(|(spans, landing)| self.landed(endpoint, spans, landing, now));
            if let Some(verdict) = verdict {
                self.health.take_down(verdict, now, &mut self.jitter);
            }
            if verdict != Some(Verdict::Well) {
                break;
            }
        }
    }

    fn request(
        &mut self,
        endpoint: &Arc<Endpoint>,
        spans: &[OutgoingSpan],
        persistence: Persistence,
    ) -> impl Future<Output = Answer> + Send + use<> {
        let is_gzip = endpoint.settings.gzip;
        let body = Body { bytes: encode(spans, is_gzip), is_json: false, is_gzip };
        let (endpoint, jitter) = (Arc::clone(endpoint), self.jitter.split());
        async move { send(&endpoint, &body, persistence, jitter).await }
    }

    /// Takes in what became of a request, and says what that says of the other side.
    fn landed(
        &mut self,
        endpoint: &Endpoint,
        mut spans: Vec<OutgoingSpan>,
        landing: Landing<Answer>,
        now: Moment,
    ) -> Option<Verdict> {
        let count = spans.len() as u64;
        let answer = match landing {
            Landing::Answered(answer) => answer,
            Landing::Failed(message) => Answer::Silence(message),
            Landing::Late => Answer::Silence("no answer in the time allowed".to_owned()),
            Landing::Cut => {
                self.requests.push_front(spans);
                self.health.was_cut(now, &mut self.jitter);
                return None;
            }
        };
        let verdict = answer.verdict();
        match answer {
            Answer::Taken { rejected, message } => {
                let rejected = rejected.min(count);
                self.accounts.send(count - rejected);
                self.accounts.reject("partial_success", rejected);
                if rejected > 0 {
                    let message = without_request(&message, &spans, &endpoint.settings);
                    self.complain("partial", now, format_args!("refused {rejected} spans: {message}"));
                }
            }
            Answer::Refused { status: 413, .. } if count > 1 && self.halvings > 0 => {
                self.halvings -= 1;
                let second = spans.split_off(spans.len() / 2);
                self.requests.push_front(second);
                self.requests.push_front(spans);
            }
            Answer::Refused { status, message } => {
                self.accounts.reject(&status.to_string(), count);
                let message = without_request(&message, &spans, &endpoint.settings);
                let status_text = StatusCode::from_u16(status).map(|status| status.to_string());
                let said =
                    [status_text.unwrap_or_default(), message].into_iter().filter(|part| !part.is_empty());
                self.refused(endpoint, status, &said.collect::<Vec<_>>().join(": "), now);
            }
            Answer::Kept { status, trouble, .. } => {
                self.requests.push_front(spans);
                let url = shown::uri(&endpoint.settings.url);
                let kind = format!("kept {status}");
                self.complain(&kind, now, format_args!("{url} {trouble}; spans are kept and tried again"));
            }
            Answer::Circle(circle) => {
                let message = endpoint.settings.told_of(circle);
                self.complaints.log().once("otlp", Level::Error, &message);
                self.endpoint = Some(Err(message));
                let rest = self.requests.drain(..).map(|spans| spans.len() as u64);
                self.accounts.drop(Reason::OutletFailed, rest.fold(count, u64::saturating_add));
            }
            Answer::Later { message, .. } | Answer::Silence(message) | Answer::NoCredentials(message) => {
                self.requests.push_front(spans);
                self.complain("unreachable", now, format_args!("took nothing, spans are kept: {message}"));
            }
        }
        Some(verdict)
    }

    /// What X-Ray's own endpoint would refuse, with everything beside it.
    fn leave_out(&mut self, endpoint: &Endpoint, spans: &mut Vec<OutgoingSpan>, now: Moment) {
        if endpoint.settings.sign_for.is_some() {
            let accounts = &mut self.accounts;
            spans.retain(|outgoing| match refused_by_xray(outgoing, now) {
                Some(reason) => {
                    accounts.drop(reason, 1);
                    false
                }
                None => true,
            });
        }
    }

    /// What became of the last flush, whole or cut off; what has not left waits from now on. A probe goes on, unless
    /// the environment ends.
    pub(super) fn settle(&mut self, window: Window) -> Accounts {
        if !self.flights.is_probing() || window.occasion == Occasion::Last {
            let cut = self.flights.abandon();
            self.requests.extend(cut);
            self.buffer.forget_lent();
        }
        self.relay.settle(window);
        let arrived = std::mem::take(&mut self.arrived);
        let mut accounts = std::mem::take(&mut self.accounts);
        accounts.drop(Reason::BufferFull, self.buffer.keep(self.requests.drain(..).flatten().chain(arrived)));
        accounts
    }

    fn refused(&mut self, endpoint: &Endpoint, status: u16, message: &str, now: Moment) {
        // What is set up wrongly is so for the life of the environment (OEP-5).
        if status == 400 && endpoint.settings.sign_for.is_some() {
            let url = shown::uri(&endpoint.settings.url);
            self.complaints.log().once(
                "otlp",
                Level::Error,
                format_args!(
                    "{url} refused spans: {message}; is Transaction Search on in this account and region (trace segment \
                     destination CloudWatchLogs)?"
                ),
            );
        } else {
            self.complain(&status.to_string(), now, format_args!("refused spans: {message}"));
        }
    }

    fn complain(&mut self, kind: &str, now: Moment, message: std::fmt::Arguments<'_>) {
        self.complaints.say(kind, now.unix, Level::Warn, format_args!("the OTLP endpoint {message}"));
    }

    fn endpoint(&mut self) -> Result<Arc<Endpoint>, String> {
        let (clients, log) = (&self.clients, self.complaints.log());
        self.endpoint.get_or_insert_with(|| open(OtlpSignal::Traces, clients, log).map(Arc::new)).clone()
    }
}

/// The spans that [`Otlp::leave`] has left.
pub(super) fn spans_left(payload: &[u8]) -> Vec<OutgoingSpan> {
    restored(payload)
}

fn open(signal: OtlpSignal, clients: &Clients, log: &Log) -> Result<Endpoint, String> {
    let settings =
        OtlpSettings::read(signal, |name| clients.variable(name)).map_err(|error| error.to_string())?;
    for complaint in &settings.complaints {
        log.say(Level::Warn, complaint);
    }
    let connections = match &settings.certificate {
        Some(path) => {
            Connections::new(Some(path), clients.own().clone()).map_err(|error| error.to_string())?
        }
        None => clients.connections().ok_or("there is no TLS to be had")?,
    };
    let credentials = settings.sign_for.as_ref().and_then(|_| clients.credentials());
    Ok(Endpoint { settings, connections, credentials })
}

/// A message of the other side without what it repeats of the request: its spans, its headers and where it went.
fn without_request(message: &str, spans: &[OutgoingSpan], settings: &OtlpSettings) -> String {
    let write = |out: &mut dyn fmt::Write| {
        write!(out, "{} ", settings.url)?;
        for (_, value) in &settings.headers {
            write!(out, "{} ", String::from_utf8_lossy(value.as_bytes()))?;
        }
        spans.iter().try_for_each(|span| write!(out, "{:?} ", span.decoded()))
    };
    Quoted::find([message], write).out_of(message)
}

/// In the spans' order, each within the limits of one request.
fn requests(spans: Vec<OutgoingSpan>) -> VecDeque<Vec<OutgoingSpan>> {
    let mut requests: VecDeque<Vec<OutgoingSpan>> = VecDeque::new();
    let mut bytes = 0;
    for span in spans {
        let fits = span.bytes().saturating_add(bytes) <= MAX_REQUEST_BYTES;
        if let Some(last) = requests.back_mut().filter(|last| fits && last.len() < MAX_REQUEST_SPANS) {
            bytes = span.bytes().saturating_add(bytes);
            last.push(span);
        } else {
            bytes = span.bytes();
            requests.push_back(vec![span]);
        }
    }
    requests
}

/// Why X-Ray's endpoint would refuse the span, or everything because of it (OEP-3).
fn refused_by_xray(outgoing: &OutgoingSpan, now: Moment) -> Option<Reason> {
    let began = Duration::from_nanos(outgoing.start_unix_nano);
    if outgoing.bytes() > MAX_XRAY_SPAN_BYTES {
        Some(Reason::Oversize)
    } else if began.saturating_add(XRAY_PAST) < now.unix || began > now.unix.saturating_add(XRAY_FUTURE) {
        Some(Reason::TimeOutOfRange)
    } else {
        None
    }
}
