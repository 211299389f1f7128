//! The way from the receivers to the conductor, bounded in number and in bytes: what nobody has taken in yet is held
//! too.

use crate::received::Received;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// What may be under way, together.
const ROOM_BYTES: usize = 1024 * 1024;
const UNIT_BYTES: usize = 1024;
/// Smaller things are bounded by their number.
const FREE_BYTES: usize = 2 * 1024;
/// Halves of large frames that are being read, together.
const LARGE_ROOM_BYTES: usize = 3 * 1024 * 1024;

/// Hands over what is received. A cheap handle to the one way.
#[derive(Debug, Clone)]
pub struct Inlet {
    out: mpsc::Sender<Received>,
    room: Arc<Semaphore>,
    large_room: Arc<Semaphore>,
}

/// Nobody takes anything in any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the extension is shutting down")]
pub struct Gone;

impl Inlet {
    pub fn new(out: mpsc::Sender<Received>) -> Self {
        Self {
            out,
            room: Arc::new(Semaphore::new(ROOM_BYTES / UNIT_BYTES)),
            large_room: Arc::new(Semaphore::new(LARGE_ROOM_BYTES / UNIT_BYTES)),
        }
    }

    /// Hands over something small.
    pub async fn send(&self, received: Received) -> Result<(), Gone> {
        self.out.send(received).await.map_err(|_| Gone)
    }

    /// Hands over something that takes up so many bytes, when there is room for it.
    pub async fn send_weighed(&self, received: Received, bytes: usize) -> Result<(), Gone> {
        if bytes <= FREE_BYTES {
            return self.send(received).await;
        }
        let room = take(&self.room, bytes.min(ROOM_BYTES)).await?;
        self.send(Received::Weighed(Box::new(received), room)).await
    }

    /// Room for a frame of so many bytes while it is being read.
    pub(crate) async fn room_for_large(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Gone> {
        take(&self.large_room, bytes.min(LARGE_ROOM_BYTES)).await
    }
}

async fn take(room: &Arc<Semaphore>, bytes: usize) -> Result<OwnedSemaphorePermit, Gone> {
    let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
    Arc::clone(room).acquire_many_owned(units).await.map_err(|_| Gone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::Reason;

    fn lost(spans: u64) -> Received {
        Received::Lost { reason: Reason::Unreadable, spans }
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_takes_in_is_bounded_in_bytes() {
        let (out, mut received) = mpsc::channel(100);
        let inlet = Inlet::new(out);
        let sending = tokio::spawn(async move {
            for number in 0..10 {
                inlet.send_weighed(lost(number), 300 * 1024).await.unwrap();
            }
            inlet.send_weighed(lost(10), 100_000_000).await.unwrap();
        });
        let mut seen = 0;
        loop {
            // Everybody else has had their turn when this returns.
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            let waiting = received.len();
            assert!(waiting <= 3, "{waiting}");
            let Some(Received::Weighed(one, _room)) = received.recv().await else { break };
            assert!(matches!(*one, Received::Lost { spans, .. } if spans == seen));
            seen += 1;
        }
        assert_eq!(seen, 11);
        sending.await.unwrap();
    }
}
