//! The places that a listener has for connections, and those for requests. When they run out, somebody makes way at once:
//! the one that has been idle for longest, else the one whose client has stalled for longest in the middle of a request.
//! Whoever is being worked for never does.

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
pub(crate) const MAX_CONNECTIONS: usize = 208;
/// Those that may be in the middle of a request, each with its buffers. The others wait their turn unread.
const MAX_AT_WORK: usize = 64;
/// Where nobody could make way, somebody is looked for again after this.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// How long a connection may be idle. Longer than clients keep one that they don't use: who ends it is then not the one
/// who can lose a request.
pub(crate) const IDLE_TIME: Duration = Duration::from_mins(10);
/// More than the head of most requests.
const FIRST_BYTES: usize = 1024;

/// A listener's places. A cheap handle.
#[derive(Debug, Clone)]
pub(crate) struct Places(Arc<Inner>);

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
    /// Those who wait for a place or a turn.
    wanting: usize,
}

#[derive(Debug, Default)]
struct Seat {
    /// In the order in which they became idle; none in the middle of a request.
    idle_since: Option<u64>,
    /// In the order in which they began to wait for their clients, in the middle of a request.
    stalled_since: Option<u64>,
    is_asked: bool,
    waker: Option<Waker>,
}

impl State {
    fn count(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Asks whoever has been in this state for longest, and for no more than there are who need it.
    fn ask(&mut self, since: impl Fn(&Seat) -> Option<u64>) -> bool {
        let asked = self.taken.values().filter(|seat| seat.is_asked).count();
        if asked >= self.wanting.max(1) {
            return true;
        }
        let able = self.taken.values_mut().filter(|seat| !seat.is_asked && since(seat).is_some());
        let Some(seat) = able.min_by_key(|seat| since(seat)) else { return false };
        seat.is_asked = true;
        if let Some(waker) = seat.waker.take() {
            waker.wake();
        }
        true
    }
}

impl Places {
    pub(crate) fn new(most: usize, idle_time: Duration) -> Self {
        Self::of(most, idle_time, MAX_AT_WORK)
    }

    /// Places for as many as there are, who share so much of something.
    pub(crate) fn sharing(units: usize) -> Self {
        Self::of(usize::MAX, IDLE_TIME, units)
    }

    fn of(most: usize, idle_time: Duration, units: usize) -> Self {
        Self(Arc::new(Inner {
            most,
            idle_time,
            state: Mutex::default(),
            changed: Notify::new(),
            work: Arc::new(Semaphore::new(units)),
        }))
    }

    /// A place for a newcomer, at once unless nobody waits for a client.
    pub(crate) async fn take(&self) -> Place {
        let mut wanting = None;
        loop {
            {
                let mut state = self.state();
                if state.taken.len() < self.0.most {
                    let number = state.count();
                    state.taken.insert(number, Seat::default());
                    return Place { number, places: self.clone() };
                }
            }
            wanting.get_or_insert_with(|| Wanting::one_more(self));
            {
                let mut state = self.state();
                if !state.ask(|seat| seat.idle_since) {
                    state.ask(|seat| seat.stalled_since);
                }
            }
            let _ = tokio::time::timeout(ASK_AGAIN, self.0.changed.notified()).await;
        }
    }

    /// Asks for the place of the connection that has been idle for longest, unless one has been asked for already.
    pub(crate) fn ask_the_idlest(&self) {
        self.state().ask(|seat| seat.idle_since);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who waits for a place or a turn, until it is dropped.
struct Wanting<'a>(&'a Places);

impl<'a> Wanting<'a> {
    fn one_more(places: &'a Places) -> Self {
        let mut state = places.state();
        state.wanting = state.wanting.saturating_add(1);
        Self(places)
    }
}

impl Drop for Wanting<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.wanting = state.wanting.saturating_sub(1);
    }
}

/// One connection's place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
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
    pub(crate) async fn first_bytes(&self, stream: &mut (impl AsyncRead + Unpin)) -> Option<Bytes> {
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

    /// The turn to receive a request, for as long as what is returned is held. At once unless nobody waits for a client.
    pub(crate) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        let mut turn = pin!(Arc::clone(&self.places.0.work).acquire_owned());
        if let Poll::Ready(turn) =
            std::future::poll_fn(|context| Poll::Ready(turn.as_mut().poll(context))).await
        {
            return turn.ok();
        }
        let _wanting = Wanting::one_more(&self.places);
        loop {
            self.places.state().ask(|seat| seat.stalled_since);
            if let Ok(turn) = tokio::time::timeout(ASK_AGAIN, turn.as_mut()).await {
                return turn.ok();
            }
        }
    }

    /// So many units of what all share. Whoever is waited for and has stalled since somebody needs its share makes way:
    /// one that only seems to, between two pieces of a body, has time to go on.
    pub(crate) async fn share(&self, units: u32) -> Option<OwnedSemaphorePermit> {
        let mut share = pin!(Arc::clone(&self.places.0.work).acquire_many_owned(units));
        let mut wanting = None;
        loop {
            let asked_at = self.places.state().count();
            if let Some(share) = awake::timeout(ASK_AGAIN, share.as_mut()).await {
                return share.ok();
            }
            wanting.get_or_insert_with(|| Wanting::one_more(&self.places));
            self.places.state().ask(|seat| seat.stalled_since.filter(|since| *since < asked_at));
        }
    }

    /// What comes from the client of whoever has a place; none when that is to make way for somebody else.
    pub(crate) async fn client<F: Future>(place: Option<&Self>, client: F) -> Option<F::Output> {
        match place {
            Some(place) => place.work(client, || Some(0)).await,
            None => Some(client.await),
        }
    }

    /// Works on requests; none when somebody else needs what is held for them and the client has stalled for longest.
    /// `waits` says, where there is nothing to do, whether that is because of the client, and how much has come from it.
    pub(crate) async fn work<F: Future>(
        &self,
        work: F,
        waits: impl Fn() -> Option<usize>,
    ) -> Option<F::Output> {
        let mut work = pin!(work);
        let mut came = None;
        loop {
            let done = std::future::poll_fn(|context| {
                if let Poll::Ready(output) = work.as_mut().poll(context) {
                    return Poll::Ready(Some(output));
                }
                let now = waits();
                if now != came {
                    came = now;
                    self.set_stalled(now.is_some());
                }
                if self.is_asked(context) && now.is_some() { Poll::Ready(None) } else { Poll::Pending }
            });
            let mut done = done.await;
            if done.is_none() {
                // The runtime looks at its sockets once more: something may have arrived behind its back.
                yield_now().await;
                let late = std::future::poll_fn(|context| Poll::Ready(work.as_mut().poll(context)));
                match late.await {
                    Poll::Ready(output) => done = Some(output),
                    Poll::Pending if waits() != came => continue,
                    Poll::Pending => {}
                }
            }
            self.set_stalled(false);
            return done;
        }
    }

    /// Waiting for the client from now on, or not.
    fn set_stalled(&self, is_stalled: bool) {
        let mut state = self.places.state();
        let now = state.count();
        if let Some(seat) = state.taken.get_mut(&self.number) {
            *seat = Seat { stalled_since: is_stalled.then_some(now), ..Seat::default() };
        }
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
