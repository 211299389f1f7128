//! Connects the stages: takes what arrives, asks the machine what it means, flushes, and lets Lambda go on.
//!
//! Started by `main`. In come turns of [`crate::lambda`] and what was received; a turn is given back when Lambda may go on.

mod books;
mod clock;
mod ending;
mod flushes;
mod losses;
mod relays;
mod rhythm;
mod termination;

use crate::export::{Clients, DaemonAddress, Moment, Outlets};
use crate::invocation::{Config, Hold, Machine, Signal};
use crate::lambda::{Event, Invoke, Registered, Shutdown, Turn};
use crate::ledger::Ledger;
use crate::log::Log;
use crate::received::Received;
use crate::settings::{OutletKind, Settings, Spool};
use crate::translate::Function;
use books::Books;
use clock::{instant_of, time_until, unix_nanos, until};
use flushes::{Flush, joined};
use relays::Relays;
use rhythm::Rhythm;
use std::sync::Arc;
use std::time::Duration;
use termination::{Termination, asked_to_end};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// How long nothing comes from an SDK whose invocation is taken to be over then.
const QUIET: Duration = Duration::from_millis(50);
/// Turns of the runtime without anything new that show that nothing was on its way.
const CATCH_UP_TURNS: usize = 4;
/// Whoever never stops writing is not waited for.
const MAX_CATCH_UP_TURNS: usize = 2000;

/// Everything between the sockets and X-Ray.
#[derive(Debug)]
pub struct Conductor {
    settings: Settings,
    machine: Machine,
    /// What is held in all places together.
    ledger: Ledger,
    books: Books,
    relays: Relays,
    function: Arc<Function>,
    clients: Arc<Clients>,
    /// `None` while a flush has them.
    outlets: Option<Outlets>,
    flush: Option<Flush>,
    /// Something is to leave as soon as nothing is held and no flush is under way.
    flush_soon: bool,
    rhythm: Rhythm,
    held: Option<Held>,
    /// When to look for what has been running for long.
    progress_at: Option<Instant>,
    /// The clocks at the last event.
    seen: Moment,
    /// What an earlier process may have left; `None` when it has been read.
    spool_to_read: Option<Spool>,
    /// Spans that wait in a file for the next process.
    handed_over: u64,
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
    /// It is over when nothing has come for a while.
    ends_when_quiet: bool,
    /// Epoch milliseconds of the function's timeout; 0 when not known.
    deadline_ms: u64,
}

