//! The extension's account of its spans, printed by it on shutdown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `"event":"otel_xray.accounting"`, spans by what became of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Accounting {
    event: String,
    pub(super) received: u64,
    pub(super) sent: u64,
    #[serde(default)]
    pub(super) rejected: BTreeMap<String, u64>,
    #[serde(default)]
    pub(super) dropped: BTreeMap<String, u64>,
    #[serde(default)]
    pub(super) carried: u64,
}

impl Accounting {
    /// Whether the line is an account, and which.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let accounting: Self = serde_json::from_str(line).ok()?;
        (accounting.event == "otel_xray.accounting").then_some(accounting)
    }

    pub(super) fn sentence(&self) -> String {
        let sum = |counts: &BTreeMap<String, u64>| counts.values().sum::<u64>();
        let by = |counts: &BTreeMap<String, u64>| {
            let parts: Vec<String> = counts.iter().map(|(name, spans)| format!("{name} {spans}")).collect();
            if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
        };
        let (rejected, dropped) = (sum(&self.rejected), sum(&self.dropped));
        let gone = self.sent + rejected + dropped + self.carried;
        let verdict = if gone == self.received { "" } else { "; THE NUMBERS DO NOT ADD UP" };
        format!(
            "spans: {} received = {} sent + {rejected} rejected{} + {dropped} dropped{} + {} carried{verdict}",
            self.received,
            self.sent,
            by(&self.rejected),
            by(&self.dropped),
            self.carried,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_found_and_read_out() {
        assert_eq!(Accounting::parse("listening"), None);
        assert_eq!(Accounting::parse(r#"{"event":"other","received":1,"sent":1}"#), None);
        let line = r#"{"event":"otel_xray.accounting","received":12,"sent":8,"rejected":{"InvalidName":1},
            "dropped":{"oversize":1,"unsampled":2},"carried":0}"#;
        let sentence = Accounting::parse(line).unwrap().sentence();
        let expected = "spans: 12 received = 8 sent + 1 rejected (InvalidName 1) + \
                        3 dropped (oversize 1, unsampled 2) + 0 carried";
        assert_eq!(sentence, expected);
        let wrong = r#"{"event":"otel_xray.accounting","received":3,"sent":1}"#;
        assert!(Accounting::parse(wrong).unwrap().sentence().ends_with("DO NOT ADD UP"));
    }
}
