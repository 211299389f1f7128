//! Flushes: one at a time, beside everything else, and never past the time there is (P4).

use super::clock::{time_until, unix_nanos};
use super::{Conductor, Held};
use crate::accounts::Reason;
use crate::export::{self, Flushed, Moment, Occasion, Outlets, Waiting, Window};
use crate::invocation::Load;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;

/// The longest flush while nobody waits for one. SHUTDOWN may come in the middle of it, and has 1.3 s (L-8.9).
const UNHELD: Duration = Duration::from_secs(1);

/// A flush under way, and who waits for it.
#[derive(Debug)]
pub(super) struct Flush {
    pub(super) task: JoinHandle<(Outlets, Vec<Flushed>)>,
    spans: u64,
    finished: Option<oneshot::Sender<()>>,
    /// Ends it before its time.
    pub(super) cut: oneshot::Sender<()>,
}

/// What a flush ends with.
pub(super) type FlushResult = Result<(Outlets, Vec<Flushed>), JoinError>;

impl Conductor {
    /// The invocation is over: flush what it left, then let Lambda go on. An earlier flush is waited for, within the
    /// same time.
    pub(super) async fn finish_after(&mut self, held: Held) {
        if self.rhythm.interval(Moment::now()).is_some() {
            self.let_go_on(held.finished);
            return;
        }
        let left =
            time_until(held.deadline_ms).map(|left| left.saturating_sub(self.settings.deadline_margin));
        let budget = left.unwrap_or(Duration::MAX).min(self.settings.flush_timeout);
        let until = after(budget);
        if let Some(mut earlier) = self.flush.take() {
            if let Ok(result) = tokio::time::timeout_at(until, &mut earlier.task).await {
                self.flushed(earlier, result);
            } else {
                self.flush = Some(earlier);
                self.let_go_on(held.finished);
                return;
            }
        }
        self.start_flush(until, Occasion::Held, Some(held.finished));
    }

    /// Lets Lambda go on when the flush under way has ended: a freeze in the middle would cut it (L-8.7). It has its own
    /// time limit.
    fn let_go_on(&mut self, finished: oneshot::Sender<()>) {
        match &mut self.flush {
            Some(flush) => flush.finished = Some(finished),
            None => drop(finished.send(())),
        }
    }

    /// Sends what there is while Lambda waits for nothing; `latest` is when it will.
    pub(super) fn flush_unheld(&mut self, latest: Option<Instant>) {
        self.start_flush(self.unheld_until(latest), Occasion::Beside, None);
    }

    fn unheld_until(&self, latest: Option<Instant>) -> Instant {
        let until = after(self.settings.flush_timeout.min(UNHELD));
        latest.map_or(until, |latest| until.min(latest))
    }

    /// When spans are to leave that no end of an invocation sends.
    pub(super) fn due(&self) -> Option<Instant> {
        let outlets = self.outlets.as_ref()?;
        let now = Moment::now();
        let is_new = self.machine.has_something_new();
        let is_question = || {
            let window = Window { now, until: now.instant, occasion: Occasion::Beside };
            self.machine.has_sampling_due(unix_nanos()) && outlets.may_ask(window, true)
        };
        if !is_new && !self.relays.has_waiting() && !outlets.has_waiting() && !is_question() {
            return None;
        }
        let spans = if is_new { self.machine.held_spans() } else { 0 };
        now.instant.checked_add(self.rhythm.due_in(now, spans)?)
    }

    /// Shows what has been running for long while it runs, unless a flush is under way.
    pub(super) fn show_progress(&mut self, latest: Option<Instant>) {
        let (Some(after), None) = (self.settings.progress_after, &self.flush) else { return };
        let Some(outlets) = self.outlets.take() else { return };
        match self.machine.progress(after, unix_nanos()) {
            Some(load) => {
                let until = self.unheld_until(latest);
                let window = Window { now: Moment::now(), until, occasion: Occasion::Beside };
                self.spawn_flush(outlets, load, window, None);
            }
            None => self.outlets = Some(outlets),
        }
    }

    /// Starts a flush, or lets Lambda go on at once when there is nothing to send.
    pub(super) fn start_flush(
        &mut self,
        until: Instant,
        occasion: Occasion,
        finished: Option<oneshot::Sender<()>>,
    ) {
        self.books.note_received(self.machine.take_accounts());
        self.restore();
        let mut outlets = self.outlets.take().unwrap_or_else(|| self.new_outlets());
        outlets.relay(self.relays.hand_over());
        let window = Window { now: Moment::now(), until, occasion };
        // Behind an invocation, while the environment is awake for it: there are no timers in a freeze (SMP-17).
        if finished.is_some() || occasion == Occasion::Beside && self.rhythm.interval(window.now).is_some() {
            self.ask(&mut outlets, window);
        }
        if !self.machine.has_something_new() && !outlets.has_waiting() {
            self.outlets = Some(outlets);
            if let Some(finished) = finished {
                let _ = finished.send(());
            }
            return;
        }
        let load = self.machine.take_load();
        self.rhythm.flushed(window.now);
        self.spawn_flush(outlets, load, window, finished);
    }

