//! What became of every span: received = sent + rejected + dropped + carried.
//!
//! Each process has its own books. What it leaves for the next process on the same `/tmp` is `carried` in its own, and
//! `restored` in the next one's, where the law reads received + restored = sent + rejected + dropped + carried. So
//! the sum of `received` over all processes counts every span once.

use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What the accounts are called in the log.
const EVENT: &str = "otel_xray.accounting";

/// Why a span was dropped. A closed list: a new reason is a new variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The trace header, or the span itself, says that it is not to be kept.
    Unsampled,
    /// Trace or span id of the wrong length, or all zeros (ID-4, ID-8).
    InvalidId,
    /// It arrived, and could not be decoded.
    Unreadable,
    /// The same trace and span id came twice before a flush; the later one counts (BET-9).
    Duplicate,
    /// The agent could not write it to the extension.
    AgentWrite,
    /// The buffer was full; the oldest went first.
    BufferFull,
    /// Translating it failed.
    TranslateFailed,
    /// No shortening made its document small enough.
    Oversize,
    /// The trace has reached what X-Ray keeps of one trace (LIM-2).
    TraceBudget,
    /// It began longer ago, or further ahead, than the other side takes (OEP-3).
    TimeOutOfRange,
    /// It came faster than it could be read, and the kernel dropped it.
    Overrun,
    /// An X-Ray SDK has written it, and the outlet sends OTLP.
    SdkDocument,
    /// Nothing takes it: metrics and logs without an OTLP endpoint.
    NoOutlet,
    /// The outlet is not set up, or failed where it must not.
    OutletFailed,
    /// An earlier process left it, longer ago than `OTEL_XRAY_SPOOL_AGE_S` allows.
    SpoolTooOld,
    /// An earlier process left it in a file that is damaged.
    SpoolUnreadable,
    /// The process ended before it could be sent, and it could not be left for the next one.
    NotSpooled,
}

impl Reason {
    /// The name in the accounts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unsampled => "unsampled",
            Self::InvalidId => "invalid_id",
            Self::Unreadable => "unreadable",
            Self::Duplicate => "duplicate",
            Self::AgentWrite => "agent_write",
            Self::BufferFull => "buffer_full",
            Self::TranslateFailed => "translate_failed",
            Self::Oversize => "oversize",
            Self::TraceBudget => "trace_budget",
            Self::TimeOutOfRange => "time_out_of_range",
            Self::Overrun => "overrun",
            Self::SdkDocument => "sdk_document",
            Self::NoOutlet => "no_outlet",
            Self::OutletFailed => "outlet_failed",
            Self::SpoolTooOld => "spool_too_old",
            Self::SpoolUnreadable => "spool_unreadable",
            Self::NotSpooled => "not_spooled",
        }
    }

    /// Whether the loss is what was asked for.
    fn is_wanted(self) -> bool {
        matches!(self, Self::Unsampled | Self::Duplicate)
    }
}

/// What was left out of a span that was kept. A closed list, like [`Reason`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trim {
    /// An attribute selected as annotation is no scalar; it is in metadata (BET-26).
    AnnotationNotScalar,
    /// The trace has the annotations X-Ray indexes; the value is in metadata (BET-27).
    AnnotationBudget,
    /// Two annotations have the same key after cleaning; the second is in metadata (BET-25).
    AnnotationCollision,
    /// A link without a valid trace and span id (BET-2).
    LinkInvalid,
    /// More links than X-Ray counts; the rest is in metadata (LNK-1).
    LinkBudget,
    /// A span that takes up very much was shortened when it came.
    SpanShortened,
    /// A document over X-Ray's size was shortened (xray.md section 14.5).
    DocumentShortened,
    /// The trace is near X-Ray's size: metadata was left out (LIM-2).
    MetadataBudget,
    /// X-Ray refused the document, and was sent a barer one (BET-31).
    DocumentRepaired,
    /// A value of the wrong type in a document of an X-Ray SDK, for which X-Ray would refuse the document.
    FieldInvalid,
}

impl Trim {
    /// The name in the accounts.
    pub fn name(self) -> &'static str {
        match self {
            Self::AnnotationNotScalar => "annotation_not_scalar",
            Self::AnnotationBudget => "annotation_budget",
            Self::AnnotationCollision => "annotation_collision",
            Self::LinkInvalid => "link_invalid",
            Self::LinkBudget => "link_budget",
            Self::SpanShortened => "span_shortened",
            Self::DocumentShortened => "document_shortened",
            Self::MetadataBudget => "metadata_budget",
            Self::DocumentRepaired => "document_repaired",
            Self::FieldInvalid => "field_invalid",
        }
    }
}

