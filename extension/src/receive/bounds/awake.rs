//! Time that this process was awake. A freeze stops the process and not the clock (L-8.5): by the clock everything has
//! taken too long when it is over, and nobody has had a chance to be faster.

use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;
use tokio::time::Instant;

/// Time passes in this many pieces, of which one that a freeze has torn begins anew.
const PIECES: u32 = 5;
/// A piece that is late by this has been torn. Where only the machine was busy, everybody gets a little more time.
const TORN: Duration = Duration::from_secs(1);
/// So many torn pieces are the end too: who says nothing through so many invocations has nothing to say.
const MOST_TORN: u32 = 100;

/// Returns after so much time awake. However often the process is frozen, it is never because of that.
pub(crate) async fn sleep(time: Duration) {
    pass(time, u32::MAX).await;
}

/// What the future gives, or none when it has taken longer, awake. It is asked before the clock is.
pub(crate) async fn timeout<F: Future>(time: Duration, future: F) -> Option<F::Output> {
    before(pin!(limit(time)), future).await
}

/// What the future gives, or none when the end comes before that.
pub(crate) async fn before<F: Future>(
    mut end: Pin<&mut impl Future<Output = ()>>,
    future: F,
) -> Option<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        end.as_mut().poll(context).map(|()| None)
    })
    .await
}

/// The end of what must not be held up for ever: as [`sleep`], and after a great many freezes.
pub(crate) async fn limit(time: Duration) {
    pass(time, MOST_TORN).await;
}

async fn pass(time: Duration, most_torn: u32) {
    let piece = time / PIECES;
    let (mut whole, mut torn) = (0, 0);
    while whole < PIECES && torn < most_torn {
        let begun = Instant::now();
        tokio::time::sleep(piece).await;
        if begun.elapsed() < piece + TORN {
            whole += 1;
        } else {
            torn += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    const TIME: Duration = Duration::from_secs(5);
    const FREEZE: Duration = Duration::from_hours(1);

    #[tokio::test(start_paused = true)]
    async fn l_8_5_the_time_of_a_freeze_does_not_count() {
        let begun = Instant::now();
        sleep(TIME).await;
        assert_eq!(begun.elapsed(), TIME);

        let sleeping = tokio::spawn(sleep(TIME));
        tokio::time::sleep(TIME / 2).await;
        advance(FREEZE).await;
        let thawed = Instant::now();
        sleeping.await.unwrap();
        assert!(thawed.elapsed() >= TIME / 2 && thawed.elapsed() <= TIME, "{:?}", thawed.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn freezes_without_end_end_a_limit_and_no_sleep() {
        let mut sleeping = tokio::spawn(sleep(TIME));
        let limited = tokio::spawn(timeout(TIME, std::future::pending::<()>()));
        for _ in 0..MOST_TORN {
            assert!(!limited.is_finished());
            tokio::task::yield_now().await;
            advance(FREEZE).await;
        }
        assert_eq!(limited.await.unwrap(), None);
        assert!(!sleeping.is_finished());
        (&mut sleeping).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_ready_counts_before_the_clock() {
        let (give, taken) = tokio::sync::oneshot::channel();
        let waiting = tokio::spawn(timeout(TIME, taken));
        tokio::task::yield_now().await;
        give.send(7).unwrap();
        advance(TIME).await;
        assert_eq!(waiting.await.unwrap(), Some(Ok(7)));
    }
}
