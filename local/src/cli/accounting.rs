//! The extension's account of its spans, printed by it on shutdown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `"event":"otel_xray.accounting"`, spans by what became of them: once, or for each of several outlets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Accounting {
    event: String,
    pub(super) received: u64,
    #[serde(flatten)]
    fates: Option<Fates>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    outlets: BTreeMap<String, Fates>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Fates {
    sent: u64,
    #[serde(default)]
    rejected: BTreeMap<String, u64>,
    #[serde(default)]
    dropped: BTreeMap<String, u64>,
    #[serde(default)]
    carried: u64,
    /// Carried by an earlier process.
    #[serde(skip_serializing_if = "Option::is_none")]
    restored: Option<u64>,
}

impl Accounting {
    /// Whether the line is an account, and which.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let accounting: Self = serde_json::from_str(line).ok()?;
        let is_whole = accounting.fates.is_some() || !accounting.outlets.is_empty();
        (accounting.event == "otel_xray.accounting" && is_whole).then_some(accounting)
    }

    /// One sentence for each outlet.
    pub(super) fn sentence(&self) -> String {
        let one = self.fates.iter().map(|fates| format!("spans: {}", fates.sentence(self.received)));
        let several = self
            .outlets
            .iter()
            .map(|(outlet, fates)| format!("spans by {outlet}: {}", fates.sentence(self.received)));
        one.chain(several).collect::<Vec<_>>().join("\n")
    }
}

impl Fates {
    fn sentence(&self, received: u64) -> String {
        let sum = |counts: &BTreeMap<String, u64>| counts.values().sum::<u64>();
        let by = |counts: &BTreeMap<String, u64>| {
            let parts: Vec<String> = counts.iter().map(|(name, spans)| format!("{name} {spans}")).collect();
            if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
        };
        let (rejected, dropped) = (sum(&self.rejected), sum(&self.dropped));
        let gone = self.sent + rejected + dropped + self.carried;
        let restored = self.restored.map_or_else(String::new, |spans| format!(" + {spans} restored"));
        let came = received.saturating_add(self.restored.unwrap_or_default());
        let verdict = if gone == came { "" } else { "; THE NUMBERS DO NOT ADD UP" };
        format!(
            "{received} received{restored} = {} sent + {rejected} rejected{} + {dropped} dropped{} + {} carried{verdict}",
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
        let several = r#"{"event":"otel_xray.accounting","received":2,"outlets":{
            "otlp":{"sent":2,"rejected":{},"dropped":{},"carried":0},"xray":{"sent":1}}}"#;
        let expected = "spans by otlp: 2 received = 2 sent + 0 rejected + 0 dropped + 0 carried\n\
                        spans by xray: 2 received = 1 sent + 0 rejected + 0 dropped + 0 carried; \
                        THE NUMBERS DO NOT ADD UP";
        assert_eq!(Accounting::parse(several).unwrap().sentence(), expected);
        let after_another = r#"{"event":"otel_xray.accounting","received":1,"sent":2,"restored":1}"#;
        let read = Accounting::parse(after_another).unwrap();
        let expected = "spans: 1 received + 1 restored = 2 sent + 0 rejected + 0 dropped + 0 carried";
        assert_eq!(read.sentence(), expected);
        assert_eq!(serde_json::to_value(&read).unwrap()["restored"], 1);
        let wrong = r#"{"event":"otel_xray.accounting","received":3,"sent":1}"#;
        assert!(Accounting::parse(wrong).unwrap().sentence().ends_with("DO NOT ADD UP"));
    }
}
