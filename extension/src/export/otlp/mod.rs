//! The outlet to an OpenTelemetry collector, or to X-Ray's own OTLP endpoint (xray.md section 19).

mod answer;
mod relay;
mod request;
mod select;
mod settings;

use super::backoff::{Jitter, MAX_TRIES};
use super::buffer::{Buffer, Waits as _};
use super::client::Clients;
use super::clocks::{Moment, Window};
use super::complaints::Complaints;
use super::connector::Connections;
use super::credentials::Provider;
use super::patience::Patience;
use super::quoted::Quoted;
use crate::accounts::{Accounts, Reason};
use crate::log::{Level, Log};
use crate::receive::{OtlpSignal, Relayed};
use crate::shown;
use crate::translate::Target;
use answer::Answer;
use relay::Relay;
use request::{Body, encode, send};
use select::restored;
pub(super) use select::{KnownOrigins, OutgoingSpan, select};
use settings::OtlpSettings;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// One request: well within X-Ray's 10,000 spans and 5 MB (OEP-3), and what collectors take by default.
const MAX_REQUEST_SPANS: usize = 2000;
const MAX_REQUEST_BYTES: usize = 2_000_000;
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

/// Sends spans by OTLP, and keeps what could not be sent yet.
#[derive(Debug)]
pub(super) struct Otlp {
    clients: Arc<Clients>,
    target: Target,
    /// Looked up at the first flush; what does not work is said then.
    endpoint: Option<Result<Arc<Endpoint>, String>>,
    buffer: Buffer<OutgoingSpan>,
    /// Metrics and logs.
    relay: Relay,
    patience: Patience,
    /// When something had to be put right before it takes spans.
    kept_at: Option<Moment>,
    last_flush: Option<Moment>,
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
    /// At most `limit_bytes` of spans are kept while the other side can't be reached.
    pub(super) fn new(
        clients: Arc<Clients>,
        target: Target,
        limit_bytes: usize,
        seed: u64,
        log: Log,
    ) -> Self {
        Self {
            clients,
            target,
            endpoint: None,
            buffer: Buffer::new(limit_bytes),
            relay: Relay::new(limit_bytes, log.clone()),
            patience: Patience::default(),
            kept_at: None,
            last_flush: None,
            jitter: Jitter::new(seed),
            complaints: Complaints::new(log),
        }
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.buffer.is_empty()
    }

    pub(super) fn waiting_spans(&self) -> u64 {
        self.buffer.spans()
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
        let waiting: Vec<OutgoingSpan> = self.buffer.iter().cloned().collect();
        (encode(&waiting, false).to_vec(), waiting.len() as u64)
    }

    /// Takes over what an earlier process has left; the first number are spans that could be read, the second those
    /// of them that had no room.
    pub(super) fn restore(&mut self, left: &[u8]) -> (u64, u64) {
        let spans = restored(left);
        (spans.len() as u64, self.buffer.keep(spans))
    }

    pub(super) fn forget(&mut self) {
        self.buffer.take();
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
    }

    /// Sends the spans, then what is relayed, until all are gone or the time is up (P4).
    pub(super) async fn flush(&mut self, spans: Vec<OutgoingSpan>, window: Window) -> Accounts {
        let accounts = self.flush_spans(spans, window).await;
        let clients = Arc::clone(&self.clients);
        self.relay.flush(&clients, window).await;
        accounts
    }

    /// Those that have waited go first.
    async fn flush_spans(&mut self, new: Vec<OutgoingSpan>, window: Window) -> Accounts {
        let now = window.now;
        let mut accounts = Accounts::default();
        let generation = self.buffer.generation();
        let mut spans = self.buffer.take();
        spans.extend(new.into_iter().map(|span| OutgoingSpan { generation, ..span }));
        let endpoint = match self.endpoint() {
            Ok(endpoint) => endpoint,
            Err(message) => {
                self.complaints.log().once("otlp", Level::Error, message);
                accounts.drop(Reason::OutletFailed, spans.len() as u64);
                return accounts;
            }
        };
        if endpoint.settings.sign_for.is_some() {
            spans.retain(|outgoing| match refused_by_xray(outgoing, now) {
                Some(reason) => {
                    accounts.drop(reason, 1);
                    false
                }
                None => true,
            });
        }
        let is_paused = self.kept_at.is_some_and(|kept| now.since(kept) < PAUSE_AFTER_REFUSAL);
        if spans.is_empty() || is_paused || !self.patience.allows(window) {
            accounts.drop(Reason::BufferFull, self.buffer.keep(spans));
            return accounts;
        }
        if self.last_flush.is_some_and(|last| now.since(last) > CONNECTIONS_LAST) {
            endpoint.connections.renew();
        }
        self.last_flush = Some(now);
        let kept = self.deliver(&endpoint, requests(spans), window, &mut accounts).await;
        accounts.drop(Reason::BufferFull, self.buffer.keep(kept));
        accounts
    }

