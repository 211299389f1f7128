//! The accounts of the process: what was received, and what became of it in each outlet (P2).

use super::losses::Losses;
use crate::accounts::{Accounts, Reason, to_json_by_outlet};
use crate::export::{Flushed, Moment};
use crate::log::{Level, Log};
use crate::settings::OutletKind;

/// Received once, and a ledger for each outlet.
#[derive(Debug)]
pub(super) struct Books {
    /// What was received, and what did not get as far as the outlets.
    received: Accounts,
    /// What became of the rest, for each outlet.
    ledgers: Vec<(OutletKind, Accounts)>,
    losses: Losses,
    log: Log,
}

impl Books {
    pub(super) fn new(outlets: &[OutletKind], log: Log) -> Self {
        let ledgers = outlets.iter().map(|outlet| (*outlet, Accounts::default())).collect();
        Self { received: Accounts::default(), ledgers, losses: Losses::default(), log }
    }

    /// Takes in the counts of what has arrived since the last time.
    pub(super) fn note_received(&mut self, accounts: Accounts) {
        self.note_losses(&accounts);
        self.received.add(accounts);
    }

    /// Takes in what a flush did, of whose batch `spans` were; `held` wait in the outlet now.
    pub(super) fn note_flushed(&mut self, flushed: Flushed, spans: u64, held: u64) {
        let Flushed { outlet, accounts } = flushed;
        self.note_losses(&accounts);
        if self.log.enabled(Level::Debug) {
            self.log.record(Level::Debug, &accounts.flush_to_json(outlet.name(), spans, held));
        }
        self.explain_unsampled(&accounts);
        self.ledger(outlet).add(accounts);
    }

    /// Takes in what became of spans outside of a flush.
    pub(super) fn note(&mut self, Flushed { outlet, accounts }: Flushed) {
        self.note_losses(&accounts);
        self.ledger(outlet).add(accounts);
    }

    /// Everything that has not left, and is not among what each outlet still holds, is lost.
    pub(super) fn drop_missing(
        &mut self,
        reason: Reason,
        held: impl Fn(OutletKind) -> u64,
        error: &dyn std::fmt::Display,
    ) {
        for (outlet, accounts) in self.whole() {
            let lost = accounts.carried().saturating_sub(held(outlet));
            self.ledger(outlet).drop(reason, lost);
            self.log.say(
                Level::Error,
                format_args!("a flush failed, {lost} spans for {} are lost: {error}", outlet.name()),
            );
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
    pub(super) fn whole(&self) -> Vec<(OutletKind, Accounts)> {
        let whole = |(outlet, ledger): &(OutletKind, Accounts)| {
            let mut accounts = self.received.clone();
            accounts.add(ledger.clone());
            (*outlet, accounts)
        };
        self.ledgers.iter().map(whole).collect()
    }

    /// The last line: what was received, and what became of it. `held` says how much each outlet still holds.
    pub(super) fn write(&self, held: impl Fn(OutletKind) -> u64) {
        let whole: Vec<(&str, Accounts, u64)> = self
            .whole()
            .into_iter()
            .map(|(outlet, accounts)| (outlet.name(), accounts, held(outlet)))
            .collect();
        let is_bad = whole.iter().any(|(_, accounts, held)| accounts.has_losses() || *held > 0);
        let line = match whole.as_slice() {
            [(_, accounts, held)] => accounts.to_json_with(*held),
            several => to_json_by_outlet(&self.received, several),
        };
        self.log.record(if is_bad { Level::Warn } else { Level::Info }, &line);
    }
}
