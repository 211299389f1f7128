//! Which traces are kept. Pure: the clock, and what X-Ray says, come from outside.
//!
//! Where Lambda or a caller has decided, their word counts. Where nobody has ([`decision`]), the function decides: by
//! X-Ray's default rule, or by the account's own rules. What that leaves out may still be kept for how it went
//! ([`keep`]). [`crate::invocation`] asks; what X-Ray is to be asked in turn goes out by [`crate::export`].

pub(crate) mod decision;
pub(crate) mod keep;
mod reservoir;
mod rules;
mod targets;

pub(crate) use rules::Request;

use crate::translate::trace_header::TraceId;
use rules::Rule;
use serde_json::{Value, json};
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use targets::{Tracked, seconds};

/// SMP-13, in seconds.
const RULES_EVERY_S: u64 = 300;
const TARGETS_EVERY_S: u64 = 10;
/// SMP-15: older rules count no longer.
const RULES_LAST_S: u64 = 3600;
/// SMP-16.
const MAX_STATISTICS: usize = 25;
/// Nobody has more, and a page that repeats for ever must end somewhere.
const MAX_RULES: usize = 1000;

/// What X-Ray is to be asked and told.
#[derive(Debug, Clone, PartialEq)]
pub struct Due {
    pub rules: bool,
    /// The body of `GetSamplingTargets`, where there is something to report.
    pub statistics: Option<Value>,
}

/// What X-Ray has answered; `None` where it has not.
#[derive(Debug, Clone, Default)]
pub struct Learned {
    /// `SamplingRuleRecords`, of all pages.
    pub rules: Option<Vec<Value>>,
    /// The answer to `GetSamplingTargets`.
    pub targets: Option<Value>,
}

/// Decides by rules, and keeps their books.
#[derive(Debug)]
pub struct Sampler {
    rules: Vec<Tracked>,
    fallback: Tracked,
    client_id: String,
    /// When the rules came, in epoch seconds.
    fetched_s: Option<u64>,
    rules_due_s: u64,
    targets_due_s: u64,
}

impl Default for Sampler {
    fn default() -> Self {
        // The standard library seeds each of these from the system's entropy.
        let random = || RandomState::new().hash_one(0);
        Self {
            rules: Vec::new(),
            fallback: Tracked::new(Rule::fallback()),
            client_id: format!("{:016x}{:08x}", random(), random() >> 32),
            fetched_s: None,
            rules_due_s: 0,
            targets_due_s: 0,
        }
    }
}

impl Sampler {
    /// Decides by X-Ray's default rule.
    pub(crate) fn decide_by_default(&mut self, trace_id: TraceId, now_s: u64) -> bool {
        self.fallback.decide(trace_id, now_s)
    }

    /// Decides by the first rule that matches; without usable rules, by the default (SMP-15).
    pub(crate) fn decide(&mut self, request: &Request<'_>, trace_id: TraceId, now_s: u64) -> bool {
        let are_usable = self.fetched_s.is_some_and(|fetched| now_s.saturating_sub(fetched) <= RULES_LAST_S);
        let rule = self.rules.iter_mut().filter(|_| are_usable).find(|tracked| tracked.rule.matches(request));
        rule.unwrap_or(&mut self.fallback).decide(trace_id, now_s)
    }

    /// Whether [`Self::due`] would give something.
    pub fn has_due(&self, now_s: u64) -> bool {
        let has_used = || self.rules.iter().any(|tracked| tracked.requests > 0);
        now_s >= self.rules_due_s || now_s >= self.targets_due_s && has_used()
    }

    /// What is due. It is not asked for again before its time, whatever becomes of it.
    pub fn due(&mut self, now_s: u64) -> Option<Due> {
        let rules = now_s >= self.rules_due_s;
        if rules {
            // Until they are here for the first time, soon again.
            self.rules_due_s = now_s + if self.fetched_s.is_some() { RULES_EVERY_S } else { TARGETS_EVERY_S };
        }
        let mut documents = Vec::new();
        if now_s >= self.targets_due_s {
            let used = self.rules.iter_mut().filter(|tracked| tracked.requests > 0);
            documents =
                used.take(MAX_STATISTICS).map(|tracked| tracked.report(&self.client_id, now_s)).collect();
        }
        if !documents.is_empty() {
            self.targets_due_s = now_s + TARGETS_EVERY_S;
        }
        let statistics = (!documents.is_empty()).then(|| json!({"SamplingStatisticsDocuments": documents}));
        (rules || statistics.is_some()).then_some(Due { rules, statistics })
    }

