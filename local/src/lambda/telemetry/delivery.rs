//! Telemetry on its way to one subscriber: collected into batches, one of them in flight, tried again, dropped and counted
//! (section 6.2, SIM-14).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::record::{Kind, Record};
use super::subscription::Subscription;
use crate::lambda::config::TelemetryFaults;
use crate::lambda::event_log::{Event, EventLog};

/// Waits between the attempts to deliver one batch.
const BACK_OFF: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(200), Duration::from_millis(400)];
/// How long a listener may take to answer while it is not frozen.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) enum Command {
    Record(Arc<Record>),
    /// Everything so far, at once; answered when it was delivered or dropped.
    Flush(oneshot::Sender<()>),
}

#[derive(Debug, Default)]
struct Batch {
    records: Vec<Arc<Record>>,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, record: Arc<Record>) {
        self.bytes += record.json.len();
        self.records.push(record);
    }

    fn is_full(&self, subscription: &Subscription) -> bool {
        self.records.len() >= subscription.max_items || self.bytes >= subscription.max_bytes
    }
}

/// What was dropped and not yet told.
#[derive(Debug, Default)]
struct Dropped {
    records: usize,
    bytes: usize,
    reason: &'static str,
}

impl Dropped {
    fn add(&mut self, records: usize, bytes: usize, reason: &'static str) {
        self.records += records;
        self.bytes += bytes;
        self.reason = reason;
    }
}

/// Of one subscriber.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) extension: String,
    pub(crate) subscription: Subscription,
    pub(crate) faults: TelemetryFaults,
    pub(crate) frozen: watch::Receiver<bool>,
    pub(crate) log: EventLog,
}

impl Delivery {
    /// Runs until the sender of the commands is gone. While a batch is in flight the next one collects; what does not fit
    /// into that is dropped (L-6.2).
    pub(crate) async fn run(self, mut commands: mpsc::Receiver<Command>) {
        let mut batch = Batch::default();
        let mut dropped = Dropped::default();
        let mut due = Instant::now();
        let mut in_flight: Option<InFlight> = None;
        let mut flushes: Vec<oneshot::Sender<()>> = Vec::new();
        loop {
            if in_flight.is_none() {
                if dropped.records > 0 {
                    self.tell(&mut batch, &mut dropped, &mut due);
                }
                let leaves =
                    !flushes.is_empty() || batch.is_full(&self.subscription) || Instant::now() >= due;
                if !batch.records.is_empty() && leaves {
                    in_flight = Some(InFlight::start(&self, std::mem::take(&mut batch)));
                } else if batch.records.is_empty() {
                    for flushed in flushes.drain(..) {
                        let _ = flushed.send(());
                    }
                }
            }
            let command = tokio::select! {
                delivered = landed(&mut in_flight) => {
                    if let Some((records, bytes)) = delivered {
                        dropped.add(records, bytes, "Some logs were dropped because the listener did not take them");
                    }
                    in_flight = None;
                    continue;
                }
                () = tokio::time::sleep_until(due), if in_flight.is_none() && !batch.records.is_empty() => continue,
                command = commands.recv() => command,
            };
            match command {
                None => return,
                Some(Command::Flush(done)) => flushes.push(done),
                Some(Command::Record(record)) if in_flight.is_some() && batch.is_full(&self.subscription) => {
                    dropped.add(
                        1,
                        record.json.len(),
                        "Some logs were dropped because the listener is too slow",
                    );
                }
                Some(Command::Record(record)) => {
                    if batch.records.is_empty() {
                        due = Instant::now() + self.subscription.timeout;
                    }
                    batch.push(record);
                }
            }
        }
    }

    /// `platform.logsDropped`, for who subscribed to platform events.
    fn tell(&self, batch: &mut Batch, dropped: &mut Dropped, due: &mut Instant) {
        let Dropped { records, bytes, reason } = std::mem::take(dropped);
        if self.subscription.kinds.contains(&Kind::Platform) {
            let record = json!({"droppedRecords": records, "droppedBytes": bytes, "reason": reason});
            if batch.records.is_empty() {
                *due = Instant::now() + self.subscription.timeout;
            }
            batch.push(Arc::new(Record::new(
                Kind::Platform,
                SystemTime::now(),
                "platform.logsDropped",
                &record,
            )));
        }
    }

    /// Returns whether some attempt was acknowledged.
    async fn deliver(mut self, batch: Vec<Arc<Record>>) -> bool {
        let body = self.body(&batch);
        for wait in [Duration::ZERO].into_iter().chain(BACK_OFF) {
            self.pass(wait).await;
            let mut frozen = self.clone();
            let answer = tokio::select! {
                answer = post(self.subscription.port, &self.subscription.path, body.clone()) => answer.ok(),
                () = frozen.pass(ANSWER_LIMIT) => None,
            };
            self.log.push(Event::TelemetryBatch {
                extension: self.extension.clone(),
                events: batch.len(),
                status: answer,
            });
            if answer.is_some_and(|status| (200..300).contains(&status)) {
                if self.faults.duplicated {
                    let _ = post(self.subscription.port, &self.subscription.path, body).await;
                }
                return true;
            }
        }
        false
    }

    fn body(&self, batch: &[Arc<Record>]) -> String {
        let mut records: Vec<&str> = batch.iter().map(|record| record.json.as_str()).collect();
        if self.faults.reversed {
            records.reverse();
        }
        let padding = (self.faults.padding_bytes > 0).then(|| {
            let text = "x".repeat(self.faults.padding_bytes);
            Record::new(Kind::Platform, SystemTime::now(), "platform.unheardOf", &json!({ "padding": text }))
                .json
        });
        let records: Vec<&str> = padding.as_deref().into_iter().chain(records).collect();
        format!("[{}]", records.join(","))
    }

    /// Lets time pass in which the processes are not frozen: at least one moment, else a whole `duration` of it.
    async fn pass(&mut self, duration: Duration) {
        loop {
            if self.frozen.wait_for(|frozen| !frozen).await.is_err() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(duration) => return,
                changed = self.frozen.changed() => if changed.is_err() {
                    return;
                },
            }
        }
    }
}

/// The batch on its way. Dropping it gives it up.
struct InFlight {
    records: usize,
    bytes: usize,
    task: JoinHandle<bool>,
}

impl InFlight {
    fn start(delivery: &Delivery, batch: Batch) -> Self {
        let (records, bytes) = (batch.records.len(), batch.bytes);
        Self { records, bytes, task: tokio::spawn(delivery.clone().deliver(batch.records)) }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// When the batch in flight, if any, was taken (none) or given up: the records and bytes that are lost.
async fn landed(in_flight: &mut Option<InFlight>) -> Option<(usize, usize)> {
    match in_flight {
        Some(batch) => match (&mut batch.task).await {
            Ok(true) => None,
            _ => Some((batch.records, batch.bytes)),
        },
        None => std::future::pending().await,
    }
}

async fn post(port: u16, path: &str, body: String) -> Result<u16, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(header::HOST, format!("sandbox.localdomain:{port}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))?;
    // Aborted with the set, whichever way this ends.
    let mut connections = tokio::task::JoinSet::new();
    connections.spawn(connection);
    Ok(sender.send_request(request).await?.status().as_u16())
}

#[cfg(test)]
mod tests;
