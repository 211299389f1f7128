//! Fetches the account's sampling rules, and reports what they have decided.

use crate::export::answers::quoted;
use crate::export::client::Clients;
use crate::export::pacing::backoff::Jitter;
use crate::export::pacing::clocks::{Occasion, Window};
use crate::export::pacing::flights::{Flights, Landing};
use crate::export::pacing::health::{Attempt, Health, Verdict};
use crate::log::{Level, Log};
use crate::sampling::{Due, Learned};
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::time::Instant;

/// Pages of rules that are asked for; an account has at most a few.
const MAX_PAGES: usize = 10;
/// Rules that are kept of all pages, many times as many as an account has: 25 unless its quota was raised.
const MAX_RULES: usize = 1000;

/// What X-Ray is asked about sampling: behind an invocation, while the environment is awake for it (SMP-17), and where
/// that has failed, beside one.
#[derive(Debug)]
pub(crate) struct Questions {
    flights: Flights<(), (Learned, bool)>,
    health: Health,
    jitter: Jitter,
    learned: Option<Learned>,
}

impl Questions {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            flights: Flights::default(),
            health: Health::default(),
            jitter: Jitter::new(seed),
            learned: None,
        }
    }

    /// Whether something may be asked in this window. In one that nobody waits for only what has failed before is, unless
    /// there are no others: `is_beside_all`.
    pub(crate) fn may_ask(&self, window: Window, is_beside_all: bool) -> bool {
        let may_try = || self.health.attempt(window) != Attempt::No;
        !self.is_asking()
            && match window.occasion {
                Occasion::Held => may_try(),
                Occasion::Beside => self.health.is_due(window.now) || is_beside_all && may_try(),
                Occasion::Last => false,
            }
    }

    pub(crate) fn is_asking(&self) -> bool {
        self.flights.len() > 0
    }

    pub(crate) fn ask(&mut self, due: Due, clients: &Arc<Clients>, window: Window, log: &Log) {
        let (clients, log) = (Arc::clone(clients), log.clone());
        let question = async move { clients.sample(due, window.until, &log).await };
        match window.occasion {
            Occasion::Held => self.flights.start((), question),
            Occasion::Beside | Occasion::Last => self.flights.probe((), question, window),
        }
    }

    /// Waits for the answers that the end of an invocation waits for.
    pub(crate) async fn answered(&mut self, window: Window) {
        let landed = if self.flights.is_probing() {
            self.flights.probed(window).await
        } else {
            self.flights.landed(window.until).await
        };
        let Some(((), landing)) = landed else { return };
        let verdict = match landing {
            Landing::Answered((learned, true)) => {
                self.learned = Some(learned);
                Verdict::Well
            }
            Landing::Answered((learned, false)) => {
                self.learned = Some(learned);
                Verdict::Failed { asked: None }
            }
            Landing::Late | Landing::Cut | Landing::Failed(_) => Verdict::Failed { asked: None },
        };
        self.take_down(verdict, window);
    }

    /// Takes down that the answers have not come in time.
    pub(crate) fn settle(&mut self, window: Window) {
        if !self.flights.is_probing() && !self.flights.abandon().is_empty() {
            self.take_down(Verdict::Failed { asked: None }, window);
        }
    }

    fn take_down(&mut self, verdict: Verdict, window: Window) {
        self.health.take_down(verdict, window.now, &mut self.jitter);
        // A flush asks once; what follows is another's.
        self.health.begin_flush();
    }

    pub(crate) fn take_learned(&mut self) -> Option<Learned> {
        self.learned.take()
    }
}

impl Clients {
    /// Asks and tells X-Ray what is due, until then at most, and says whether that went well. What fails is said once:
    /// the default rule decides then.
    async fn sample(&self, due: Due, until: Instant, log: &Log) -> (Learned, bool) {
        let mut learned = Learned::default();
        let mut went_well = true;
        let mut complain = |error: String| {
            went_well = false;
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
        (learned, went_well)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::pacing::clocks::Moment;

    fn window(occasion: Occasion) -> Window {
        let now = Moment::now();
        Window { now, until: now.instant + std::time::Duration::from_secs(1), occasion }
    }

    #[tokio::test]
    async fn smp_17_a_failed_question_is_asked_again_and_beside_only_where_all_are() {
        let mut questions = Questions::new(1);
        let may = |questions: &Questions| {
            [
                (Occasion::Held, false),
                (Occasion::Beside, false),
                (Occasion::Beside, true),
                (Occasion::Last, true),
            ]
            .map(|(occasion, is_beside_all)| questions.may_ask(window(occasion), is_beside_all))
        };
        assert_eq!(may(&questions), [true, false, true, false]);
        for expected in [[true, false, true, false], [false; 4]] {
            questions.flights.start((), async { (Learned::default(), false) });
            assert_eq!(may(&questions), [false; 4]);
            questions.answered(window(Occasion::Held)).await;
            assert_eq!(may(&questions), expected);
        }
        questions.flights.start((), async { (Learned::default(), true) });
        questions.answered(window(Occasion::Held)).await;
        assert_eq!(may(&questions), [true, false, true, false]);
    }
}
