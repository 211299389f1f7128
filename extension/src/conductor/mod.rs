//! Connects the stages: takes what arrives, asks the machine what it means, flushes, and lets Lambda go on.

mod books;
mod clock;
mod ending;
mod flushes;

use crate::export::{Clients, DaemonAddress, Outlets};
use crate::invocation::{Config, Hold, Machine, Signal};
use crate::lambda::{Event, Invoke, Registered, Turn};
use crate::log::Log;
use crate::receive::Received;
use crate::settings::Settings;
use crate::translate::{Function, Keep};
use books::Books;
use clock::{instant_of, time_until, unix_nanos, until};
use flushes::{Flush, joined};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Turns of the runtime without anything new that show that nothing was on its way.
const CATCH_UP_TURNS: usize = 4;
/// Whoever never stops writing is not waited for.
const MAX_CATCH_UP_TURNS: usize = 2000;

/// Everything between the sockets and X-Ray.
#[derive(Debug)]
pub struct Conductor {
    settings: Settings,
    machine: Machine,
    books: Books,
    function: Arc<Function>,
    clients: Arc<Clients>,
    /// `None` while a flush has them.
    outlets: Option<Outlets>,
    flush: Option<Flush>,
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

impl Conductor {
    pub fn new(settings: Settings, function: Function, clients: Arc<Clients>, log: Log) -> Self {
        let machine = Machine::new(Config {
            tracing_mode: settings.tracing_mode,
            buffer_bytes: settings.buffer_bytes,
            keeps_unsampled: settings.keep != Keep::Nothing,
            memory_mb: function.memory_mb.parse().ok(),
        });
        let books = Books::new(&settings.outlets, log.clone());
        let daemon = DaemonAddress::other_than(settings.daemon);
        let mut conductor = Self {
            settings,
            machine,
            books,
            function: Arc::new(function),
            clients,
            outlets: None,
            flush: None,
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
        let mut flush_soon = false;
        loop {
            tokio::select! {
                biased;
                Some(arrived) = received.recv() => {
                    let signal = self.take_in(arrived);
                    if signal == Signal::Over {
                        self.catch_up(&mut received).await;
                    }
                    flush_soon |= self.follow(signal, &mut held).await;
                }
                () = until(self.machine.due_unix_nano().map(instant_of)) => {
                    let signal = self.machine.wake(unix_nanos());
                    flush_soon |= self.follow(signal, &mut held).await;
                }
                () = until(held.as_ref().map(|held| held.until)), if held.is_some() => {
                    self.machine.let_go();
                    if let Some(held) = held.take() {
                        self.finish_after(held).await;
                    }
                }
                result = joined(&mut self.flush), if self.flush.is_some() => {
                    if let Some(done) = self.flush.take() {
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
                            match self.machine.invoke(&invoke, unix_nanos()) {
                                Hold::UntilOver => held = Some(self.hold(&invoke, finished)),
                                Hold::AlreadyOver => {
                                    let over = self.hold(&invoke, finished);
                                    self.finish_after(over).await;
                                }
                                Hold::No => {
                                    flush_soon = true;
                                    let _ = finished.send(());
                                }
                            }
                        }
                        Event::Shutdown(shutdown) => {
                            self.shut_down(&shutdown, &mut received).await;
                            let _ = finished.send(());
                            return;
                        }
                    }
                }
            }
            if flush_soon && self.flush.is_none() && held.is_none() {
                flush_soon = false;
                self.flush_unheld();
            }
        }
    }

    /// Does what a signal asks for; true when a flush is to follow soon.
    async fn follow(&mut self, signal: Signal, held: &mut Option<Held>) -> bool {
        if signal == Signal::Over
            && let Some(held) = held.take()
        {
            self.finish_after(held).await;
        }
        signal == Signal::FlushSoon
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
}
