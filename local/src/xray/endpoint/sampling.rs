//! The account's sampling rules, and what clients report of them (section 18.1).

use serde_json::{Value, json};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Statistics documents in one request (section 18.1).
const MAX_STATISTICS: usize = 25;
/// Rules on one page.
const PAGE: usize = 25;
/// Reports remembered for the tests.
const MAX_REPORTED: usize = 1000;

/// Rules that can be set, and the statistics that have come.
#[derive(Debug, Clone, Default)]
pub struct Sampling(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    rules: Vec<Value>,
    modified_s: f64,
    reported: Vec<Value>,
}

impl Sampling {
    /// Replaces the account's rules, each as X-Ray describes one. What a rule leaves out matches everything; the
    /// built-in `Default` comes along.
    pub fn set_rules(&self, rules: &[Value]) {
        let default =
            json!({"RuleName": "Default", "Priority": 10_000, "ReservoirSize": 1, "FixedRate": 0.05});
        let mut inner = self.lock();
        inner.rules = rules.iter().chain([&default]).map(whole).collect();
        inner.modified_s = epoch_seconds();
    }

    /// Every statistics document so far.
    pub fn reported(&self) -> Vec<Value> {
        self.lock().reported.clone()
    }

    pub(super) fn rules(&self, request: &Value) -> Result<Value, String> {
        let from = match request.get("NextToken").and_then(Value::as_str) {
            Some(token) => token.parse::<usize>().map_err(|_| "NextToken is not one of ours".to_owned())?,
            None => 0,
        };
        let inner = self.lock();
        let record =
            |rule: &Value| json!({"SamplingRule": rule, "CreatedAt": 0.0, "ModifiedAt": inner.modified_s});
        let page: Vec<Value> = inner.rules.iter().skip(from).take(PAGE).map(record).collect();
        let next = from + page.len();
        let token = (next < inner.rules.len()).then(|| next.to_string());
        Ok(json!({"SamplingRuleRecords": page, "NextToken": token}))
    }

    pub(super) fn targets(&self, request: &Value) -> Result<Value, String> {
        let documents = request.get("SamplingStatisticsDocuments").and_then(Value::as_array);
        let documents = documents.ok_or("SamplingStatisticsDocuments is required (section 18.1)")?;
        if documents.len() > MAX_STATISTICS {
            return Err(format!("more than {MAX_STATISTICS} SamplingStatisticsDocuments (section 18.1)"));
        }
        let mut inner = self.lock();
        let now_s = epoch_seconds();
        let (mut targets, mut unprocessed) = (Vec::new(), Vec::new());
        for document in documents {
            check(document)?;
            let rule = inner.rules.iter().find(|rule| rule["RuleName"] == document["RuleName"]);
            match rule {
                Some(rule) => targets.push(json!({
                    "RuleName": rule["RuleName"], "FixedRate": rule["FixedRate"], "Interval": 10,
                    "ReservoirQuota": rule["ReservoirSize"], "ReservoirQuotaTTL": now_s + 60.0,
                })),
                None => unprocessed.push(json!({
                    "RuleName": document["RuleName"], "ErrorCode": "400", "Message": "there is no such rule",
                })),
            }
        }
        let room = MAX_REPORTED.saturating_sub(inner.reported.len());
        inner.reported.extend(documents.iter().take(room).cloned());
        Ok(json!({
            "SamplingTargetDocuments": targets, "LastRuleModification": inner.modified_s,
            "UnprocessedStatistics": unprocessed,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn epoch_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn whole(rule: &Value) -> Value {
    let mut whole = json!({"Priority": 1, "ReservoirSize": 0, "FixedRate": 0.0, "ServiceName": "*",
        "ServiceType": "*", "Host": "*", "HTTPMethod": "*", "URLPath": "*", "ResourceARN": "*", "Attributes": {},
        "Version": 1});
    for (field, value) in rule.as_object().into_iter().flatten() {
        whole[field] = value.clone();
    }
    whole
}

fn check(document: &Value) -> Result<(), String> {
    let is_hex = |text: &str| text.len() == 24 && text.chars().all(|c| c.is_ascii_hexdigit());
    if !document["ClientID"].as_str().is_some_and(is_hex) {
        return Err("ClientID has 24 hexadecimal digits (section 18.1)".to_owned());
    }
    if !document["Timestamp"].is_number() {
        return Err("Timestamp is in seconds since 1970 (section 18.1)".to_owned());
    }
    let count = |field: &str| document[field].as_u64().ok_or(format!("{field} is a count (section 18.1)"));
    if count("SampledCount")? > count("RequestCount")? {
        return Err("SampledCount is over RequestCount".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_18_1_rules_come_in_pages_with_the_default_behind_them() {
        let sampling = Sampling::default();
        sampling.set_rules(&vec![json!({"RuleName": "a", "URLPath": "/x"}); PAGE]);
        let first = sampling.rules(&json!({})).unwrap();
        let second = sampling.rules(&json!({"NextToken": first["NextToken"]})).unwrap();
        let rule = &first["SamplingRuleRecords"][0]["SamplingRule"];
        assert_eq!((&rule["URLPath"], &rule["Host"]), (&json!("/x"), &json!("*")));
        assert_eq!(second["SamplingRuleRecords"][0]["SamplingRule"]["RuleName"], "Default");
        assert!(second["NextToken"].is_null());
        assert!(sampling.rules(&json!({"NextToken": "x"})).is_err());
    }

    #[test]
    fn section_18_1_statistics_are_checked_and_answered_with_targets() {
        let sampling = Sampling::default();
        sampling.set_rules(&[json!({"RuleName": "a", "ReservoirSize": 3, "FixedRate": 0.5})]);
        let document = |name: &str, sampled: u64| {
            json!({"RuleName": name, "ClientID": "0".repeat(24), "Timestamp": 1.5, "RequestCount": 2,
                "SampledCount": sampled, "BorrowCount": 0})
        };
        let ask =
            |documents: Vec<Value>| sampling.targets(&json!({"SamplingStatisticsDocuments": documents}));
        let answer = ask(vec![document("a", 2), document("gone", 0)]).unwrap();
        assert_eq!(answer["SamplingTargetDocuments"][0]["ReservoirQuota"], 3);
        assert_eq!(answer["UnprocessedStatistics"][0]["RuleName"], "gone");
        assert_eq!(sampling.reported().len(), 2);
        assert!(ask(vec![document("a", 3)]).is_err());
        assert!(ask(vec![document("a", 1); 26]).is_err());
        assert!(ask(vec![json!({"RuleName": "a"})]).is_err());
        assert!(sampling.targets(&json!({})).is_err());
    }
}