/// Counts of spans.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accounts {
    received: u64,
    /// Received by an earlier process.
    restored: u64,
    sent: u64,
    rejected: BTreeMap<String, u64>,
    dropped: BTreeMap<Reason, u64>,
    trimmed: BTreeMap<Trim, u64>,
}

impl Accounts {
    pub fn receive(&mut self, spans: u64) {
        self.received = self.received.saturating_add(spans);
    }

    /// An earlier process has left these.
    pub fn restore(&mut self, spans: u64) {
        self.restored = self.restored.saturating_add(spans);
    }

    pub fn send(&mut self, spans: u64) {
        self.sent = self.sent.saturating_add(spans);
    }

    /// X-Ray refused these, and said why.
    pub fn reject(&mut self, code: &str, spans: u64) {
        if spans > 0 {
            add(self.rejected.entry(code.to_owned()).or_default(), spans);
        }
    }

    pub fn drop(&mut self, reason: Reason, spans: u64) {
        if spans > 0 {
            add(self.dropped.entry(reason).or_default(), spans);
        }
    }

    /// Parts left out of spans that were kept.
    pub fn trim(&mut self, what: Trim, times: u64) {
        if times > 0 {
            add(self.trimmed.entry(what).or_default(), times);
        }
    }

    /// Spans that arrived and were lost at once.
    pub fn receive_and_drop(&mut self, reason: Reason, spans: u64) {
        self.receive(spans);
        self.drop(reason, spans);
    }

    /// Adds another set of counts to this one.
    pub fn add(&mut self, other: Self) {
        self.received = self.received.saturating_add(other.received);
        self.restored = self.restored.saturating_add(other.restored);
        self.sent = self.sent.saturating_add(other.sent);
        for (code, spans) in other.rejected {
            add(self.rejected.entry(code).or_default(), spans);
        }
        for (reason, spans) in other.dropped {
            add(self.dropped.entry(reason).or_default(), spans);
        }
        for (what, times) in other.trimmed {
            add(self.trimmed.entry(what).or_default(), times);
        }
    }

    /// Spans still held, by the law of the accounts.
    pub fn carried(&self) -> u64 {
        self.came().saturating_sub(self.gone())
    }

    fn came(&self) -> u64 {
        self.received.saturating_add(self.restored)
    }

    fn gone(&self) -> u64 {
        [self.rejected(), sum(self.dropped.values())].into_iter().fold(self.sent, u64::saturating_add)
    }

    pub fn received(&self) -> u64 {
        self.received
    }

    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Whatever the code.
    pub fn rejected(&self) -> u64 {
        sum(self.rejected.values())
    }

    /// Dropped for this reason.
    pub fn dropped(&self, reason: Reason) -> u64 {
        self.dropped.get(&reason).copied().unwrap_or_default()
    }

    /// The part that nobody asked to lose.
    #[must_use]
    pub fn losses(&self) -> Self {
        let dropped = self.dropped.iter().filter(|(reason, _)| !reason.is_wanted());
        Self {
            rejected: self.rejected.clone(),
            dropped: dropped.map(|(reason, spans)| (*reason, *spans)).collect(),
            ..Self::default()
        }
    }

    /// Spans that were lost though nobody asked for it.
    pub fn lost(&self) -> u64 {
        self.losses().gone()
    }

    /// The losses as one structured log line.
    pub fn losses_to_json(&self) -> Value {
        let losses = self.losses();
        json!({"event": "otel_xray.losses", "rejected": losses.rejected, "dropped": losses.dropped_by_name()})
    }

    /// What one flush did, as one structured log line: `spans` came, and `held` have to wait.
    pub fn flush_to_json(&self, outlet: &str, spans: u64, held: u64) -> Value {
        let mut line = self.fates(held);
        line["event"] = "otel_xray.flush".into();
        line["outlet"] = outlet.into();
        line["spans"] = spans.into();
        line
    }

