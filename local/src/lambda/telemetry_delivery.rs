//! Telemetry events: collected, replayed to new subscribers, delivered in batches (section 6.2).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::clock::iso8601;
use super::config::TelemetryMode;
use super::event_log::{Event, EventLog};
use super::telemetry_api::Subscription;

/// Records that wait for one subscriber, or for the first one; further ones are left out.
const QUEUE_LIMIT: usize = 10_000;

/// The three types a subscription may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Platform,
    Function,
    Extension,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Function => "function",
            Self::Extension => "extension",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::Platform, Self::Function, Self::Extension].into_iter().find(|kind| kind.as_str() == name)
    }
}

#[derive(Debug)]
struct Record {
    kind: Kind,
    json: String,
}

#[derive(Debug)]
enum Command {
    Record(Arc<Record>),
    Flush(oneshot::Sender<()>),
}

#[derive(Debug)]
struct Subscriber {
    kinds: BTreeSet<Kind>,
    queue: mpsc::Sender<Command>,
    task: AbortHandle,
}

#[derive(Debug, Default)]
struct Hub {
    closed: bool,
    /// Records of the initialisation, replayed to new subscribers (L-6.3).
    past: Vec<Arc<Record>>,
    subscribers: Vec<Subscriber>,
}

/// How a subscription was answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Subscribed {
    Accepted,
    NotSupported,
    Closed,
}

#[derive(Debug)]
pub(crate) struct Telemetry {
    mode: TelemetryMode,
    hub: Mutex<Hub>,
    frozen: watch::Sender<bool>,
    log: EventLog,
}

impl Telemetry {
    pub(crate) fn new(mode: TelemetryMode, log: EventLog) -> Self {
        Self { mode, hub: Mutex::default(), frozen: watch::Sender::new(false), log }
    }

    fn hub(&self) -> MutexGuard<'_, Hub> {
        // Nothing panics while it holds the lock.
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn subscribe(&self, extension: &str, subscription: &Subscription) -> Subscribed {
        if self.mode == TelemetryMode::NotSupported {
            return Subscribed::NotSupported;
        }
        {
            let mut hub = self.hub();
            if hub.closed {
                return Subscribed::Closed;
            }
            let (queue, commands) = mpsc::channel(QUEUE_LIMIT);
            for record in hub.past.iter().filter(|record| subscription.kinds.contains(&record.kind)) {
                let _ = queue.try_send(Command::Record(record.clone()));
            }
            let delivery = Delivery {
                extension: extension.to_owned(),
                subscription: subscription.clone(),
                frozen: self.frozen.subscribe(),
                log: self.log.clone(),
            };
            let task = tokio::spawn(delivery.run(commands)).abort_handle();
            hub.subscribers.push(Subscriber { kinds: subscription.kinds.clone(), queue, task });
        }
        let types: Vec<&str> = subscription.kinds.iter().map(|kind| kind.as_str()).collect();
        self.platform(
            "platform.telemetrySubscription",
            &json!({"name": extension, "state": "Subscribed", "types": types}),
        );
        Subscribed::Accepted
    }

    pub(crate) fn platform(&self, event_type: &str, record: &Value) {
        self.emit(Kind::Platform, event_type, record);
    }

    pub(crate) fn emit(&self, kind: Kind, event_type: &str, record: &Value) {
        let event = json!({"time": iso8601(SystemTime::now()), "type": event_type, "record": record});
        let record = Arc::new(Record { kind, json: event.to_string() });
        let mut hub = self.hub();
        for subscriber in hub.subscribers.iter().filter(|one| one.kinds.contains(&kind)) {
            let _ = subscriber.queue.try_send(Command::Record(record.clone()));
        }
        if !hub.closed && hub.past.len() < QUEUE_LIMIT {
            hub.past.push(record);
        }
    }

    /// The initialisation is over: no more subscriptions.
    pub(crate) fn close(&self) {
        let mut hub = self.hub();
        hub.closed = true;
        hub.past = Vec::new();
    }

    /// While frozen, nothing is delivered.
    pub(crate) fn set_frozen(&self, frozen: bool) {
        self.frozen.send_replace(frozen);
    }

    /// Sends what waits, as before SHUTDOWN; gives up after `limit`.
    pub(crate) async fn flush(&self, limit: Duration) {
        let mut acknowledged = Vec::new();
        for subscriber in &self.hub().subscribers {
            let (done, flushed) = oneshot::channel();
            if subscriber.queue.try_send(Command::Flush(done)).is_ok() {
                acknowledged.push(flushed);
            }
        }
        let all = async {
            for flushed in acknowledged {
                let _ = flushed.await;
            }
        };
        let _ = tokio::time::timeout(limit, all).await;
    }

    /// Back to the time before an initialisation.
    pub(crate) fn reset(&self) {
        let old = std::mem::take(&mut *self.hub());
        for subscriber in old.subscribers {
            subscriber.task.abort();
        }
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        self.reset();
    }
}

struct Delivery {
    extension: String,
    subscription: Subscription,
    frozen: watch::Receiver<bool>,
    log: EventLog,
}

impl Delivery {
    /// A batch leaves when it is full by either limit, when its first record is `timeout` old, or on a flush.
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut batch: Vec<Arc<Record>> = Vec::new();
        let mut batch_bytes = 0;
        let mut due = Instant::now();
        loop {
            let command = if batch.is_empty() {
                commands.recv().await.map(Some)
            } else {
                tokio::time::timeout_at(due, commands.recv())
                    .await
                    .map_or(Some(None), |command| command.map(Some))
            };
            let mut flushed = None;
            match command {
                None => return,
                Some(None) => {}
                Some(Some(Command::Flush(done))) => flushed = Some(done),
                Some(Some(Command::Record(record))) => {
                    if batch.is_empty() {
                        due = Instant::now() + self.subscription.timeout;
                    }
                    batch_bytes += record.json.len();
                    batch.push(record);
                    if batch.len() < self.subscription.max_items && batch_bytes < self.subscription.max_bytes
                    {
                        continue;
                    }
                }
            }
            if !batch.is_empty() {
                self.deliver(&std::mem::take(&mut batch)).await;
                batch_bytes = 0;
            }
            if let Some(done) = flushed {
                let _ = done.send(());
            }
        }
    }

    async fn deliver(&mut self, batch: &[Arc<Record>]) {
        if self.frozen.wait_for(|frozen| !frozen).await.is_err() {
            return;
        }
        let records: Vec<&str> = batch.iter().map(|record| record.json.as_str()).collect();
        let body = format!("[{}]", records.join(","));
        let status = post(self.subscription.port, &self.subscription.path, body).await;
        self.log.push(Event::TelemetryBatch {
            extension: self.extension.clone(),
            events: batch.len(),
            status: status.ok(),
        });
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
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await;
    connection.abort();
    Ok(response?.status().as_u16())
}
