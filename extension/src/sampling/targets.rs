//! What the rules have decided, and what X-Ray wants of each from now on (section 18.1).

use super::reservoir::{Quota, Reservoir, Taken};
use super::rules::Rule;
use crate::translate::trace_header::TraceId;
use serde_json::{Value, json};

/// A rule with its counts and its target.
#[derive(Debug, Clone)]
pub(super) struct Tracked {
    pub(super) rule: Rule,
    reservoir: Reservoir,
    /// X-Ray's own word for the rate.
    rate: Option<f64>,
    pub(super) requests: u64,
    sampled: u64,
    borrowed: u64,
}

impl Tracked {
    pub(super) fn new(rule: Rule) -> Self {
        Self { rule, reservoir: Reservoir::default(), rate: None, requests: 0, sampled: 0, borrowed: 0 }
    }

    /// Section 18.3. The rate goes by the trace id, so that all functions of a trace agree (SMP-9).
    pub(super) fn decide(&mut self, trace_id: TraceId, now_s: u64) -> bool {
        self.requests += 1;
        let taken = self.reservoir.take(self.rule.reservoir_size, now_s);
        let is_sampled = taken.is_some() || is_within(trace_id, self.rate.unwrap_or(self.rule.fixed_rate));
        // SMP-10: what is borrowed is sampled too.
        self.borrowed += u64::from(taken == Some(Taken::Borrowed));
        self.sampled += u64::from(is_sampled);
        is_sampled
    }

    /// The statistics since the last time.
    pub(super) fn report(&mut self, client_id: &str, now_s: u64) -> Value {
        let document = json!({
            "RuleName": self.rule.name, "ClientID": client_id, "Timestamp": now_s,
            "RequestCount": self.requests, "SampledCount": self.sampled, "BorrowCount": self.borrowed,
        });
        (self.requests, self.sampled, self.borrowed) = (0, 0, 0);
        document
    }

    /// Takes in one of `SamplingTargetDocuments`.
    pub(super) fn aim(&mut self, target: &Value) {
        self.rate = target["FixedRate"].as_f64().or(self.rate);
        if let Some(per_second) = target["ReservoirQuota"].as_u64() {
            let until_s = seconds(&target["ReservoirQuotaTTL"]).unwrap_or_default();
            self.reservoir.quota = Some(Quota { per_second, until_s });
        }
    }
}

/// Epoch seconds, which may have a fraction.
pub(super) fn seconds(value: &Value) -> Option<u64> {
    let whole = value.as_f64()?.max(0.0);
    // Past the year 2554 there is nothing to wait for.
    Some(std::time::Duration::try_from_secs_f64(whole).ok()?.as_secs())
}

/// Whether a trace is among that share of all (SMP-9).
fn is_within(trace_id: TraceId, rate: f64) -> bool {
    let [.., a, b, c, d] = *trace_id.as_bytes();
    f64::from(u32::from_be_bytes([a, b, c, d])) < rate * (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smp_9_a_rate_goes_by_the_trace_id() {
        let with_end = |end: [u8; 4]| {
            let mut id = [7; 16];
            id[12..].copy_from_slice(&end);
            TraceId::from_bytes(&id).unwrap()
        };
        for (end, rate, expected) in [
            ([0, 0, 0, 0], 0.0, false),
            ([0, 0, 0, 0], 0.05, true),
            ([0x0c, 0xcc, 0xcc, 0xcc], 0.05, true),
            ([0x0c, 0xcc, 0xcc, 0xcd], 0.05, false),
            ([0xff, 0xff, 0xff, 0xff], 0.999, false),
            ([0xff, 0xff, 0xff, 0xff], 1.0, true),
        ] {
            assert_eq!(is_within(with_end(end), rate), expected, "{end:?} {rate}");
        }
    }

    #[test]
    fn smp_10_borrowed_requests_count_as_sampled() {
        let mut rule = Rule::fallback();
        rule.fixed_rate = 0.0;
        let mut tracked = Tracked::new(rule);
        let trace_id = TraceId::from_bytes(&[7; 16]).unwrap();
        let decisions: Vec<bool> = [1, 1, 2].map(|now_s| tracked.decide(trace_id, now_s)).into();
        assert_eq!(decisions, [true, false, true]);
        tracked.aim(&json!({"FixedRate": 1.0, "ReservoirQuota": 0, "ReservoirQuotaTTL": 100.0}));
        assert!(tracked.decide(trace_id, 3), "by the rate");
        let report = tracked.report("c", 9);
        let counts = ["RequestCount", "SampledCount", "BorrowCount"].map(|field| report[field].as_u64());
        assert_eq!(counts, [Some(4), Some(3), Some(2)]);
        assert_eq!(tracked.requests, 0, "SMP-16: reset when reported");
    }
}
