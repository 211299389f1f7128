//! The ways out: documents to X-Ray, within the time left, and what has to wait.
//!
//! Each outlet has its own buffer, accounts and failures, and runs in a task of its own: none waits for another.

mod answer;
mod backoff;
mod batch;
mod buffer;
mod certificate;
mod client;
mod clocks;
mod complaints;
mod connector;
mod credentials;
mod daemon;
mod delivery;
mod names;
mod otlp;
mod outgoing;
mod own;
mod patience;
mod quoted;
mod repair;
mod rest;
mod round;
mod sampling;
mod send;
mod sign;
mod spool;
mod survival;
mod telemetry;
mod trouble;
mod trust;
mod verdict;
mod xray;

pub use client::Clients;
pub use clocks::{Moment, Window};
pub use daemon::DaemonAddress;
pub use own::{OwnAddresses, Transport};
pub use rest::RestError;
pub use spool::Spool;

use crate::accounts::{Accounts, Reason};
use crate::invocation::Load;
use crate::log::{Level, Log};
use crate::receive::{OtlpSignal, Relayed};
use crate::settings::OutletKind;
use crate::translate::{Function, Target, Translator};
use daemon::Daemon;
use otlp::{KnownOrigins, Otlp};
use round::Round;
use std::sync::Arc;
use tokio::time::Instant;
use xray::Xray;

/// What every outlet is built with.
#[derive(Debug, Clone)]
pub struct Config {
    pub outlets: Vec<OutletKind>,
    /// How many bytes each outlet keeps while its other side can't be reached.
    pub buffer_bytes: usize,
    pub daemon: DaemonAddress,
    pub otlp_target: Target,
}

/// All outlets that are on.
#[derive(Debug)]
pub struct Outlets {
    config: Config,
    clients: Arc<Clients>,
    translator: Translator,
    origins: KnownOrigins,
    open: Vec<Outlet>,
    log: Log,
}

/// One outlet.
#[derive(Debug)]
enum Outlet {
    Xray(Box<Xray>),
    Daemon(Box<Daemon>),
    Otlp(Box<Otlp>),
}

/// What one flush did with the spans of its batch, for one outlet.
#[derive(Debug)]
pub struct Flushed {
    pub outlet: OutletKind,
    /// Without what was received: that is the same for all.
    pub accounts: Accounts,
}

impl Outlets {
    pub fn new(config: Config, clients: Arc<Clients>, log: Log) -> Self {
        let mut outlets = Self {
            config,
            clients,
            translator: Translator::default(),
            origins: KnownOrigins::default(),
            open: Vec::new(),
            log,
        };
        outlets.open = outlets.config.outlets.iter().map(|kind| outlets.outlet(*kind)).collect();
        outlets
    }

    fn outlet(&self, kind: OutletKind) -> Outlet {
        let seed =
            u64::try_from(Moment::now().unix.as_nanos()).unwrap_or_default() ^ u64::from(std::process::id());
        match kind {
            OutletKind::Xray => Outlet::Xray(Box::new(Xray::new(
                Arc::clone(&self.clients),
                self.config.buffer_bytes,
                seed,
                self.log.clone(),
            ))),
            OutletKind::Otlp => Outlet::Otlp(Box::new(Otlp::new(
                Arc::clone(&self.clients),
                self.config.otlp_target,
                self.config.buffer_bytes,
                seed,
                self.log.clone(),
            ))),
            OutletKind::Daemon => Outlet::Daemon(Box::new(Daemon::new(
                self.config.daemon.clone(),
                self.clients.variable("AWS_XRAY_DAEMON_ADDRESS"),
                self.config.buffer_bytes,
                self.log.clone(),
            ))),
        }
    }

    /// Whether a flush without new spans would have something to send.
    pub fn has_waiting(&self) -> bool {
        self.open.iter().any(|outlet| outlet.has_waiting() || outlet.has_relayed())
    }

    /// Metrics and logs for the `otlp` outlet, to be sent on with the next flush.
    pub fn relay(&mut self, requests: Vec<Relayed>) {
        if let Some(otlp) = self.open.iter_mut().find_map(Outlet::otlp) {
            otlp.relay(requests);
        }
    }

    /// What became of them since the last time, in requests.
    pub fn take_relayed(&mut self) -> Vec<(OtlpSignal, Accounts)> {
        self.open.iter_mut().find_map(Outlet::otlp).map(Otlp::take_relayed).unwrap_or_default()
    }

    /// Spans that wait in each outlet.
    pub fn waiting_spans(&self) -> Vec<(OutletKind, u64)> {
        self.open.iter().map(|outlet| (outlet.kind(), outlet.waiting_spans())).collect()
    }

