//! Connects the stages: takes what arrives, asks the machine what it means, flushes, and lets Lambda go on.

use crate::accounts::{Accounts, Reason};
use crate::export::{Clients, Exporter};
use crate::invocation::{Batch, Config, Hold, Machine, Signal};
use crate::lambda::{Event, Invoke, Registered, Shutdown, Turn};
use crate::log::{Level, Log};
use crate::receive::Received;
use crate::settings::Settings;
use crate::translate::{Function, Keep, Translator};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// What a shutdown may take where the platform does not say (L-8.9).
const SHUTDOWN_BUDGET: Duration = Duration::from_millis(1300);
/// What is left of a shutdown's time for the process to end in.
const SHUTDOWN_MARGIN: Duration = Duration::from_millis(100);

const CATCH_UP_TURNS: usize = 4;

/// Everything between the sockets and X-Ray.
#[derive(Debug)]
pub struct Conductor {
    settings: Settings,
    machine: Machine,
    accounts: Accounts,
    function: Arc<Function>,
    clients: Arc<Clients>,
    /// `None` while a flush has them.
    way_out: Option<WayOut>,
    log: Log,
}

/// What spans pass on their way out.
#[derive(Debug)]
struct WayOut {
    translator: Translator,
    exporter: Exporter,
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
    task: JoinHandle<(WayOut, Accounts)>,
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
        let exporter = Exporter::new(Arc::clone(&clients), settings.buffer_bytes, log.clone());
        let way_out = Some(WayOut { translator: Translator::default(), exporter });
        Self {
            settings,
            machine,
            accounts: Accounts::default(),
            function: Arc::new(function),
            clients,
            way_out,
            log,
        }
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
                flush = self.start_flush(until, None);
            }
        }
    }

    fn take_in(&mut self, arrived: Received) -> Signal {
        if matches!(arrived, Received::Hello(..)) {
            // Builds the client while the function's own code loads.
            let clients = Arc::clone(&self.clients);
            tokio::spawn(async move { drop(clients.get().await) });
        }
        self.machine.receive(arrived, unix_nanos())
    }

    /// Takes in what was written before an event came: each turn of the runtime moves it one hop, from the socket to
    /// a connection's task to the queue. Nothing is held while this runs, and a flush follows the event anyway.
    async fn catch_up(&mut self, received: &mut mpsc::Receiver<Received>) {
        for _ in 0..CATCH_UP_TURNS {
            tokio::task::yield_now().await;
            while let Ok(arrived) = received.try_recv() {
                self.take_in(arrived);
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
        *flush = self.start_flush(until, Some(held.finished));
    }

    /// Starts a flush, or lets Lambda go on at once when there is nothing to send.
    fn start_flush(&mut self, until: Instant, finished: Option<oneshot::Sender<()>>) -> Option<Flush> {
        self.accounts.add(self.machine.take_accounts());
        let waiting = self.way_out.as_ref().is_some_and(|way_out| way_out.exporter.waiting() > 0);
        if !self.machine.has_complete_spans() && !waiting {
            if let Some(finished) = finished {
                let _ = finished.send(());
            }
            return None;
        }
        let batch = self.machine.take_batch();
        let spans = batch.spans.len() as u64;
        let way_out = self.way_out.take().unwrap_or_else(|| self.new_way_out());
        let function = Arc::clone(&self.function);
        let task = tokio::spawn(flush(way_out, batch, function, until));
        Some(Flush { task, spans, finished })
    }

    fn new_way_out(&self) -> WayOut {
        let exporter = Exporter::new(Arc::clone(&self.clients), self.settings.buffer_bytes, self.log.clone());
        WayOut { translator: Translator::default(), exporter }
    }

    fn flushed(&mut self, flush: Flush, result: Result<(WayOut, Accounts), tokio::task::JoinError>) {
        match result {
            Ok((way_out, accounts)) => {
                self.accounts.add(accounts);
                self.way_out = Some(way_out);
            }
            Err(error) => {
                self.log.say(
                    Level::Error,
                    format_args!("a flush failed, {} spans are lost: {error}", flush.spans),
                );
                let held = self.machine.held_spans() as u64;
                self.accounts.add(self.machine.take_accounts());
                let lost = self.accounts.carried().saturating_sub(held);
                self.accounts.drop(Reason::TranslateFailed, lost);
                self.way_out = Some(self.new_way_out());
            }
        }
        if let Some(finished) = flush.finished {
            let _ = finished.send(());
        }
    }

    async fn shut_down(
        &mut self,
        shutdown: &Shutdown,
        received: &mut mpsc::Receiver<Received>,
        flush: Option<Flush>,
    ) {
        let budget = time_until(shutdown.deadline_ms).unwrap_or(SHUTDOWN_BUDGET).min(SHUTDOWN_BUDGET);
        let until = Instant::now() + budget.saturating_sub(SHUTDOWN_MARGIN);
        if let Some(mut flush) = flush
            && let Ok(result) = tokio::time::timeout_at(until, &mut flush.task).await
        {
            self.flushed(flush, result);
        }
        // What the runtime wrote while it was ending is still in the sockets (L-8.11).
        while let Ok(Some(arrived)) = tokio::time::timeout(Duration::from_millis(5), received.recv()).await {
            self.take_in(arrived);
        }
        self.machine.shut_down(shutdown, unix_nanos());
        if let Some(mut last) = self.start_flush(until, None) {
            // The flush ends itself in time; the extra moment is for its return.
            let result = tokio::time::timeout_at(until + SHUTDOWN_MARGIN / 2, &mut last.task).await;
            if let Ok(result) = result {
                self.flushed(last, result);
            }
        }
        let level =
            if self.accounts.has_losses() || self.accounts.carried() > 0 { Level::Warn } else { Level::Info };
        self.log.record(level, &self.accounts.to_json());
    }
}

async fn flush(
    mut way_out: WayOut,
    batch: Batch,
    function: Arc<Function>,
    until: Instant,
) -> (WayOut, Accounts) {
    let translated = way_out.translator.translate(&batch, &function);
    drop(batch);
    let mut accounts = translated.accounts;
    accounts.add(way_out.exporter.flush(translated.documents, until).await);
    (way_out, accounts)
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

async fn joined(flush: &mut Option<Flush>) -> Result<(WayOut, Accounts), tokio::task::JoinError> {
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