    /// Sends one request after the other, and returns what has to wait.
    async fn deliver(
        &mut self,
        endpoint: &Endpoint,
        mut requests: VecDeque<Vec<OutgoingSpan>>,
        window: Window,
        accounts: &mut Accounts,
    ) -> Vec<OutgoingSpan> {
        let Window { now, until, .. } = window;
        let mut was_late = false;
        let mut halvings = MAX_HALVINGS;
        while let Some(mut spans) = requests.pop_front() {
            let count = spans.len() as u64;
            let answer = tokio::time::timeout_at(until, self.send(endpoint, &spans, until)).await;
            was_late = answer.is_err();
            match answer.unwrap_or_else(|_| Answer::Silence("no answer in the time allowed".to_owned())) {
                Answer::Taken { rejected, message } => {
                    let rejected = rejected.min(count);
                    accounts.send(count - rejected);
                    accounts.reject("partial_success", rejected);
                    if rejected > 0 {
                        let message = without_spans(&message, &spans);
                        self.complain("partial", now, format_args!("refused {rejected} spans: {message}"));
                    }
                }
                Answer::Refused { status: 413, .. } if count > 1 && halvings > 0 => {
                    halvings -= 1;
                    let second = spans.split_off(spans.len() / 2);
                    requests.push_front(second);
                    requests.push_front(spans);
                }
                Answer::Refused { status, message } => {
                    accounts.reject(&status.to_string(), count);
                    self.refused(endpoint, status, &without_spans(&message, &spans), now);
                }
                Answer::Kept { status, trouble, .. } => {
                    self.kept_at = Some(now);
                    self.complain(
                        &format!("kept {status}"),
                        now,
                        format_args!(
                            "{} {trouble}; spans are kept and tried again",
                            shown::uri(&endpoint.settings.url)
                        ),
                    );
                    requests.push_front(spans);
                    break;
                }
                Answer::Circle(circle) => {
                    let message = endpoint.settings.told_of(circle);
                    self.complaints.log().once("otlp", Level::Error, &message);
                    self.endpoint = Some(Err(message));
                    let rest = requests.drain(..).map(|spans| spans.len() as u64);
                    accounts.drop(Reason::OutletFailed, count.saturating_add(rest.sum()));
                }
                Answer::Later { message, .. } | Answer::Silence(message) | Answer::NoCredentials(message) => {
                    self.complain(
                        "unreachable",
                        now,
                        format_args!("took nothing, spans are kept: {message}"),
                    );
                    requests.push_front(spans);
                    break;
                }
            }
        }
        self.patience.tried(was_late, window);
        requests.into_iter().flatten().collect()
    }

    /// Sends one request, again where that can help and time is left.
    async fn send(&mut self, endpoint: &Endpoint, spans: &[OutgoingSpan], until: Instant) -> Answer {
        let is_gzip = endpoint.settings.gzip;
        let body = Body { bytes: encode(spans, is_gzip), is_json: false, is_gzip };
        let (mut reconnected, mut renewed) = (false, false);
        let mut tries = 0;
        loop {
            let credentials = endpoint.credentials.as_deref();
            let answer = send(&endpoint.settings, &endpoint.connections, credentials, &body).await;
            let at_least = match &answer {
                Answer::Kept { may_renew: true, .. }
                    if !renewed && credentials.is_some_and(Provider::renew) =>
                {
                    renewed = true;
                    continue;
                }
                Answer::Taken { .. } | Answer::Refused { .. } | Answer::Kept { .. } | Answer::Circle(_) => {
                    return answer;
                }
                Answer::Silence(_) if !reconnected => {
                    reconnected = true;
                    endpoint.connections.renew();
                    continue;
                }
                Answer::Later { at_least, .. } => at_least.unwrap_or_default(),
                Answer::Silence(_) | Answer::NoCredentials(_) => Duration::ZERO,
            };
            tries += 1;
            let pause = self.jitter.pause(tries).max(at_least);
            if tries >= MAX_TRIES || Instant::now() + pause >= until {
                return answer;
            }
            tokio::time::sleep(pause).await;
        }
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

/// A message of the other side without what it repeats of the spans.
fn without_spans(message: &str, spans: &[OutgoingSpan]) -> String {
    let write =
        |out: &mut dyn fmt::Write| spans.iter().try_for_each(|span| write!(out, "{:?} ", span.decoded()));
    Quoted::find([message], write).out_of(message)
}

/// In the spans' order, each within the limits of one request.
fn requests(spans: Vec<OutgoingSpan>) -> VecDeque<Vec<OutgoingSpan>> {
    let mut requests: VecDeque<Vec<OutgoingSpan>> = VecDeque::new();
    let mut bytes = 0;
    for span in spans {
        let fits = bytes + span.bytes() <= MAX_REQUEST_BYTES;
        if let Some(last) = requests.back_mut().filter(|last| fits && last.len() < MAX_REQUEST_SPANS) {
            bytes += span.bytes();
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
    } else if began + XRAY_PAST < now.unix || began > now.unix + XRAY_FUTURE {
        Some(Reason::TimeOutOfRange)
    } else {
        None
    }
}
