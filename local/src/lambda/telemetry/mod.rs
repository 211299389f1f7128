//! Telemetry events: collected, replayed to new subscribers, delivered in batches (section 6.2). The platform's records and
//! the lines of processes come in; batches go out to what extensions have subscribed with.

mod delivery;
mod record;
pub(crate) mod subscription;

pub(crate) use record::Kind;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;

use crate::lambda::clock::WallClock;
use crate::lambda::config::{TelemetryFaults, TelemetryMode};
use crate::lambda::event_log::EventLog;
use delivery::{Command, Delivery};
use record::Record;
use subscription::Subscription;

/// Records that wait for one subscriber, or for the first one; further ones are left out.
const QUEUE_LIMIT: usize = 10_000;

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
    faults: TelemetryFaults,
    hub: Mutex<Hub>,
    frozen: watch::Sender<bool>,
    clock: WallClock,
    log: EventLog,
}

impl Telemetry {
    pub(crate) fn new(mode: TelemetryMode, faults: TelemetryFaults, clock: WallClock, log: EventLog) -> Self {
        Self { mode, faults, hub: Mutex::default(), frozen: watch::Sender::new(false), clock, log }
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
                faults: self.faults,
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
        let record = Arc::new(Record::new(kind, self.clock.now(), event_type, record));
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
