//! One queue: what is sent to it, who has taken what, and how often.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use md5::{Digest, Md5};
use serde_json::{Map, Value, json};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::lambda::epoch_ms;

/// Messages in a queue; further ones are refused.
const CAPACITY: usize = 10_000;
/// How often a message is handed out before it is a dead letter.
const RECEIVES: u32 = 3;

/// A message as it was sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub id: String,
    pub body: String,
    /// The system attribute `AWSTraceHeader`.
    pub trace_header: Option<String>,
    /// As sent: `{name: {"DataType", "StringValue" | "BinaryValue"}}`.
    pub attributes: Map<String, Value>,
    sent_ms: u64,
    receives: u32,
}

impl Message {
    pub(super) fn new(body: String, attributes: Map<String, Value>, trace_header: Option<String>) -> Self {
        let id = Uuid::new_v4().to_string();
        Self { id, body, trace_header, attributes, sent_ms: epoch_ms(SystemTime::now()), receives: 0 }
    }

    /// Some SDKs check it.
    pub(super) fn md5_of_body(&self) -> String {
        format!("{:032x}", u128::from_be_bytes(Md5::digest(&self.body).into()))
    }

    /// The system attributes as a receiver sees them.
    pub(super) fn system_attributes(&self) -> Value {
        let mut attributes = json!({
            "ApproximateReceiveCount": self.receives.to_string(),
            "SentTimestamp": self.sent_ms.to_string(),
            "SenderId": "AIDAEXAMPLE",
            "ApproximateFirstReceiveTimestamp": epoch_ms(SystemTime::now()).to_string(),
        });
        if let Some(header) = &self.trace_header {
            attributes["AWSTraceHeader"] = json!(header);
        }
        attributes
    }
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<Message>,
    /// By receipt handle.
    taken: BTreeMap<String, Message>,
    dead_letters: Vec<Message>,
    deleted: usize,
}

/// A handle to the one queue of a name.
#[derive(Debug, Clone)]
pub struct Queue {
    pub(super) name: String,
    inner: Arc<Mutex<Inner>>,
    arrived: Arc<Notify>,
}

impl Queue {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), inner: Arc::default(), arrived: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it holds the lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there was room.
    pub(super) fn send(&self, message: Message) -> bool {
        let mut inner = self.lock();
        if inner.waiting.len() + inner.taken.len() >= CAPACITY {
            return false;
        }
        inner.waiting.push_back(message);
        drop(inner);
        self.arrived.notify_waiters();
        true
    }

    /// Takes up to `count` messages, each with its receipt handle; they are gone once they are deleted.
    pub(super) fn receive(&self, count: usize) -> Vec<(String, Message)> {
        let mut inner = self.lock();
        let count = count.min(inner.waiting.len());
        let mut messages: Vec<Message> = inner.waiting.drain(..count).collect();
        let mut received = Vec::new();
        for message in &mut messages {
            message.receives += 1;
            let receipt = Uuid::new_v4().to_string();
            inner.taken.insert(receipt.clone(), message.clone());
            received.push((receipt, message.clone()));
        }
        received
    }

    /// The same, once there is something.
    pub(super) async fn receive_some(&self, count: usize) -> Vec<(String, Message)> {
        loop {
            let arrived = self.arrived.notified();
            tokio::pin!(arrived);
            // Before the look: a message that comes in between is not missed.
            arrived.as_mut().enable();
            let received = self.receive(count);
            if !received.is_empty() {
                return received;
            }
            arrived.await;
        }
    }

    /// Whether somebody had it.
    pub(super) fn delete(&self, receipt: &str) -> bool {
        let mut inner = self.lock();
        let known = inner.taken.remove(receipt).is_some();
        inner.deleted += usize::from(known);
        known
    }

    /// Gives a message back, to be received again, or lets it be a dead letter when that has happened too often.
    pub(super) fn give_back(&self, receipt: &str) {
        let mut inner = self.lock();
        if let Some(message) = inner.taken.remove(receipt) {
            if message.receives >= RECEIVES {
                inner.dead_letters.push(message);
            } else {
                inner.waiting.push_back(message);
            }
        }
        drop(inner);
        self.arrived.notify_waiters();
    }

    /// Messages that wait for a receiver or are with one.
    pub fn depth(&self) -> usize {
        let inner = self.lock();
        inner.waiting.len() + inner.taken.len()
    }

    /// How many messages were dealt with.
    pub fn deleted(&self) -> usize {
        self.lock().deleted
    }

    /// The messages that wait.
    pub fn waiting(&self) -> Vec<Message> {
        self.lock().waiting.iter().cloned().collect()
    }

    /// The messages that failed too often.
    pub fn dead_letters(&self) -> Vec<Message> {
        self.lock().dead_letters.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_md5_of_a_body_is_in_hexadecimal() {
        for (body, digest) in [
            ("a", "0cc175b9c0f1b6a831c399e269772661"),
            ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
        ] {
            assert_eq!(Message::new(body.to_owned(), Map::new(), None).md5_of_body(), digest, "{body}");
        }
    }

    #[test]
    fn messages_are_taken_deleted_given_back_and_put_aside() {
        let queue = Queue::new("orders");
        for body in ["one", "two", "three"] {
            assert!(queue.send(Message::new(body.to_owned(), Map::new(), None)));
        }
        let first = queue.receive(2);
        assert_eq!(
            first.iter().map(|(_, message)| message.body.as_str()).collect::<Vec<_>>(),
            ["one", "two"]
        );
        assert!(queue.delete(&first[0].0) && !queue.delete(&first[0].0));
        queue.give_back(&first[1].0);
        assert_eq!((queue.depth(), queue.deleted()), (2, 1));
        for _ in 0..RECEIVES {
            for (receipt, _) in queue.receive(10) {
                queue.give_back(&receipt);
            }
        }
        assert_eq!(queue.depth(), 0);
        let bodies: Vec<_> = queue.dead_letters().into_iter().map(|message| message.body).collect();
        assert_eq!(bodies.len(), 2);
    }

    #[tokio::test]
    async fn a_receiver_waits_for_a_message() {
        let queue = Queue::new("orders");
        let waits = tokio::spawn({
            let queue = queue.clone();
            async move { queue.receive_some(10).await }
        });
        tokio::task::yield_now().await;
        queue.send(Message::new("late".to_owned(), Map::new(), Some("Root=1".to_owned())));
        let received =
            tokio::time::timeout(std::time::Duration::from_secs(30), waits).await.unwrap().unwrap();
        assert_eq!(received[0].1.system_attributes()["AWSTraceHeader"], "Root=1");
    }
}
