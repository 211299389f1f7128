//! Connects the stages: takes what arrives, asks the machine what it means, flushes, and lets Lambda go on.

use crate::accounts::{Accounts, Reason, to_json_by_outlet};
use crate::export::{self, Clients, DaemonAddress, Flushed, Moment, Outlets, Window};
use crate::invocation::{Config, Hold, Machine, Signal};
use crate::lambda::{Event, Invoke, Registered, Shutdown, Turn};
use crate::log::{Level, Log};
use crate::losses::Losses;
use crate::receive::Received;
use crate::settings::{OutletKind, Settings};
use crate::translate::{Function, Keep};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// What a shutdown may take where the platform does not say (L-8.9).
const SHUTDOWN_BUDGET: Duration = Duration::from_millis(1300);
/// What is left of a shutdown's time for the process to end in.
const SHUTDOWN_MARGIN: Duration = Duration::from_millis(100);

/// Turns of the runtime without anything new that show that nothing was on its way.
const CATCH_UP_TURNS: usize = 4;
/// Whoever never stops writing is not waited for.
const MAX_CATCH_UP_TURNS: usize = 2000;

/// Everything between the sockets and X-Ray.
#[derive(Debug)]
pub struct Conductor {
    settings: Settings,
    machine: Machine,
    /// What was received, and what did not get as far as the outlets.
    received: Accounts,
    /// What became of the rest, for each outlet.
    ledgers: Vec<(OutletKind, Accounts)>,
    losses: Losses,
    function: Arc<Function>,
    clients: Arc<Clients>,
    /// `None` while a flush has them.
    outlets: Option<Outlets>,
    /// A flush was still running when the environment had to end: what it holds is not known.
    flush_left_behind: bool,
    daemon: DaemonAddress,
    log: Log,
}

/// The invocation whose end is awaited.
#[derive(Debug)]
struct Held {
    finished: oneshot::Sender<()>,
    until: Instant,
    /// Epoch milliseconds of the function's timeout; 0 when not known.
    deadline_ms: u64,
}

/// A flush under way, and who waits for it.
#[derive(Debug)]
struct Flush {
    task: JoinHandle<(Outlets, Vec<Flushed>)>,
    spans: u64,
    finished: Option<oneshot::Sender<()>>,
}

impl Conductor {
    pub fn new(settings: Settings, function: Function, clients: Arc<Clients>, log: Log) -> Self {
        let machine = Machine::new(Config {
            tracing_mode: settings.tracing_mode,
            buffer_bytes: settings.buffer_bytes,
            keeps_unsampled: settings.keep != Keep::Nothing,
        });
        let ledgers = settings.outlets.iter().map(|outlet| (*outlet, Accounts::default())).collect();
        let daemon = DaemonAddress::other_than(settings.daemon);
        let mut conductor = Self {
            settings,
            machine,
            received: Accounts::default(),
            ledgers,
            losses: Losses::default(),
            function: Arc::new(function),
            clients,
            outlets: None,
            flush_left_behind: false,
            daemon,
            log,
        };
        conductor.outlets = Some(conductor.new_outlets());
        conductor
    }