impl Conductor {
    pub fn new(settings: Settings, function: Function, clients: Arc<Clients>, log: Log) -> Self {
        let ledger = Ledger::new(settings.buffer_bytes);
        let machine = Machine::new(Config {
            tracing_mode: settings.tracing_mode,
            ledger: ledger.clone(),
            keeps_whole_traces: settings.outlets.iter().all(|outlet| *outlet == OutletKind::Otlp),
            sampling: settings.sampling,
            keep: settings.keep,
            service_name: function.name.clone(),
            memory_mb: function.memory_mb.parse().ok(),
        });
        let (flush_strategy, now) = (settings.flush, Moment::now());
        let spool_to_read = settings.spool.clone();
        let books = Books::new(&settings.outlets, log.clone());
        let relays = Relays::new(settings.outlets.contains(&OutletKind::Otlp), &ledger.share(2), log.clone());
        let daemon = DaemonAddress::other_than(clients.own().clone());
        let mut conductor = Self {
            settings,
            machine,
            ledger,
            books,
            relays,
            function: Arc::new(function),
            clients,
            outlets: None,
            flush: None,
            flush_soon: false,
            rhythm: Rhythm::new(flush_strategy, now),
            held: None,
            progress_at: None,
            seen: now,
            spool_to_read,
            handed_over: 0,
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
        // Before it is registered there is nothing to lose.
        let mut termination = None;
        loop {
            let held_until = self.held.as_ref().map(|held| held.until);
            let due = if self.flush.is_none() { self.due() } else { None };
            tokio::select! {
                biased;
                // What must not starve comes first; an event looks at what has arrived before it.
                () = asked_to_end(termination.as_ref()), if termination.is_some() => {
                    let shutdown = Shutdown { reason: "spindown".to_owned(), deadline_ms: 0 };
                    self.shut_down(&shutdown, &mut received).await;
                    if let Some(termination) = termination.take() {
                        match termination.end() {}
                    }
                }
                () = until(held_until), if held_until.is_some() => {
                    self.machine.let_go();
                    self.follow(Signal::Over).await;
                }
                turn = turns.recv() => {
                    let Some(Turn { event, finished }) = turn else { return };
                    if registered.is_some() {
                        self.learn(said(&mut registered).await);
                        registered = None;
                        termination = Termination::hold_back();
                    }
                    match event {
                        Event::Invoke(invoke) => self.begin(&invoke, finished, &mut received).await,
                        Event::Shutdown(shutdown) => {
                            self.shut_down(&shutdown, &mut received).await;
                            let _ = finished.send(());
                            return;
                        }
                    }
                }
                Some(arrived) = received.recv() => {
                    let signal = self.take_in(arrived);
                    if signal == Signal::Over {
                        self.catch_up(&mut received).await;
                    }
                    self.follow(signal).await;
                }
                () = until(self.machine.due_unix_nano().map(instant_of)) => {
                    let signal = self.machine.wake(unix_nanos());
                    self.follow(signal).await;
                }
                result = joined(&mut self.flush), if self.flush.is_some() => {
                    if let Some(done) = self.flush.take() {
                        self.flushed(done, result);
                    }
                }
                () = until(due), if due.is_some() => self.flush_unheld(held_until),
                () = until(self.progress_at), if self.progress_at.is_some() => {
                    self.plan_progress();
                    self.show_progress(held_until);
                }
                said = said(&mut registered), if registered.is_some() => {
                    registered = None;
                    self.learn(said);
                    termination = Termination::hold_back();
                }
            }
            if self.flush_soon && self.flush.is_none() && self.held.is_none() {
                self.flush_soon = false;
                if self.rhythm.interval(Moment::now()).is_none() {
                    self.flush_unheld(None);
                }
            }
        }
    }

    async fn begin(
        &mut self,
        invoke: &Invoke,
        finished: oneshot::Sender<()>,
        received: &mut mpsc::Receiver<Received>,
    ) {
        self.notice_restore();
        self.rhythm.invoked(Moment::now());
        self.catch_up(received).await;
        self.restore();
        self.try_beside().await;
        let hold = self.machine.invoke(invoke, unix_nanos());
        self.plan_progress();
        match hold {
            Hold::UntilOver => self.held = Some(self.hold(invoke, finished)),
            Hold::UntilQuiet => {
                self.held = Some(Held { ends_when_quiet: true, ..self.hold(invoke, finished) });
                self.expect_quiet();
            }
            Hold::AlreadyOver => self.finish_after(self.hold(invoke, finished)).await,
            // Nothing of it is sent, but X-Ray hears how often that was so (SMP-16).
            Hold::No if self.machine.has_sampling_due(unix_nanos()) => {
                self.finish_after(self.hold(invoke, finished)).await;
            }
            Hold::No => {
                self.flush_soon = true;
                let _ = finished.send(());
            }
        }
    }

    /// Something has come, or may come: from now on it has to be quiet for a while.
    fn expect_quiet(&mut self) {
        if let Some(held) = self.held.as_mut().filter(|held| held.ends_when_quiet) {
            held.until = Instant::now() + QUIET.min(time_until(held.deadline_ms).unwrap_or(QUIET));
        }
    }

    /// Does what a signal asks for.
    async fn follow(&mut self, signal: Signal) {
        match signal {
            Signal::Nothing => {}
            Signal::FlushSoon => self.flush_soon = true,
            Signal::Over => {
                if let Some(held) = self.held.take() {
                    self.finish_after(held).await;
                }
            }
        }
    }

    /// A clock that has moved without the other means that this memory was stopped, and perhaps copied (L-8.5, L-8.24).
    fn notice_restore(&mut self) {
        let now = Moment::now();
        if now.is_torn_from(self.seen) {
            self.clients.renew();
        }
        self.seen = now;
    }

    fn plan_progress(&mut self) {
        self.progress_at = self.settings.progress_after.map(|after| Instant::now() + after);
    }

    fn take_in(&mut self, arrived: Received) -> Signal {
        let arrived = match arrived {
            Received::Weighed(large, _room) => return self.take_in(*large),
            Received::Relayed(request) => return self.relays.take_in(request),
            arrived => arrived,
        };
        match &arrived {
            Received::Hello(_, hello) => {
                self.daemon.learn(&hello.env);
                // Builds the client while the function's own code loads.
                let clients = Arc::clone(&self.clients);
                let outlets = self.settings.outlets.clone();
                tokio::spawn(async move { clients.prepare(&outlets) });
            }
            Received::Platform(event) if event.record.is_restore() => self.clients.renew(),
            Received::Otlp(_) | Received::Spans(_) | Received::Document(_) => self.expect_quiet(),
            _ => {}
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
        if !registered.hears_of_invocations {
            self.rhythm.without_invocations();
            self.machine.expect_no_events();
            self.plan_progress();
        }
        function.account_id = registered.account_id.or(function.account_id);
        self.function = Arc::new(function);
    }

    fn hold(&self, invoke: &Invoke, finished: oneshot::Sender<()>) -> Held {
        let left = time_until(invoke.deadline_ms).unwrap_or(Duration::from_mins(15));
        let until = Instant::now() + left.saturating_sub(self.settings.deadline_margin);
        Held { finished, until, ends_when_quiet: false, deadline_ms: invoke.deadline_ms }
    }
}

/// What registration has said; what it would say if it has failed is nothing.
async fn said(registered: &mut Option<oneshot::Receiver<Registered>>) -> Registered {
    match registered {
        Some(registered) => registered.await.unwrap_or_default(),
        None => Registered::default(),
    }
}