    /// Tries what has failed before, beside the function that begins now.
    pub(super) async fn try_beside(&mut self) {
        let Some(mut outlets) = self.outlets.take() else { return };
        let until = after(self.settings.flush_timeout.max(UNHELD));
        let window = Window { now: Moment::now(), until, occasion: Occasion::Beside };
        outlets.probe(window);
        outlets.hear(window).await;
        self.learn_sampling(&mut outlets);
        self.ask(&mut outlets, window);
        self.outlets = Some(outlets);
    }

    fn learn_sampling(&mut self, outlets: &mut Outlets) {
        if let Some(learned) = outlets.take_learned() {
            self.machine.learn_sampling(&learned, unix_nanos());
        }
    }

    /// Asks X-Ray what is due about sampling, where this is the time for it.
    fn ask(&mut self, outlets: &mut Outlets, window: Window) {
        let is_beside_all = self.rhythm.interval(window.now).is_some();
        let may_ask = outlets.may_ask(window, is_beside_all);
        let due = if may_ask { self.machine.sampling_due(unix_nanos()) } else { None };
        if let Some(due) = due {
            outlets.ask(due, window);
        }
    }

    fn spawn_flush(
        &mut self,
        mut outlets: Outlets,
        load: Load,
        window: Window,
        finished: Option<oneshot::Sender<()>>,
    ) {
        let spans = if load.is_progress() { 0 } else { load.total_spans() };
        let function = Arc::clone(&self.function);
        let (cut, is_cut) = oneshot::channel();
        let task = tokio::spawn(async move {
            let cut = async {
                if is_cut.await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            let flushed = outlets.flush(load, function, window, cut).await;
            (outlets, flushed)
        });
        self.flush = Some(Flush { task, spans, finished, cut });
    }

    /// Takes over what an earlier process has left, once. Not before there is something to do: the start is not
    /// delayed for it.
    pub(super) fn restore(&mut self) {
        let Some(outlets) = &mut self.outlets else { return };
        let Some(spool) = self.spool_to_read.take() else { return };
        let mut waiting = Waiting::default();
        for taken in outlets.restore(&spool, Moment::now(), &mut waiting) {
            self.books.note(taken);
        }
        self.machine.take_over(waiting.spans);
    }

    pub(super) fn new_outlets(&self) -> Outlets {
        let config = export::Config {
            outlets: self.settings.outlets.clone(),
            ledger: self.ledger.clone(),
            daemon: self.daemon.clone(),
            otlp_target: self.settings.otlp_target,
        };
        Outlets::new(config, Arc::clone(&self.clients), self.log.clone())
    }

    /// Takes down what a flush did, and lets go whoever waited for it.
    pub(super) fn flushed(&mut self, flush: Flush, result: FlushResult) {
        match result {
            Ok((mut outlets, flushed)) => {
                self.learn_sampling(&mut outlets);
                self.relays.note(outlets.take_relayed());
                let waiting = outlets.waiting_spans();
                for flushed in flushed {
                    let held = waiting.iter().find(|(kind, _)| *kind == flushed.outlet);
                    self.books.note_flushed(flushed, flush.spans, held.map_or(0, |(_, spans)| *spans));
                }
                self.outlets = Some(outlets);
            }
            Err(error) => {
                self.books.note_received(self.machine.take_accounts());
                let held = self.machine.held_spans() as u64;
                // Its words may quote a span.
                let why = if error.is_panic() { "by a defect" } else { "cut short" };
                self.books.drop_missing(Reason::OutletFailed, |_| held, &why);
                self.outlets = Some(self.new_outlets());
            }
        }
        if let Some(finished) = flush.finished {
            let _ = finished.send(());
        }
    }
}

/// So long from now, or as good as never.
pub(super) fn after(time: Duration) -> Instant {
    const NEVER: Duration = Duration::from_hours(24 * 365);
    let now = Instant::now();
    now.checked_add(time).or_else(|| now.checked_add(NEVER)).unwrap_or(now)
}

/// Waits for the flush that is under way, or for ever.
pub(super) async fn joined(flush: &mut Option<Flush>) -> FlushResult {
    match flush {
        Some(flush) => (&mut flush.task).await,
        None => std::future::pending().await,
    }
}
