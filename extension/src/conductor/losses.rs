//! What was lost, said while it happens: at most one line a minute, and nothing left out.

use crate::accounts::Accounts;
use crate::export::Moment;
use serde_json::Value;
use std::time::Duration;

const PAUSE: Duration = Duration::from_mins(1);

/// Losses that have not been said yet.
#[derive(Debug, Default)]
pub(super) struct Losses {
    pending: Accounts,
    said: Option<Moment>,
}

impl Losses {
    /// Takes in new accounts, and gives the line to write, if one is due. Losses of the minute after a line wait for
    /// the next, or for the accounts at shutdown.
    pub(super) fn take_in(&mut self, accounts: &Accounts, now: Moment) -> Option<Value> {
        self.pending.add(accounts.losses());
        if !self.pending.has_losses() || self.said.is_some_and(|said| now.since(said) < PAUSE) {
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.pending).losses_to_json())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::Reason;
    use serde_json::json;

    #[test]
    fn p2_losses_are_said_once_a_minute_and_none_is_forgotten() {
        let begin = Moment::now();
        let at = |second| Moment { unix: begin.unix + Duration::from_secs(second), ..begin };
        let mut wanted = Accounts::default();
        wanted.drop(Reason::Unsampled, 9);
        wanted.send(5);
        let mut full = Accounts::default();
        full.drop(Reason::BufferFull, 1);
        full.drop(Reason::Unsampled, 1);
        let mut refused = Accounts::default();
        refused.reject("InvalidName", 2);

        let mut losses = Losses::default();
        assert_eq!(losses.take_in(&wanted, at(0)), None);
        let first = losses.take_in(&full, at(1));
        assert_eq!(
            first,
            Some(json!({"event": "otel_xray.losses", "rejected": {}, "dropped": {"buffer_full": 1}}))
        );
        assert_eq!(losses.take_in(&full, at(2)), None);
        assert_eq!(losses.take_in(&refused, at(60)), None);
        let second = losses.take_in(&full, at(61));
        let expected = json!({"event": "otel_xray.losses", "rejected": {"InvalidName": 2}, "dropped": {"buffer_full": 2}});
        assert_eq!(second, Some(expected));
        assert_eq!(losses.take_in(&wanted, at(200)), None);
    }
}
