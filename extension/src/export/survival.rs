//! From one process to the next: what waits is left in files, and what was left is taken over.

use super::buffer::Buffer;
use super::outgoing::{Outgoing, from_text, spans_of, to_text};
use super::spool::{Content, Found, Spool};
use super::{Flushed, Moment, Outlet, Outlets};
use crate::accounts::{Accounts, Reason};
use crate::log::Level;

impl Outlets {
    /// Takes over what an earlier process has left in the spool. Everything that is found there comes into the accounts,
    /// also what is not usable.
    pub fn restore(&mut self, spool: &Spool, now: Moment) -> Vec<Flushed> {
        let mut taken = Vec::new();
        for Found { outlet: kind, spans, content } in spool.take(now) {
            let Some(outlet) = self.open.iter_mut().find(|outlet| outlet.kind() == kind) else {
                self.log.say(
                    Level::Warn,
                    format_args!(
                        "{spans} spans were left for the outlet {}, which is off: they are lost",
                        kind.name()
                    ),
                );
                continue;
            };
            let mut accounts = Accounts::default();
            accounts.restore(spans);
            match content {
                Content::TooOld => accounts.drop(Reason::SpoolTooOld, spans),
                Content::Unreadable => accounts.drop(Reason::SpoolUnreadable, spans),
                Content::Whole(payload) => {
                    let (readable, without_room) = outlet.restore(&payload);
                    accounts.drop(Reason::SpoolUnreadable, spans.saturating_sub(readable));
                    accounts.drop(Reason::BufferFull, without_room);
                }
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
            let left = spool.map(|spool| spool.leave(outlet.kind(), spans, &payload, now));
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

impl Outlet {
    fn documents(&mut self) -> Result<&mut Buffer<Outgoing>, &mut super::otlp::Otlp> {
        match self {
            Self::Xray(xray) => Ok(xray.buffer()),
            Self::Daemon(daemon) => Ok(daemon.buffer()),
            Self::Otlp(otlp) => Err(otlp),
        }
    }

    fn leave(&mut self) -> (Vec<u8>, u64) {
        match self.documents() {
            Ok(buffer) => {
                let documents: Vec<Outgoing> = buffer.iter().cloned().collect();
                (to_text(&documents).into_bytes(), spans_of(&documents))
            }
            Err(otlp) => otlp.leave(),
        }
    }

    /// How many spans could be read, and how many of them had no room.
    fn restore(&mut self, left: &[u8]) -> (u64, u64) {
        match self.documents() {
            Ok(buffer) => {
                let documents = from_text(std::str::from_utf8(left).unwrap_or_default());
                (spans_of(&documents), buffer.keep(documents))
            }
            Err(otlp) => otlp.restore(left),
        }
    }

    fn forget(&mut self) {
        match self.documents() {
            Ok(buffer) => drop(buffer.take()),
            Err(otlp) => otlp.forget(),
        }
    }
}