    /// Takes in what X-Ray has answered. A rule that has not changed keeps its counts and its target (SMP-14).
    pub fn learn(&mut self, learned: &Learned, now_s: u64) {
        if let Some(records) = &learned.rules {
            let mut known = std::mem::take(&mut self.rules);
            for rule in records.iter().take(MAX_RULES).filter_map(Rule::parse) {
                let at = known.iter().position(|tracked| tracked.rule == rule);
                self.rules.push(at.map_or_else(|| Tracked::new(rule), |at| known.swap_remove(at)));
            }
            self.rules.sort_by(|one, other| one.rule.rank().cmp(&other.rule.rank()));
            self.fetched_s = Some(now_s);
            self.rules_due_s = now_s + RULES_EVERY_S;
        }
        let Some(targets) = &learned.targets else { return };
        let mut every_s = TARGETS_EVERY_S;
        for target in targets["SamplingTargetDocuments"].as_array().into_iter().flatten() {
            let name = target["RuleName"].as_str();
            if let Some(tracked) = self.rules.iter_mut().find(|tracked| name == Some(&tracked.rule.name)) {
                tracked.aim(target);
            }
            every_s = every_s.min(target["Interval"].as_u64().unwrap_or(TARGETS_EVERY_S).max(1));
        }
        self.targets_due_s = now_s + every_s;
        if seconds(&targets["LastRuleModification"]) > self.fetched_s {
            self.rules_due_s = now_s;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, priority: u64, service: &str, rate: f64) -> Value {
        json!({"SamplingRule": {"RuleName": name, "Priority": priority, "ServiceName": service,
            "ReservoirSize": 0, "FixedRate": rate, "Version": 1}})
    }

    fn decide(sampler: &mut Sampler, service_name: &str, now_s: u64) -> bool {
        let request = Request { service_name, resource_arn: "arn", attribute: &|_| None };
        sampler.decide(&request, TraceId::from_bytes(&[0xff; 16]).unwrap(), now_s)
    }

    fn with(rules: Vec<Value>) -> Learned {
        Learned { rules: Some(rules), targets: None }
    }

    #[test]
    fn smp_1_smp_15_the_first_match_decides_and_without_rules_one_a_second() {
        let mut sampler = Sampler::default();
        assert_eq!([1, 1, 2].map(|now_s| decide(&mut sampler, "shop", now_s)), [true, false, true]);
        sampler.learn(
            &with(vec![
                rule("Default", 10_000, "*", 0.0),
                rule("all", 9, "s*", 1.0),
                rule("none", 1, "shoe", 0.0),
            ]),
            100,
        );
        for (service, expected) in [("shop", true), ("shoe", false), ("other", false)] {
            assert_eq!(
                [decide(&mut sampler, service, 101), decide(&mut sampler, service, 101)],
                [expected; 2]
            );
        }
        assert!(!decide(&mut sampler, "shoe", 3700), "an hour old");
        assert!(decide(&mut sampler, "shoe", 3701), "too old: the default");
    }

    #[test]
    fn smp_13_smp_14_smp_16_what_is_due_and_when() {
        let mut sampler = Sampler::default();
        assert_eq!(sampler.due(1000), Some(Due { rules: true, statistics: None }));
        assert_eq!(sampler.due(1009), None, "asked a moment ago");
        assert!(sampler.due(1010).is_some(), "no answer so far");
        let rules = vec![rule("a", 1, "shop", 0.0), rule("b", 2, "*", 0.0)];
        sampler.learn(&with(rules.clone()), 1010);
        assert_eq!((sampler.has_due(1309), sampler.due(1309)), (false, None), "nothing to report");
        decide(&mut sampler, "shop", 1309);
        assert!(sampler.has_due(1309), "a report");
        assert!(sampler.has_due(1310), "the rules too");
        let due = sampler.due(1310).unwrap();
        let statistics = due.statistics.unwrap();
        let documents = statistics["SamplingStatisticsDocuments"].as_array().unwrap();
        assert_eq!((due.rules, documents.len()), (true, 1));
        assert_eq!(
            (&documents[0]["RuleName"], documents[0]["RequestCount"].as_u64()),
            (&json!("a"), Some(1))
        );
        assert_eq!(documents[0]["ClientID"].as_str().map(str::len), Some(24));

        decide(&mut sampler, "shop", 1311);
        sampler.learn(&with(rules), 1311);
        let targets = json!({"LastRuleModification": 1312.5, "SamplingTargetDocuments": [
            {"RuleName": "a", "FixedRate": 1.0, "Interval": 4}, {"RuleName": "gone"}]});
        sampler.learn(&Learned { rules: None, targets: Some(targets) }, 1313);
        assert!(decide(&mut sampler, "shop", 1313), "the target's rate");
        let due = sampler.due(1313).unwrap();
        assert_eq!((due.rules, due.statistics), (true, None), "the rules have changed; statistics in 4 s");
        let statistics = sampler.due(1317).unwrap().statistics.unwrap();
        let counts = &statistics["SamplingStatisticsDocuments"][0];
        assert_eq!(counts["RequestCount"], 2, "counted on across the refresh");
    }

    #[test]
    fn smp_16_twenty_five_at_a_time() {
        let mut sampler = Sampler::default();
        sampler.learn(&with((0..30).map(|n| rule(&format!("r{n}"), 1, &format!("s{n}"), 1.0)).collect()), 0);
        (0..30).for_each(|n| assert!(decide(&mut sampler, &format!("s{n}"), 1)));
        for (now_s, expected) in [(10, 25), (20, 5)] {
            let due = sampler.due(now_s).unwrap().statistics.unwrap();
            assert_eq!(due["SamplingStatisticsDocuments"].as_array().unwrap().len(), expected);
        }
        assert_eq!(sampler.due(30), None);
    }
}
