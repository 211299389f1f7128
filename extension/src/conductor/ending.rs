//! The end of the environment: everything leaves that can, within the time the platform gives (L-8.9, L-9.4).

use super::Conductor;
use super::clock::{time_until, unix_nanos};
use crate::accounts::Reason;
use crate::export::{Moment, Occasion, Outlets, Waiting};
use crate::lambda::Shutdown;
use crate::received::Received;
use crate::settings::OutletKind;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// What a shutdown may take where the platform does not say (L-8.9).
const SHUTDOWN_BUDGET: Duration = Duration::from_millis(1300);
/// What is left of a shutdown's time for the process to end in.
const SHUTDOWN_MARGIN: Duration = Duration::from_millis(100);

impl Conductor {
    pub(super) async fn shut_down(&mut self, shutdown: &Shutdown, received: &mut mpsc::Receiver<Received>) {
        let budget = time_until(shutdown.deadline_ms).unwrap_or(SHUTDOWN_BUDGET).min(SHUTDOWN_BUDGET);
        let until = Instant::now() + budget.saturating_sub(SHUTDOWN_MARGIN);
        // What an earlier flush has not sent in half of the time is sent, or left, with the last.
        self.cut_flush(Instant::now() + until.saturating_duration_since(Instant::now()) / 2).await;
        // What the runtime wrote while it was ending is still in the sockets (L-8.11).
        while let Ok(Some(arrived)) = tokio::time::timeout(Duration::from_millis(5), received.recv()).await {
            self.take_in(arrived);
        }
        self.restore();
        self.machine.shut_down(shutdown, unix_nanos());
        self.hand_over();
        self.start_flush(until, Occasion::Last, None);
        // The flush ends itself in time; the extra moment is for its return.
        self.wait_for_flush(until + SHUTDOWN_MARGIN / 2).await;
        self.leave();
        self.put_telemetry(until).await;
        self.write_accounts();
    }

    /// Leaves to the next process what only that one can give to the invocation that waits; else it leaves now.
    fn hand_over(&mut self) {
        let waiting = Waiting { spans: self.machine.hand_over() };
        if waiting.spans.is_empty() {
            return;
        }
        match self.settings.spool.as_ref().map(|spool| waiting.leave(spool, Moment::now())) {
            Some(Ok(())) => self.handed_over = waiting.spans.len() as u64,
            // Nothing is lost by it: it leaves now, in a trace of its own.
            Some(Err(_)) | None => self.machine.keep(waiting.spans),
        }
    }

    /// Waits for a flush until then, and ends it.
    async fn cut_flush(&mut self, until: Instant) {
        let Some(mut flush) = self.flush.take() else { return };
        if let Ok(result) = tokio::time::timeout_at(until, &mut flush.task).await {
            self.flushed(flush, result);
            return;
        }
        let (unused, _) = oneshot::channel();
        let _ = std::mem::replace(&mut flush.cut, unused).send(());
        self.flush = Some(flush);
        self.wait_for_flush(until + SHUTDOWN_MARGIN / 2).await;
    }

    async fn wait_for_flush(&mut self, until: Instant) {
        if let Some(mut flush) = self.flush.take() {
            match tokio::time::timeout_at(until, &mut flush.task).await {
                Ok(result) => self.flushed(flush, result),
                Err(_) => self.flush_left_behind = true,
            }
        }
    }

    async fn put_telemetry(&mut self, until: Instant) {
        self.books.note_received(self.machine.take_accounts());
        let accounts = self.books.whole().into_iter().find(|(outlet, _)| *outlet == OutletKind::Xray);
        if let (true, Some(outlets), Some((_, accounts))) =
            (self.settings.telemetry_records, &self.outlets, accounts)
        {
            outlets.put_telemetry(&accounts, until).await;
        }
    }

    /// What is still here now is for the next process, if there is one (L-2.2).
    fn leave(&mut self) {
        self.books.note_received(self.machine.take_accounts());
        let Some(outlets) = &mut self.outlets else { return };
        let waiting: u64 = outlets.waiting_spans().iter().map(|(_, spans)| spans).sum();
        if waiting > 0 {
            for lost in outlets.leave(self.settings.spool.as_ref(), Moment::now()) {
                self.books.note(lost);
            }
        }
    }

    fn write_accounts(&mut self) {
        self.books.note_received(self.machine.take_accounts());
        let in_machine = self.handed_over + self.machine.held_spans() as u64;
        let waiting = self.outlets.as_ref().map(Outlets::waiting_spans).unwrap_or_default();
        let held = |outlet| {
            let waits = waiting.iter().find(|(kind, _)| *kind == outlet);
            in_machine + waits.map_or(0, |(_, spans)| *spans)
        };
        if self.flush_left_behind {
            // It has everything that is missing, and ends with the process.
            self.books.drop_missing(Reason::NotSpooled, held, &"it did not end in time");
        }
        self.books.write(held);
        self.relays.write();
    }
}