    /// Runs until SHUTDOWN has been dealt with, or Lambda's side is gone.
    pub async fn run(
        mut self,
        mut turns: mpsc::Receiver<Turn>,
        mut received: mpsc::Receiver<Received>,
        registered: oneshot::Receiver<Registered>,
    ) {
        let mut registered = Some(registered);
        let mut held: Option<Held> = None;
        let mut flush: Option<Flush> = None;
        let mut flush_soon = false;
        loop {
            tokio::select! {
                biased;
                Some(arrived) = received.recv() => {
                    match self.take_in(arrived) {
                        Signal::Nothing => {}
                        Signal::FlushSoon => flush_soon = true,
                        Signal::Over => {
                            self.catch_up(&mut received).await;
                            if let Some(held) = held.take() {
                                self.finish_after(flush.take(), &mut flush, held).await;
                            }
                        }
                    }
                }
                () = until(held.as_ref().map(|held| held.until)), if held.is_some() => {
                    self.machine.let_go();
                    if let Some(held) = held.take() {
                        self.finish_after(flush.take(), &mut flush, held).await;
                    }
                }
                result = joined(&mut flush), if flush.is_some() => {
                    if let Some(done) = flush.take() {
                        self.flushed(done, result);
                    }
                }
                turn = turns.recv() => {
                    let Some(Turn { event, finished }) = turn else { return };
                    if let Some(registered) = registered.take() {
                        self.learn(registered.await.unwrap_or_default());
                    }
                    match event {
                        Event::Invoke(invoke) => {
                            self.catch_up(&mut received).await;
                            match self.machine.invoke(&invoke) {
                                Hold::UntilOver => held = Some(self.hold(&invoke, finished)),
                                Hold::AlreadyOver => {
                                    let over = self.hold(&invoke, finished);
                                    self.finish_after(flush.take(), &mut flush, over).await;
                                }
                                Hold::No => {
                                    flush_soon = true;
                                    let _ = finished.send(());
                                }
                            }
                        }
                        Event::Shutdown(shutdown) => {
                            self.shut_down(&shutdown, &mut received, flush.take()).await;
                            let _ = finished.send(());
                            return;
                        }
                    }
                }
            }
            if flush_soon && flush.is_none() && held.is_none() {
                flush_soon = false;
                let until = Instant::now() + self.settings.flush_timeout;
                flush = self.start_flush(until, false, None);
            }
        }
    }

    fn take_in(&mut self, arrived: Received) -> Signal {
        if let Received::Hello(_, hello) = &arrived {
            self.daemon.learn(&hello.env);
            // Builds the client while the function's own code loads.
            let clients = Arc::clone(&self.clients);
            let outlets = self.settings.outlets.clone();
            tokio::spawn(async move { clients.prepare(&outlets) });
        }
        self.machine.receive(arrived, unix_nanos())
    }

    /// Takes in what was written before an event came, or before an invocation was over (DMN-15): each turn of the
    /// runtime moves it one hop, from the socket to a connection's task to the queue. A flush follows anyway.
    async fn catch_up(&mut self, received: &mut mpsc::Receiver<Received>) {
        let mut quiet_turns = 0;
        for _ in 0..MAX_CATCH_UP_TURNS {
            tokio::task::yield_now().await;
            quiet_turns += 1;
            while let Ok(arrived) = received.try_recv() {
                self.take_in(arrived);
                quiet_turns = 0;
            }
            if quiet_turns == CATCH_UP_TURNS {
                return;
            }
        }
    }

    fn learn(&mut self, registered: Registered) {
        let mut function = Function::clone(&self.function);
        if !registered.function_name.is_empty() {
            function.name = registered.function_name;
        }
        if !registered.function_version.is_empty() {
            function.version = registered.function_version;
        }
        function.account_id = registered.account_id.or(function.account_id);
        self.function = Arc::new(function);
    }

    fn hold(&self, invoke: &Invoke, finished: oneshot::Sender<()>) -> Held {
        let left = time_until(invoke.deadline_ms).unwrap_or(Duration::from_mins(15));
        let until = Instant::now() + left.saturating_sub(self.settings.deadline_margin);
        Held { finished, until, deadline_ms: invoke.deadline_ms }
    }

    /// The invocation is over: flush what it left, then let Lambda go on. An earlier flush is waited for, within the
    /// same time.
    async fn finish_after(&mut self, earlier: Option<Flush>, flush: &mut Option<Flush>, held: Held) {
        let left =
            time_until(held.deadline_ms).map(|left| left.saturating_sub(self.settings.deadline_margin));
        let budget = left.unwrap_or(Duration::MAX).min(self.settings.flush_timeout);
        let until = Instant::now() + budget;
        if let Some(mut earlier) = earlier {
            if let Ok(result) = tokio::time::timeout_at(until, &mut earlier.task).await {
                self.flushed(earlier, result);
            } else {
                // It has its own time limit; whoever waits for this invocation does not wait for that one.
                earlier.finished = Some(held.finished);
                *flush = Some(earlier);
                return;
            }
        }
        *flush = self.start_flush(until, false, Some(held.finished));
    }

