//! Documents to X-Ray: batches, retries within the time left, and what has to wait.

mod batch;
mod client;
mod connector;
mod send;

pub use client::Clients;

use crate::accounts::{Accounts, Reason};
use crate::log::{Level, Log};
use crate::translate::TranslatedDocument;
use aws_sdk_xray::Client;
use batch::batches;
use send::{Outcome, send};
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Requests in flight at once (BET-28).
const PARALLEL_REQUESTS: usize = 3;
/// How long nothing is tried after X-Ray has refused the caller (BET-36).
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_mins(1);

/// The documents that wait, and the way to X-Ray.
#[derive(Debug)]
pub struct Exporter {
    clients: Arc<Clients>,
    waiting: VecDeque<TranslatedDocument>,
    waiting_bytes: usize,
    limit_bytes: usize,
    paused_until: Option<Instant>,
    codes_said: HashSet<String>,
    log: Log,
}

impl Exporter {
    /// An exporter that keeps at most `limit_bytes` of documents while X-Ray can't be reached.
    pub fn new(clients: Arc<Clients>, limit_bytes: usize, log: Log) -> Self {
        Self {
            clients,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            limit_bytes,
            paused_until: None,
            codes_said: HashSet::new(),
            log,
        }
    }

    /// Documents that wait for a better moment.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Sends the documents, those that have waited first, until all are gone or the time is up (P4).
    pub async fn flush(&mut self, documents: Vec<TranslatedDocument>, until: Instant) -> Accounts {
        let mut accounts = Accounts::default();
        self.keep(documents, &mut accounts);
        if self.waiting.is_empty() || self.paused_until.is_some_and(|paused| Instant::now() < paused) {
            return accounts;
        }
        self.paused_until = None;
        let batches: Vec<Arc<[TranslatedDocument]>> =
            batches(std::mem::take(&mut self.waiting)).into_iter().map(Into::into).collect();
        self.waiting_bytes = 0;
        let outcomes = match tokio::time::timeout_at(until, self.clients.get()).await {
            Ok(client) => self.send_all(&client, &batches, until).await,
            Err(_) => vec![None; batches.len()],
        };
        for (batch, outcome) in batches.iter().zip(outcomes) {
            self.account(batch, outcome, &mut accounts);
        }
        accounts
    }

    /// One outcome for each batch, `None` where the time ran out.
    async fn send_all(
        &self,
        client: &Client,
        batches: &[Arc<[TranslatedDocument]>],
        until: Instant,
    ) -> Vec<Option<Outcome>> {
        let mut outcomes: Vec<Option<Outcome>> = vec![None; batches.len()];
        let mut requests = JoinSet::new();
        let mut next = 0;
        loop {
            while next < batches.len() && requests.len() < PARALLEL_REQUESTS {
                let (client, batch, index) = (client.clone(), Arc::clone(&batches[next]), next);
                requests.spawn(async move { (index, send(&client, &batch, until).await) });
                next += 1;
            }
            match tokio::time::timeout_at(until, requests.join_next()).await {
                Ok(Some(Ok((index, outcome)))) => {
                    // One batch refused for who is asking: the others would be too.
                    if matches!(outcome, Outcome::Denied(_)) {
                        next = batches.len();
                    }
                    outcomes[index] = Some(outcome);
                }
                Ok(Some(Err(_))) => {}
                Ok(None) | Err(_) => return outcomes,
            }
        }
    }

    fn account(&mut self, batch: &[TranslatedDocument], outcome: Option<Outcome>, accounts: &mut Accounts) {
        match outcome {
            Some(Outcome::Accepted { unprocessed }) => {
                let mut sent = spans(batch);
                for refused in unprocessed {
                    if self.codes_said.insert(refused.code.clone()) {
                        self.log.say(
                            Level::Warn,
                            format_args!(
                                "X-Ray refused document {}: {}: {}",
                                refused.id, refused.code, refused.message
                            ),
                        );
                    }
                    let document = batch.iter().find(|document| document.id == refused.id);
                    let lost = document.map_or(1, |document| document.spans).min(sent);
                    sent -= lost;
                    accounts.reject(&refused.code, lost);
                }
                accounts.send(sent);
            }
            Some(Outcome::Refused { code, message }) => {
                if self.codes_said.insert(code.clone()) {
                    self.log.say(Level::Warn, format_args!("X-Ray refused a request: {code}: {message}"));
                }
                accounts.reject(&code, spans(batch));
            }
            Some(Outcome::Denied(message)) => {
                self.log.once("denied", Level::Error, message);
                self.paused_until = Some(Instant::now() + PAUSE_AFTER_REFUSAL);
                self.keep(batch.to_vec(), accounts);
            }
            Some(Outcome::Unreachable(message)) => {
                self.log.once(
                    "unreachable",
                    Level::Warn,
                    format_args!(
                        "X-Ray could not be reached, what was not sent is kept for later: {message}"
                    ),
                );
                self.keep(batch.to_vec(), accounts);
            }
            None => {
                self.log.once(
                    "slow",
                    Level::Warn,
                    "X-Ray did not answer in the time allowed, what was not sent is kept for later",
                );
                self.keep(batch.to_vec(), accounts);
            }
        }
    }

    fn keep(&mut self, documents: Vec<TranslatedDocument>, accounts: &mut Accounts) {
        for document in documents {
            self.waiting_bytes += document.json.len();
            self.waiting.push_back(document);
        }
        while self.waiting_bytes > self.limit_bytes {
            let Some(oldest) = self.waiting.pop_front() else {
                return;
            };
            self.waiting_bytes -= oldest.json.len();
            accounts.drop(Reason::BufferFull, oldest.spans);
        }
    }
}

fn spans(batch: &[TranslatedDocument]) -> u64 {
    batch.iter().map(|document| document.spans).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::test_log;

    fn document(id: usize, bytes: usize) -> TranslatedDocument {
        TranslatedDocument {
            id: format!("{id:016x}"),
            json: "x".repeat(bytes),
            spans: 1,
            is_segment: false,
            start_micros: 0,
        }
    }

    #[tokio::test]
    async fn bet_33_while_paused_documents_wait_within_the_limit_and_the_oldest_goes() {
        let (log, _) = test_log::capture(Level::Debug);
        let mut exporter = Exporter::new(Arc::new(Clients::new(|_| None)), 1000, log);
        exporter.paused_until = Some(Instant::now() + Duration::from_mins(1));
        let documents = (0..15).map(|id| document(id, 100)).collect();
        let accounts = exporter.flush(documents, Instant::now() + Duration::from_secs(1)).await;
        assert_eq!(exporter.waiting(), 10);
        assert_eq!(exporter.waiting[0].id, format!("{:016x}", 5));
        assert_eq!(accounts.to_json()["dropped"]["buffer_full"], 5);
    }
}