    fn dropped_by_name(&self) -> BTreeMap<&'static str, u64> {
        self.dropped.iter().map(|(reason, spans)| (reason.name(), *spans)).collect()
    }

    /// Whether something was lost that nobody asked to lose.
    pub fn has_losses(&self) -> bool {
        !self.rejected.is_empty() || self.dropped.keys().any(|reason| !reason.is_wanted())
    }

    /// Whether `held` spans still in memory explain exactly what has not left.
    pub fn balance(&self, held: u64) -> bool {
        self.gone().saturating_add(held) == self.came()
    }

    fn fates(&self, held: u64) -> Value {
        let dropped = self.dropped_by_name();
        let mut fates =
            json!({"sent": self.sent, "rejected": self.rejected, "dropped": dropped, "carried": held});
        if !self.trimmed.is_empty() {
            fates["trimmed"] = self.trimmed.iter().map(|(what, times)| (what.name(), *times)).collect();
        }
        fates
    }

    /// The accounts, taking it that what has not left is still in memory.
    pub fn to_json(&self) -> Value {
        self.to_json_with(self.carried())
    }

    /// The fates, and where they do not explain what was received, `unaccounted`: a mistake of this extension.
    fn checked_fates(&self, held: u64) -> Value {
        let mut fates = self.fates(held);
        let gone = self.gone().saturating_add(held);
        if self.restored > 0 {
            fates["restored"] = self.restored.into();
        }
        if gone != self.came() {
            fates["unaccounted"] =
                i128::from(self.came()).saturating_sub(i128::from(gone)).to_string().into();
        }
        fates
    }

    /// The accounts as one structured log line, `held` spans being still in memory.
    pub fn to_json_with(&self, held: u64) -> Value {
        let mut line = self.checked_fates(held);
        line["event"] = EVENT.into();
        line["received"] = self.received.into();
        line
    }
}

/// The accounts of several outlets as one line: what was received once, and each outlet's own fates of it.
///
/// Each outlet has its name, its accounts with what was received, and the spans it still holds.
pub fn to_json_by_outlet(received: &Accounts, outlets: &[(&str, Accounts, u64)]) -> Value {
    let fates: BTreeMap<_, _> =
        outlets.iter().map(|(name, accounts, held)| (*name, accounts.checked_fates(*held))).collect();
    json!({"event": EVENT, "received": received.received, "outlets": fates})
}

/// Counts come from outside too: one that can't be leaves the others right.
fn add(count: &mut u64, more: u64) {
    *count = count.saturating_add(more);
}

fn sum<'a>(counts: impl Iterator<Item = &'a u64>) -> u64 {
    counts.fold(0, |sum, count| sum.saturating_add(*count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p2_sums_match() {
        let mut accounts = Accounts::default();
        accounts.receive(10);
        accounts.send(5);
        accounts.reject("InvalidName", 1);
        let mut more = Accounts::default();
        more.receive_and_drop(Reason::Unsampled, 2);
        accounts.add(more);
        accounts.drop(Reason::Oversize, 0);
        accounts.trim(Trim::LinkInvalid, 0);
        assert!(accounts.balance(4));
        assert!(!accounts.balance(3));
        let expected = json!({
            "event": "otel_xray.accounting", "received": 12, "sent": 5,
            "rejected": {"InvalidName": 1}, "dropped": {"unsampled": 2}, "carried": 4,
        });
        assert_eq!(accounts.to_json_with(4), expected);
        assert_eq!(accounts.to_json_with(3)["unaccounted"], "1");
        assert_eq!(accounts.to_json_with(5)["unaccounted"], "-1");
        assert!(accounts.has_losses());
        accounts.trim(Trim::LinkInvalid, 2);
        assert!(accounts.balance(4), "parts are not spans");
        assert_eq!(accounts.to_json_with(4)["trimmed"], json!({"link_invalid": 2}));
    }

    #[test]
    fn p2_every_outlet_has_its_own_fates_of_the_same_spans() {
        let mut received = Accounts::default();
        received.receive_and_drop(Reason::AgentWrite, 1);
        received.receive(9);
        let [mut xray, mut otlp] = [received.clone(), received.clone()];
        xray.send(9);
        otlp.reject("400", 3);
        let expected = json!({
            "event": "otel_xray.accounting", "received": 10, "outlets": {
                "xray": {"sent": 9, "rejected": {}, "dropped": {"agent_write": 1}, "carried": 0},
                "otlp": {"sent": 0, "rejected": {"400": 3}, "dropped": {"agent_write": 1}, "carried": 6},
            },
        });
        assert_eq!(to_json_by_outlet(&received, &[("xray", xray, 0), ("otlp", otlp, 6)]), expected);
    }
}