    /// Starts a flush, or lets Lambda go on at once when there is nothing to send.
    fn start_flush(
        &mut self,
        until: Instant,
        is_last: bool,
        finished: Option<oneshot::Sender<()>>,
    ) -> Option<Flush> {
        self.note_received();
        let mut outlets = self.outlets.take().unwrap_or_else(|| self.new_outlets());
        if !self.machine.has_complete_spans() && !outlets.has_waiting() {
            self.outlets = Some(outlets);
            if let Some(finished) = finished {
                let _ = finished.send(());
            }
            return None;
        }
        let batch = self.machine.take_batch();
        let spans = batch.spans();
        let function = Arc::clone(&self.function);
        let window = Window { now: Moment::now(), until, is_last };
        let task = tokio::spawn(async move {
            let flushed = outlets.flush(batch, function, window).await;
            (outlets, flushed)
        });
        Some(Flush { task, spans, finished })
    }

    fn new_outlets(&self) -> Outlets {
        let config = export::Config {
            outlets: self.settings.outlets.clone(),
            buffer_bytes: self.settings.buffer_bytes,
            daemon: self.daemon.clone(),
            own_otlp: self.settings.otlp_http,
        };
        Outlets::new(config, Arc::clone(&self.clients), self.log.clone())
    }

    fn flushed(&mut self, flush: Flush, result: Result<(Outlets, Vec<Flushed>), tokio::task::JoinError>) {
        match result {
            Ok((outlets, flushed)) => {
                for Flushed { outlet, accounts } in flushed {
                    self.note_flushed(outlet, &accounts, flush.spans, &outlets);
                    self.explain_unsampled(&accounts);
                    self.ledger(outlet).add(accounts);
                }
                self.outlets = Some(outlets);
            }
            Err(error) => {
                self.note_received();
                let held = self.machine.held_spans() as u64;
                for (outlet, accounts) in self.whole_accounts() {
                    let lost = accounts.carried().saturating_sub(held);
                    self.ledger(outlet).drop(Reason::OutletFailed, lost);
                    self.log.say(
                        Level::Error,
                        format_args!("a flush failed, {lost} spans for {} are lost: {error}", outlet.name()),
                    );
                }
                self.outlets = Some(self.new_outlets());
            }
        }
        if let Some(finished) = flush.finished {
            let _ = finished.send(());
        }
    }

    /// Says once why nothing arrives, where so far nothing has been sampled (xray.md section 15, row 4; OTL-4).
    fn explain_unsampled(&self, accounts: &Accounts) {
        let nothing_sent = accounts.sent() == 0 && self.ledgers.iter().all(|(_, ledger)| ledger.sent() == 0);
        if nothing_sent && accounts.dropped(Reason::Unsampled) > 0 {
            self.log.once(
                "unsampled",
                Level::Warn,
                "nobody has sampled this trace, so it is not sent: turn on active tracing for the function, or set \
                 OTEL_XRAY_KEEP to errors or all",
            );
        }
    }

    fn note_received(&mut self) {
        let accounts = self.machine.take_accounts();
        self.note_losses(&accounts);
        self.received.add(accounts);
    }

    fn note_flushed(&mut self, outlet: OutletKind, accounts: &Accounts, spans: u64, outlets: &Outlets) {
        self.note_losses(accounts);
        if self.log.enabled(Level::Debug) {
            let waiting = outlets.waiting_spans();
            let held = waiting.iter().find(|(kind, _)| *kind == outlet).map_or(0, |(_, spans)| *spans);
            self.log.record(Level::Debug, &accounts.flush_to_json(outlet.name(), spans, held));
        }
    }

    fn note_losses(&mut self, accounts: &Accounts) {
        if let Some(line) = self.losses.take_in(accounts, Moment::now()) {
            self.log.record(Level::Warn, &line);
        }
    }

    fn ledger(&mut self, outlet: OutletKind) -> &mut Accounts {
        let index = self.ledgers.iter().position(|(kind, _)| *kind == outlet).unwrap_or_else(|| {
            self.ledgers.push((outlet, Accounts::default()));
            self.ledgers.len() - 1
        });
        &mut self.ledgers[index].1
    }

