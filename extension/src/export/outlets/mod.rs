//! All outlets together: one flush of a load through each of them.

mod outlet;
mod round;
mod survival;

use crate::accounts::Accounts;
use crate::export::client::Clients;
use crate::export::daemon::Daemon;
use crate::export::daemon::DaemonAddress;
use crate::export::otlp::{KnownOrigins, Otlp};
use crate::export::pacing::clocks::{Moment, Window};
use crate::export::pacing::panics::caught;
use crate::export::xray::Xray;
use crate::export::xray::sampling::Questions;
use crate::invocation::Load;
use crate::ledger::Ledger;
use crate::log::{Level, Log};
use crate::received::{OtlpSignal, Relayed};
use crate::sampling::{Due, Learned};
use crate::settings::OutletKind;
use crate::translate::{Function, Target, Translator};
use outlet::Outlet;
use round::Round;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use tokio::time::Instant;

/// What every outlet is built with.
#[derive(Debug, Clone)]
pub struct Config {
    pub outlets: Vec<OutletKind>,
    /// Counts what is kept while other sides can't be reached.
    pub ledger: Ledger,
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
    questions: Questions,
    log: Log,
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
            questions: Questions::new(seed()),
            log,
        };
        outlets.open = outlets.config.outlets.iter().map(|kind| outlets.outlet(*kind)).collect();
        outlets
    }

    fn outlet(&self, kind: OutletKind) -> Outlet {
        let seed = seed();
        let share = self.config.ledger.share(self.config.outlets.len());
        match kind {
            OutletKind::Xray => {
                Outlet::Xray(Box::new(Xray::new(Arc::clone(&self.clients), &share, seed, self.log.clone())))
            }
            OutletKind::Otlp => Outlet::Otlp(Box::new(Otlp::new(
                Arc::clone(&self.clients),
                self.config.otlp_target,
                &share,
                seed,
                self.log.clone(),
            ))),
            OutletKind::Daemon => Outlet::Daemon(Box::new(Daemon::new(
                self.config.daemon.clone(),
                self.clients.variable("AWS_XRAY_DAEMON_ADDRESS"),
                &share,
                self.log.clone(),
            ))),
        }
    }

    /// Whether a flush without new spans would have something to send, or to take in.
    pub fn has_waiting(&self) -> bool {
        self.questions.is_asking()
            || self.open.iter().any(|outlet| outlet.has_waiting() || outlet.has_relayed())
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

    /// Sends the load, and what has waited, through every outlet at once. Nothing runs past the window (P4), nor past
    /// the end of `cut`. A large load leaves in rounds, so that not all of it is there as documents. Whatever happens to
    /// an outlet meanwhile, what it holds is still in it.
    pub async fn flush(
        &mut self,
        mut load: Load,
        function: Arc<Function>,
        window: Window,
        cut: impl Future<Output = ()>,
    ) -> Vec<Flushed> {
        let mut flushed: Vec<Flushed> = Vec::new();
        self.translator.expect(load.documents());
        self.open.iter_mut().for_each(Outlet::begin_flush);
        let mut cut = pin!(cut);
        let mut is_cut = false;
        loop {
            let round = Round::next(&mut load, self, &function);
            let is_last = round.is_last;
            let spans = if load.is_progress() { 0 } else { round.total_spans };
            let before = self.take_in(round);
            let ends = if is_cut {
                Vec::new()
            } else {
                tokio::select! {
                    ends = self.send(window) => ends,
                    () = &mut cut => {
                        is_cut = true;
                        Vec::new()
                    }
                }
            };
            for one in self.settle(window, spans, before, ends) {
                match flushed.iter_mut().find(|all| all.outlet == one.outlet) {
                    Some(all) => all.accounts.add(one.accounts),
                    None => flushed.push(one),
                }
            }
            if is_last {
                self.questions.settle(window);
                return flushed;
            }
        }
    }

    /// Gives each outlet what it takes of a round. What each held before comes back, with what is lost of the round.
    fn take_in(&mut self, mut round: Round) -> Vec<(u64, Accounts)> {
        let mut takers = self.open.iter().filter(|outlet| outlet.takes_documents()).count();
        let mut before = Vec::new();
        for outlet in &mut self.open {
            let held = outlet.waiting_spans();
            if let Outlet::Otlp(otlp) = outlet {
                otlp.take_in(std::mem::take(&mut round.spans));
                before.push((held, std::mem::take(&mut round.span_accounts)));
                continue;
            }
            takers -= 1;
            // The last one need not copy.
            let documents =
                if takers == 0 { std::mem::take(&mut round.documents) } else { round.documents.clone() };
            match outlet {
                Outlet::Xray(xray) => xray.take_in(documents),
                Outlet::Daemon(daemon) => daemon.take_in(documents),
                Outlet::Otlp(_) => {}
            }
            before.push((held, round.document_accounts.clone()));
        }
        before
    }

    /// Sends what the outlets hold, and says of each whether it panicked over that.
    async fn send(&mut self, window: Window) -> Vec<Result<(), String>> {
        let flushes = self.open.iter_mut().map(|outlet| caught(outlet.flush(window))).collect();
        let (ends, ()) = tokio::join!(all(flushes), self.questions.answered(window));
        ends
    }

    fn settle(
        &mut self,
        window: Window,
        spans: u64,
        before: Vec<(u64, Accounts)>,
        ends: Vec<Result<(), String>>,
    ) -> Vec<Flushed> {
        let mut ends = ends.into_iter();
        let settled = self.open.iter_mut().zip(before).map(|(outlet, (held, mut accounts))| {
            accounts.add(outlet.settle(window));
            if let Some(Err(panic)) = ends.next() {
                outlet.failed(&panic, held.saturating_add(spans), &mut accounts, &self.log);
            }
            Flushed { outlet: outlet.kind(), accounts }
        });
        settled.collect()
    }

    /// Whether X-Ray may be asked about sampling in this window; `is_beside_all` where no end of an invocation waits for
    /// a flush.
    pub fn may_ask(&self, window: Window, is_beside_all: bool) -> bool {
        self.questions.may_ask(window, is_beside_all)
    }

    /// Asks X-Ray about sampling. The flush in the same window waits for the answer, if one does.
    pub fn ask(&mut self, due: Due, window: Window) {
        self.questions.ask(due, &self.clients, window, &self.log);
    }

    /// Takes the answer that is there, without waiting for one.
    pub async fn hear(&mut self, window: Window) {
        if self.questions.is_asking() {
            self.questions.answered(window).await;
        }
    }

    /// What X-Ray has answered since the last time.
    pub fn take_learned(&mut self) -> Option<Learned> {
        self.questions.take_learned()
    }

    /// Tries what is due beside a function that begins now; nobody waits for it. A probe is one request.
    pub fn probe(&mut self, window: Window) {
        for outlet in &mut self.open {
            match outlet {
                Outlet::Xray(xray) => xray.probe(window),
                Outlet::Otlp(otlp) => otlp.probe(window),
                // A datagram costs nothing and has no answer.
                Outlet::Daemon(_) => {}
            }
        }
    }
}

