//! A panic ends at the edge of what was being done, and not what is held beside it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

/// Runs it to its end, or to a panic, of which this is the message. What the future borrowed is as the panic left it:
/// whoever owns that has to put it in order.
pub(crate) async fn caught<T>(future: impl Future<Output = T>) -> Result<T, String> {
    let mut future = pin!(future);
    std::future::poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => Poll::Ready(Err(message(&*panic))),
    })
    .await
}

/// What a panic said, up to what it quotes: that may be of a span.
pub(crate) fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("a panic without words");
    text.split(['`', '\'', '"']).next().unwrap_or_default().trim_end().chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn p1_a_panic_is_an_error_with_its_words_also_after_a_pause() {
        assert_eq!(caught(async { 7 }).await, Ok(7));
        let late = async {
            tokio::task::yield_now().await;
            assert!(std::hint::black_box(false), "number {}", 3);
        };
        assert_eq!(caught(late).await, Err("number 3".to_owned()));
        let secret = std::hint::black_box("SÉCRET");
        let said = caught(async move { secret[..2].len() }).await.unwrap_err();
        assert!(said.contains("boundary") && !said.contains("CRET"), "{said}");
    }
}