    /// Sends the load, and what has waited, through every outlet at once. Nothing runs past the window (P4). A large
    /// load leaves in rounds, so that not all of it is there as documents.
    pub async fn flush(&mut self, mut load: Load, function: Arc<Function>, window: Window) -> Vec<Flushed> {
        let mut flushed: Vec<Flushed> = Vec::new();
        self.translator.expect(load.documents());
        self.open.iter_mut().for_each(Outlet::begin_flush);
        loop {
            let round = Round::next(&mut load, self, &function);
            let is_last = round.is_last;
            for one in self.flush_round(round, window).await {
                match flushed.iter_mut().find(|all| all.outlet == one.outlet) {
                    Some(all) => all.accounts.add(one.accounts),
                    None => flushed.push(one),
                }
            }
            if is_last {
                return flushed;
            }
        }
    }

    async fn flush_round(&mut self, mut round: Round, window: Window) -> Vec<Flushed> {
        let mut takers = self.open.iter().filter(|outlet| outlet.takes_documents()).count();
        let mut under_way = Vec::new();
        for mut outlet in std::mem::take(&mut self.open) {
            let kind = outlet.kind();
            let held = outlet.waiting_spans() + round.total_spans;
            let task = if outlet.takes_documents() {
                takers -= 1;
                // The last one need not copy.
                let documents =
                    if takers == 0 { std::mem::take(&mut round.documents) } else { round.documents.clone() };
                let mut accounts = round.document_accounts.clone();
                tokio::spawn(async move {
                    accounts.add(match &mut outlet {
                        Outlet::Xray(xray) => xray.flush(documents, window).await,
                        Outlet::Daemon(daemon) => daemon.flush(documents, window).await,
                        Outlet::Otlp(_) => Accounts::default(),
                    });
                    (outlet, accounts)
                })
            } else {
                let (spans, mut accounts) =
                    (std::mem::take(&mut round.spans), std::mem::take(&mut round.span_accounts));
                tokio::spawn(async move {
                    if let Outlet::Otlp(otlp) = &mut outlet {
                        accounts.add(otlp.flush(spans, window).await);
                    }
                    (outlet, accounts)
                })
            };
            under_way.push((kind, held, task));
        }
        let mut flushed = Vec::new();
        for (kind, held, task) in under_way {
            let accounts = match task.await {
                Ok((outlet, accounts)) => {
                    self.open.push(outlet);
                    accounts
                }
                Err(failed) => {
                    self.log.say(
                        Level::Error,
                        format_args!("the outlet {} failed, {held} spans are lost: {failed}", kind.name()),
                    );
                    self.open.push(self.outlet(kind));
                    let mut accounts = Accounts::default();
                    accounts.drop(Reason::OutletFailed, held);
                    accounts
                }
            };
            flushed.push(Flushed { outlet: kind, accounts });
        }
        flushed
    }
}

impl Outlets {
    /// Tells X-Ray of the environment's life, as far as its own outlet saw it. What goes wrong is said and no more.
    pub async fn put_telemetry(&self, accounts: &Accounts, until: Instant) {
        let xray = self.open.iter().find_map(|outlet| match outlet {
            Outlet::Xray(xray) => Some(xray),
            Outlet::Daemon(_) | Outlet::Otlp(_) => None,
        });
        let Some((xray, session)) = xray.zip(self.clients.session()) else { return };
        let sent = telemetry::send(&session, accounts, xray.troubles(), Moment::now());
        let failed = match tokio::time::timeout_at(until, sent).await {
            Ok(sent) => sent.err(),
            Err(_) => Some("no answer in the time allowed".to_owned()),
        };
        if let Some(error) = failed {
            self.log.say(
                Level::Warn,
                format_args!(
                    "the telemetry record was not sent ({error}): allow xray:PutTelemetryRecords, or unset \
                     OTEL_XRAY_TELEMETRY_RECORDS"
                ),
            );
        }
    }
}

impl Outlet {
    fn otlp(&mut self) -> Option<&mut Otlp> {
        match self {
            Self::Otlp(otlp) => Some(otlp),
            Self::Xray(_) | Self::Daemon(_) => None,
        }
    }

    fn has_relayed(&self) -> bool {
        matches!(self, Self::Otlp(otlp) if otlp.has_relayed())
    }

    /// What comes from now on is of a flush of its own.
    fn begin_flush(&mut self) {
        match self {
            Self::Xray(xray) => drop(xray.buffer().next_generation()),
            Self::Daemon(daemon) => drop(daemon.buffer().next_generation()),
            Self::Otlp(otlp) => otlp.begin_flush(),
        }
    }

    fn takes_documents(&self) -> bool {
        !matches!(self, Self::Otlp(_))
    }

    fn kind(&self) -> OutletKind {
        match self {
            Self::Xray(_) => OutletKind::Xray,
            Self::Daemon(_) => OutletKind::Daemon,
            Self::Otlp(_) => OutletKind::Otlp,
        }
    }

    fn has_waiting(&self) -> bool {
        match self {
            Self::Xray(xray) => xray.has_waiting(),
            Self::Daemon(daemon) => daemon.has_waiting(),
            Self::Otlp(otlp) => otlp.has_waiting(),
        }
    }

    fn waiting_spans(&self) -> u64 {
        match self {
            Self::Xray(xray) => xray.waiting_spans(),
            Self::Daemon(daemon) => daemon.waiting_spans(),
            Self::Otlp(otlp) => otlp.waiting_spans(),
        }
    }
}
