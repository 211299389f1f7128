//! Metrics and logs, sent on as they came: what is in them is the other side's business.

use super::answer::Answer;
use super::request::{Body, send};
use super::{Endpoint, PAUSE_AFTER_REFUSAL, open};
use crate::accounts::{Accounts, Reason};
use crate::export::client::Clients;
use crate::export::clocks::{Moment, Window};
use crate::log::{Level, Log};
use crate::receive::{OtlpSignal, Relayed};
use crate::shown;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::time::timeout_at;

/// What waits to be sent on.
#[derive(Debug)]
pub(super) struct Relay {
    waiting: VecDeque<Relayed>,
    bytes: usize,
    limit_bytes: usize,
    /// Looked up when first needed.
    endpoints: Vec<(OtlpSignal, Result<Arc<Endpoint>, String>)>,
    accounts: Vec<(OtlpSignal, Accounts)>,
    /// When something had to be put right before the other side takes them.
    kept_at: Option<Moment>,
    log: Log,
}

impl Relay {
    pub(super) fn new(limit_bytes: usize, log: Log) -> Self {
        Self {
            waiting: VecDeque::new(),
            bytes: 0,
            limit_bytes,
            endpoints: Vec::new(),
            accounts: Vec::new(),
            kept_at: None,
            log,
        }
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// What became of requests since the last time.
    pub(super) fn take_accounts(&mut self) -> Vec<(OtlpSignal, Accounts)> {
        std::mem::take(&mut self.accounts)
    }

    /// Takes requests in. Where there is no room the oldest goes.
    pub(super) fn add(&mut self, requests: Vec<Relayed>) {
        for request in requests {
            self.bytes += request.body.len();
            self.waiting.push_back(request);
        }
        while self.bytes > self.limit_bytes
            && let Some(oldest) = self.take()
        {
            self.count(oldest.signal, |accounts| accounts.drop(Reason::BufferFull, 1));
        }
    }

    fn take(&mut self) -> Option<Relayed> {
        let first = self.waiting.pop_front()?;
        self.bytes -= first.body.len();
        Some(first)
    }

    fn count(&mut self, signal: OtlpSignal, count: impl FnOnce(&mut Accounts)) {
        let mut accounts = Accounts::default();
        count(&mut accounts);
        self.accounts.push((signal, accounts));
    }

    /// Sends one after the other until the time is up, or one can't be sent now.
    pub(super) async fn flush(&mut self, clients: &Clients, window: Window) {
        if self.kept_at.is_some_and(|kept| window.now.since(kept) < PAUSE_AFTER_REFUSAL) {
            return;
        }
        while let Some(request) = self.take() {
            let signal = request.signal;
            let endpoint = match self.endpoint(signal, clients) {
                Ok(endpoint) => endpoint,
                Err(message) => {
                    self.log.once(
                        key(signal),
                        Level::Warn,
                        format_args!("{} are dropped: {message}", signal.name()),
                    );
                    self.count(signal, |accounts| accounts.drop(Reason::NoOutlet, 1));
                    continue;
                }
            };
            let Relayed { is_json, is_gzip, body, .. } = &request;
            let body = Body { bytes: body.clone(), is_json: *is_json, is_gzip: *is_gzip };
            let sent =
                timeout_at(window.until, send(&endpoint.settings, &endpoint.connections, None, &body)).await;
            match sent.unwrap_or_else(|_| Answer::Silence("no answer in the time allowed".to_owned())) {
                Answer::Taken { .. } => self.count(signal, |accounts| accounts.send(1)),
                // The message may quote what was sent, which is not known here.
                Answer::Refused { status, .. } => {
                    self.complain(signal, &endpoint, format_args!("refused {} with {status}", signal.name()));
                    self.count(signal, |accounts| accounts.reject(&status.to_string(), 1));
                }
                Answer::Kept { trouble, .. } => {
                    self.complain(
                        signal,
                        &endpoint,
                        format_args!("{trouble}; {} are kept and tried again", signal.name()),
                    );
                    self.kept_at = Some(window.now);
                    self.bytes += request.body.len();
                    self.waiting.push_front(request);
                    return;
                }
                Answer::Circle(circle) => {
                    self.close(signal, endpoint.settings.told_of(circle));
                    self.bytes += request.body.len();
                    self.waiting.push_front(request);
                }
                Answer::Later { .. } | Answer::Silence(_) | Answer::NoCredentials(_) => {
                    endpoint.connections.renew();
                    self.bytes += request.body.len();
                    self.waiting.push_front(request);
                    return;
                }
            }
        }
    }

    fn endpoint(&mut self, signal: OtlpSignal, clients: &Clients) -> Result<Arc<Endpoint>, String> {
        if let Some((_, endpoint)) = self.endpoints.iter().find(|(known, _)| *known == signal) {
            return endpoint.clone();
        }
        let endpoint = open(signal, clients, &self.log).map(Arc::new);
        self.endpoints.push((signal, endpoint.clone()));
        endpoint
    }

    fn complain(&self, signal: OtlpSignal, endpoint: &Endpoint, what: std::fmt::Arguments<'_>) {
        let url = shown::uri(&endpoint.settings.url);
        self.log.once(key(signal), Level::Warn, format_args!("{url} {what}"));
    }

    /// Sends nothing more there.
    fn close(&mut self, signal: OtlpSignal, message: String) {
        if let Some((_, endpoint)) = self.endpoints.iter_mut().find(|(known, _)| *known == signal) {
            *endpoint = Err(message);
        }
    }
}

/// What is said once of each.
fn key(signal: OtlpSignal) -> &'static str {
    match signal {
        OtlpSignal::Traces => "otlp",
        OtlpSignal::Metrics => "otlp-metrics",
        OtlpSignal::Logs => "otlp-logs",
    }
}
