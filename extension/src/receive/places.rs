//! The places that a listener has for connections. When they run out, the one that has been idle for longest makes way;
//! one in the middle of a request never does.

use super::awake;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::{coop, yield_now};

/// Connections of one listener. All listeners together stay below the 1,024 descriptors that Lambda allows a process.
pub(super) const MAX_CONNECTIONS: usize = 208;
/// Those that may be in the middle of a request, each with its buffers. The others wait their turn unread.
const MAX_AT_WORK: usize = 64;
/// How long a connection may be idle. Longer than clients keep one that they don't use: who ends it is then not the one
/// who can lose a request.
pub(super) const IDLE_TIME: Duration = Duration::from_mins(10);
/// More than the head of most requests.
const FIRST_BYTES: usize = 1024;

/// A listener's places. A cheap handle.
#[derive(Debug, Clone)]
pub(super) struct Places(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    most: usize,
    idle_time: Duration,
    state: Mutex<State>,
    /// A place is free, or another one may be asked for.
    changed: Notify,
    work: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct State {
    /// Counts up, for the numbers of places and the order of idleness.
    next: u64,
    taken: BTreeMap<u64, Seat>,
}

#[derive(Debug, Default)]
struct Seat {
    /// In the order in which they became idle; none in the middle of a request.
    idle_since: Option<u64>,
    is_asked: bool,
    waker: Option<Waker>,
}

impl State {
    fn count(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Places {
    pub(super) fn new(most: usize, idle_time: Duration) -> Self {
        Self(Arc::new(Inner {
            most,
            idle_time,
            state: Mutex::default(),
            changed: Notify::new(),
            work: Arc::new(Semaphore::new(MAX_AT_WORK)),
        }))
    }

    /// A place for a newcomer, at once unless all others are in the middle of a request.
    pub(super) async fn take(&self) -> Place {
        loop {
            {
                let mut state = self.state();
                if state.taken.len() < self.0.most {
                    let number = state.count();
                    state.taken.insert(number, Seat::default());
                    return Place { number, places: self.clone() };
                }
            }
            self.ask_the_idlest();
            self.0.changed.notified().await;
        }
    }

    /// Asks for the place of the connection that has been idle for longest, unless one has been asked for already.
    pub(super) fn ask_the_idlest(&self) {
        let mut state = self.state();
        if state.taken.values().any(|seat| seat.is_asked) {
            return;
        }
        let idle = state.taken.values_mut().filter(|seat| seat.idle_since.is_some());
        if let Some(seat) = idle.min_by_key(|seat| seat.idle_since) {
            seat.is_asked = true;
            if let Some(waker) = seat.waker.take() {
                waker.wake();
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    number: u64,
    places: Places,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.state().taken.remove(&self.number);
        self.places.0.changed.notify_one();
    }
}

impl Place {
    /// Waits, idle, for the first bytes of a request. None when the connection is to end: by the other side, for a
    /// newcomer, or after a long time. What has arrived counts before that.
    pub(super) async fn first_bytes(&self, stream: &mut (impl AsyncRead + Unpin)) -> Option<Bytes> {
        self.set_idle(true);
        let mut end = pin!(awake::sleep(self.places.0.idle_time));
        let waiting = std::future::poll_fn(|context| {
            if let Poll::Ready(bytes) = poll_bytes(stream, context) {
                return Poll::Ready(Some(bytes));
            }
            let is_to_go = self.is_asked(context) || end.as_mut().poll(context).is_ready();
            if is_to_go { Poll::Ready(None) } else { Poll::Pending }
        });
        let mut bytes = coop::unconstrained(waiting).await;
        if bytes.is_none() {
            // The runtime looks at its sockets once more: a request may have arrived behind its back.
            yield_now().await;
            let late = std::future::poll_fn(|context| Poll::Ready(poll_bytes(stream, context)));
            if let Poll::Ready(late) = late.await {
                bytes = Some(late);
            }
        }
        let bytes = bytes.filter(|bytes| !bytes.is_empty());
        if bytes.is_some() {
            self.set_idle(false);
        }
        bytes
    }

    /// The turn to receive a request, for as long as what is returned is held.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places.0.work).acquire_owned().await.ok()
    }

    /// Idle from now on, or in the middle of something.
    fn set_idle(&self, is_idle: bool) {
        let mut state = self.places.state();
        let now = state.count();
        if let Some(seat) = state.taken.get_mut(&self.number) {
            *seat = Seat { idle_since: is_idle.then_some(now), ..Seat::default() };
        }
        drop(state);
        self.places.0.changed.notify_one();
    }

    /// Whether a newcomer needs the place. The task is woken when one does.
    fn is_asked(&self, context: &Context<'_>) -> bool {
        let mut state = self.places.state();
        let Some(seat) = state.taken.get_mut(&self.number) else { return true };
        seat.waker = Some(context.waker().clone());
        seat.is_asked
    }
}

/// Some bytes, or none when there will be no more. In a buffer that only lives while there is something to read.
fn poll_bytes(stream: &mut (impl AsyncRead + Unpin), context: &mut Context<'_>) -> Poll<Bytes> {
    let mut space = [MaybeUninit::uninit(); FIRST_BYTES];
    let mut buffer = ReadBuf::uninit(&mut space);
    Pin::new(stream).poll_read(context, &mut buffer).map(|read| match read {
        Ok(()) => Bytes::copy_from_slice(buffer.filled()),
        Err(_) => Bytes::new(),
    })
}