    /// For each outlet, what was received and what became of it.
    fn whole_accounts(&self) -> Vec<(OutletKind, Accounts)> {
        let whole = |(outlet, ledger): &(OutletKind, Accounts)| {
            let mut accounts = self.received.clone();
            accounts.add(ledger.clone());
            (*outlet, accounts)
        };
        self.ledgers.iter().map(whole).collect()
    }

    async fn shut_down(
        &mut self,
        shutdown: &Shutdown,
        received: &mut mpsc::Receiver<Received>,
        flush: Option<Flush>,
    ) {
        let budget = time_until(shutdown.deadline_ms).unwrap_or(SHUTDOWN_BUDGET).min(SHUTDOWN_BUDGET);
        let until = Instant::now() + budget.saturating_sub(SHUTDOWN_MARGIN);
        if let Some(mut flush) = flush {
            match tokio::time::timeout_at(until, &mut flush.task).await {
                Ok(result) => self.flushed(flush, result),
                Err(_) => self.flush_left_behind = true,
            }
        }
        // What the runtime wrote while it was ending is still in the sockets (L-8.11).
        while let Ok(Some(arrived)) = tokio::time::timeout(Duration::from_millis(5), received.recv()).await {
            self.take_in(arrived);
        }
        self.machine.shut_down(shutdown, unix_nanos());
        if let Some(mut last) = self.start_flush(until, true, None) {
            // The flush ends itself in time; the extra moment is for its return.
            match tokio::time::timeout_at(until + SHUTDOWN_MARGIN / 2, &mut last.task).await {
                Ok(result) => self.flushed(last, result),
                Err(_) => self.flush_left_behind = true,
            }
        }
        self.put_telemetry(until).await;
        self.write_accounts();
    }

    async fn put_telemetry(&mut self, until: Instant) {
        self.received.add(self.machine.take_accounts());
        let accounts = self.whole_accounts().into_iter().find(|(outlet, _)| *outlet == OutletKind::Xray);
        if let (true, Some(outlets), Some((_, accounts))) =
            (self.settings.telemetry_records, &self.outlets, accounts)
        {
            outlets.put_telemetry(&accounts, until).await;
        }
    }

    /// The last line: what was received, and what became of it.
    fn write_accounts(&mut self) {
        self.received.add(self.machine.take_accounts());
        let in_machine = self.machine.held_spans() as u64;
        let outlets = self.outlets.as_ref().filter(|_| !self.flush_left_behind);
        let waiting = outlets.map(Outlets::waiting_spans);
        let whole: Vec<(&str, Accounts, u64)> = self
            .whole_accounts()
            .into_iter()
            .map(|(outlet, accounts)| {
                // A flush that was left behind has everything that is missing.
                let held = waiting.as_ref().map_or_else(
                    || accounts.carried(),
                    |waiting| {
                        let waits = waiting.iter().find(|(kind, _)| *kind == outlet);
                        in_machine + waits.map_or(0, |(_, spans)| *spans)
                    },
                );
                (outlet.name(), accounts, held)
            })
            .collect();
        let is_bad = whole.iter().any(|(_, accounts, held)| accounts.has_losses() || *held > 0);
        let line = match whole.as_slice() {
            [(_, accounts, held)] => accounts.to_json_with(*held),
            several => to_json_by_outlet(&self.received, several),
        };
        self.log.record(if is_bad { Level::Warn } else { Level::Info }, &line);
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

async fn joined(flush: &mut Option<Flush>) -> Result<(Outlets, Vec<Flushed>), tokio::task::JoinError> {
    match flush {
        Some(flush) => (&mut flush.task).await,
        None => std::future::pending().await,
    }
}

fn unix_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The time left until an instant in epoch milliseconds; `None` when there is none (0).
fn time_until(epoch_ms: u64) -> Option<Duration> {
    (epoch_ms > 0).then(|| Duration::from_millis(epoch_ms.saturating_sub(unix_nanos() / 1_000_000)))
}
