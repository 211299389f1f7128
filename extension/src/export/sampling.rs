//! Fetches the account's sampling rules, and reports what they have decided.

use super::client::Clients;
use super::quoted;
use crate::log::{Level, Log};
use crate::sampling::{Due, Learned};
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::Instant;

/// Pages of rules that are asked for; an account has at most a few.
const MAX_PAGES: usize = 10;
/// Rules that are kept of all pages, many times as many as an account has: 25 unless its quota was raised.
const MAX_RULES: usize = 1000;

impl Clients {
    /// Asks and tells X-Ray what is due, until then at most. What fails is said once: the default rule decides then.
    pub async fn sample(&self, due: Due, until: Instant, log: &Log) -> Learned {
        let mut learned = Learned::default();
        let complain = |error: String| {
            log.once(
                "sampling",
                Level::Warn,
                format_args!(
                    "X-Ray's sampling rules could not be had ({error}): one invocation a second and 5 % of the others \
                     are traced; allow xray:GetSamplingRules and xray:GetSamplingTargets, or unset OTEL_XRAY_SAMPLING"
                ),
            );
        };
        if due.rules {
            match self.rules(until).await {
                Ok(rules) => learned.rules = Some(rules),
                Err(error) => complain(error),
            }
        }
        if let Some(statistics) = due.statistics {
            match self.ask("/SamplingTargets", &statistics, until).await {
                Ok(targets) => learned.targets = Some(targets),
                Err(error) => complain(error),
            }
        }
        learned
    }

    /// The rules of all pages.
    async fn rules(&self, until: Instant) -> Result<Vec<Value>, String> {
        let mut rules = Vec::new();
        let mut body = json!({});
        for _ in 0..MAX_PAGES {
            let mut page = self.ask("/GetSamplingRules", &body, until).await?;
            if let Some(records) = page["SamplingRuleRecords"].as_array_mut() {
                rules.append(records);
            }
            rules.truncate(MAX_RULES);
            match page["NextToken"].take() {
                Value::String(token) if !token.is_empty() && rules.len() < MAX_RULES => {
                    body = json!({"NextToken": token});
                }
                _ => break,
            }
        }
        Ok(rules)
    }

    async fn ask(&self, path: &str, body: &Value, until: Instant) -> Result<Value, String> {
        let left = until.saturating_duration_since(Instant::now());
        let answer = self.post(path, Bytes::from(body.to_string()), left).await;
        match answer.map_err(|error| error.to_string())? {
            (StatusCode::OK, body) => serde_json::from_slice(&body)
                .ok()
                .filter(Value::is_object)
                .ok_or_else(|| "something answers in X-Ray's place".to_owned()),
            (status, body) => Err(format!("{status} {}", named(&body))),
        }
    }
}

/// The name of X-Ray's error; the rest of an answer is not for the log.
fn named(body: &[u8]) -> String {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    quoted::aws_code(answer["__type"].as_str().or_else(|| answer["code"].as_str()).unwrap_or_default())
}
