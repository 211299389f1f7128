//! From one process to the next: what waits is left in files, and what was left is taken over.

use super::Flushed;
use super::Outlet;
use super::Outlets;
use crate::accounts::{Accounts, Reason};
use crate::export::otlp::{self, OutgoingSpan};
use crate::export::pacing::clocks::Moment;
use crate::export::waiting::buffer::Buffer;
use crate::export::waiting::outgoing::{Outgoing, from_text, spans_of, to_text};
use crate::export::waiting::spool::Owner;
use crate::export::waiting::unclaimed::Waiting;
use crate::log::Level;
use crate::settings::{OutletKind, Spool};

impl Outlets {
    /// Takes over what an earlier process has left in the spool. Everything that is found there comes into the accounts,
    /// also what is not usable. `waiting` gets what is no outlet's yet.
    pub fn restore(&mut self, spool: &Spool, now: Moment, waiting: &mut Waiting) -> Vec<Flushed> {
        let mut taken = Vec::new();
        for found in spool.take(now) {
            let Owner::Outlet(kind) = found.owner else {
                let accounts = waiting.restore(&found);
                let kinds = self.open.iter().map(Outlet::kind);
                taken.extend(kinds.map(|outlet| Flushed { outlet, accounts: accounts.clone() }));
                continue;
            };
            let Some(outlet) = self.open.iter_mut().find(|outlet| outlet.kind() == kind) else {
                self.log.say(
                    Level::Warn,
                    format_args!("what was left for the outlet {} is lost: it is off", kind.name()),
                );
                continue;
            };
            let (left, mut accounts) = found.of_use(|payload| {
                let left = Left::of(kind, payload);
                let spans = left.spans();
                (left, spans)
            });
            if let Some(left) = left {
                accounts.drop(Reason::BufferFull, outlet.restore(left));
            }
            taken.push(Flushed { outlet: kind, accounts });
        }
        taken
    }

    /// Leaves what waits for the next process. What can't be left is lost, and counted.
    pub fn leave(&mut self, spool: Option<&Spool>, now: Moment) -> Vec<Flushed> {
        let mut lost = Vec::new();
        for outlet in &mut self.open {
            if !outlet.has_waiting() {
                continue;
            }
            let (payload, spans) = outlet.leave();
            let left = spool.map(|spool| spool.leave(Owner::Outlet(outlet.kind()), spans, &payload, now));
            if let Some(Ok(())) = left {
                continue;
            }
            if let Some(Err(error)) = left {
                self.log.say(Level::Warn, format_args!("{spans} spans could not be kept for later: {error}"));
            }
            outlet.forget();
            let mut accounts = Accounts::default();
            accounts.drop(Reason::NotSpooled, spans);
            lost.push(Flushed { outlet: outlet.kind(), accounts });
        }
        lost
    }
}

/// What an earlier process has left, as far as it can be read.
enum Left {
    Documents(Vec<Outgoing>),
    Spans(Vec<OutgoingSpan>),
}

impl Left {
    fn of(kind: OutletKind, payload: &[u8]) -> Self {
        match kind {
            OutletKind::Xray | OutletKind::Daemon => {
                Self::Documents(from_text(std::str::from_utf8(payload).unwrap_or_default()))
            }
            OutletKind::Otlp => Self::Spans(otlp::spans_left(payload)),
        }
    }

    fn spans(&self) -> u64 {
        match self {
            Self::Documents(documents) => spans_of(documents),
            Self::Spans(spans) => spans.len() as u64,
        }
    }
}

impl Outlet {
    fn documents(&mut self) -> Result<&mut Buffer<Outgoing>, &mut crate::export::otlp::Otlp> {
        match self {
            Self::Xray(xray) => Ok(xray.buffer()),
            Self::Daemon(daemon) => Ok(daemon.buffer()),
            Self::Otlp(otlp) => Err(otlp),
        }
    }

    fn leave(&mut self) -> (Vec<u8>, u64) {
        match self.documents() {
            Ok(buffer) => (to_text(buffer.iter()).into_bytes(), buffer.spans()),
            Err(otlp) => otlp.leave(),
        }
    }

    /// How many spans had no room.
    fn restore(&mut self, left: Left) -> u64 {
        match (self.documents(), left) {
            (Ok(buffer), Left::Documents(documents)) => buffer.keep(documents),
            (Err(otlp), Left::Spans(spans)) => otlp.restore(spans),
            (Ok(_) | Err(_), left) => left.spans(),
        }
    }

    fn forget(&mut self) {
        match self.documents() {
            Ok(buffer) => drop(buffer.clear()),
            Err(otlp) => otlp.forget(),
        }
    }
}
