//! Metrics and logs on their way through: to the `otlp` outlet, where that is on. They have accounts of their own, in
//! requests.

use crate::accounts::{Accounts, Reason};
use crate::invocation::Signal;
use crate::ledger::{Charge, Share};
use crate::log::{Level, Log};
use crate::received::{OtlpSignal, Relayed};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What came since the last flush, and what became of everything before.
#[derive(Debug)]
pub(super) struct Relays {
    /// There is an outlet for them.
    go_on: bool,
    waiting: Vec<Relayed>,
    /// For what waits here for the next flush to begin.
    charge: Charge,
    limit_bytes: usize,
    accounts: BTreeMap<&'static str, Accounts>,
    log: Log,
}

impl Relays {
    /// One request has room in any case.
    pub(super) fn new(go_on: bool, share: &Share, log: Log) -> Self {
        let (charge, limit_bytes) = (share.charge(0), share.limit_bytes());
        Self { go_on, waiting: Vec::new(), charge, limit_bytes, accounts: BTreeMap::new(), log }
    }

    pub(super) fn take_in(&mut self, request: Relayed) -> Signal {
        let accounts = self.accounts.entry(request.signal.name()).or_default();
        if !self.go_on {
            accounts.receive_and_drop(Reason::NoOutlet, 1);
            self.log.once(
                "relay",
                Level::Warn,
                format_args!(
                    "{} that the function sends are dropped, X-Ray takes traces only: add otlp to OTEL_XRAY_OUTLETS to \
                     send them on",
                    request.signal.name()
                ),
            );
            return Signal::Nothing;
        }
        let bytes = self.charge.bytes() + request.body.len();
        if bytes > self.limit_bytes && !self.waiting.is_empty() {
            accounts.receive_and_drop(Reason::BufferFull, 1);
            return Signal::FlushSoon;
        }
        accounts.receive(1);
        self.charge.set(bytes);
        self.waiting.push(request);
        Signal::FlushSoon
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// What is to leave with the flush that begins.
    pub(super) fn hand_over(&mut self) -> Vec<Relayed> {
        self.charge.set(0);
        std::mem::take(&mut self.waiting)
    }

    /// Takes down what a flush did.
    pub(super) fn note(&mut self, accounts: Vec<(OtlpSignal, Accounts)>) {
        for (signal, accounts) in accounts {
            self.accounts.entry(signal.name()).or_default().add(accounts);
        }
    }

    /// The last line, where there was anything: what has not left now never will.
    pub(super) fn write(&mut self) {
        for accounts in self.accounts.values_mut() {
            accounts.drop(Reason::NotSpooled, accounts.carried());
        }
        if self.accounts.is_empty() {
            return;
        }
        let is_bad = self.go_on && self.accounts.values().any(Accounts::has_losses);
        self.log.record(if is_bad { Level::Warn } else { Level::Info }, &self.to_json());
    }

    fn to_json(&self) -> Value {
        let mut line = json!({"event": "otel_xray.relayed_requests"});
        for (signal, accounts) in &self.accounts {
            line[*signal] = accounts.to_json_with(0);
            if let Some(fates) = line[*signal].as_object_mut() {
                fates.remove("event");
            }
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Ledger;
    use crate::log::test_log;
    use bytes::Bytes;

    fn request(signal: OtlpSignal, bytes: usize) -> Relayed {
        Relayed { signal, is_json: false, is_gzip: false, body: Bytes::from(vec![0; bytes]) }
    }

    #[test]
    fn p2_without_an_outlet_they_are_dropped_and_counted_with_one_line() {
        let (log, lines) = test_log::capture(Level::Info);
        let mut relays = Relays::new(false, &Ledger::new(1000).share(1), log);
        for signal in [OtlpSignal::Metrics, OtlpSignal::Metrics, OtlpSignal::Logs] {
            assert_eq!(relays.take_in(request(signal, 10)), Signal::Nothing);
        }
        assert!(!relays.has_waiting());
        relays.write();
        let lines = lines.lock().unwrap();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains("metrics that the function sends are dropped"));
        let line: Value = serde_json::from_str(&lines[1]).unwrap();
        assert_eq!(
            (&line["metrics"]["received"], &line["logs"]["dropped"]["no_outlet"]),
            (&json!(2), &json!(1))
        );
    }

    #[test]
    fn p2_what_waits_is_bounded_and_what_never_leaves_is_counted() {
        let (log, lines) = test_log::capture(Level::Info);
        let ledger = Ledger::new(8000);
        let mut relays = Relays::new(true, &ledger.share(2), log);
        for _ in 0..5 {
            relays.take_in(request(OtlpSignal::Logs, 1500));
        }
        assert_eq!(ledger.held_bytes(), 3000);
        assert_eq!(relays.hand_over().len(), 2);
        relays.take_in(request(OtlpSignal::Logs, 4_000_000));
        assert_eq!(ledger.held_bytes(), 4_000_000, "one has room in any case");
        let mut sent = Accounts::default();
        sent.send(1);
        relays.note(vec![(OtlpSignal::Logs, sent)]);
        relays.write();
        let line: Value = serde_json::from_str(&lines.lock().unwrap()[0]).unwrap();
        let expected = json!({"received": 6, "sent": 1, "rejected": {}, "dropped": {"buffer_full": 3, "not_spooled": 2}, "carried": 0});
        assert_eq!(line["logs"], expected);
    }
}