/// Another for each process and moment.
fn seed() -> u64 {
    u64::try_from(Moment::now().unix.as_nanos()).unwrap_or_default() ^ u64::from(std::process::id())
}

/// Runs these beside each other, to the end of the last.
async fn all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut running: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        let mut is_done = true;
        for (future, output) in running.iter_mut().filter(|(_, output)| output.is_none()) {
            match future.as_mut().poll(context) {
                Poll::Ready(ready) => *output = Some(ready),
                Poll::Pending => is_done = false,
            }
        }
        if is_done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    running.into_iter().filter_map(|(_, output)| output).collect()
}

impl Outlets {
    /// Tells X-Ray of the environment's life, as far as its own outlet saw it. What goes wrong is said and no more.
    pub async fn put_telemetry(&self, accounts: &Accounts, until: Instant) {
        let xray = self.open.iter().find_map(|outlet| match outlet {
            Outlet::Xray(xray) => Some(xray),
            Outlet::Daemon(_) | Outlet::Otlp(_) => None,
        });
        let Some((xray, session)) = xray.zip(self.clients.session()) else { return };
        let sent =
            caught(crate::export::xray::telemetry::send(&session, accounts, xray.troubles(), Moment::now()));
        let failed = match tokio::time::timeout_at(until, sent).await {
            Ok(sent) => sent.and_then(|sent| sent).err(),
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
