//! A client that sends and never reads holds its connection no longer than one that stops in the middle of sending.

use super::awake;
use bytes::{Buf as _, Bytes};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream whose writes fail when the other side has taken nothing for a while.
pub(crate) struct Impatient<S> {
    stream: S,
    limit: Duration,
    /// Runs while a write waits.
    patience: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// What has been read and is to be read again.
    unread: Bytes,
    /// Whether a write waits, for those who have only this.
    is_stuck: Arc<AtomicBool>,
}

impl<S> Impatient<S> {
    pub(crate) fn new(stream: S, limit: Duration) -> Self {
        Self { stream, limit, patience: None, unread: Bytes::new(), is_stuck: Arc::default() }
    }

    /// These bytes are read next.
    pub(crate) fn put_back(&mut self, bytes: Bytes) {
        self.unread =
            if self.unread.is_empty() { bytes } else { [bytes, self.unread.clone()].concat().into() };
    }

    /// Whether something is still to be written.
    pub(crate) fn is_waiting(&self) -> bool {
        self.patience.is_some()
    }

    /// Whether something is still to be written, also when the stream is somebody else's by then.
    pub(crate) fn is_stuck(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_stuck)
    }

    /// What a write has come to. One that waits is an error when the time is up.
    fn judge<T>(&mut self, context: &mut Context<'_>, write: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.is_stuck.store(write.is_pending(), Ordering::Relaxed);
        if write.is_ready() {
            self.patience = None;
            return write;
        }
        let limit = self.limit;
        let patience = self.patience.get_or_insert_with(|| Box::pin(awake::limit(limit)));
        ready!(patience.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.unread.is_empty() {
            let length = self.unread.len().min(buffer.remaining());
            buffer.put_slice(&self.unread[..length]);
            self.unread.advance(length);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(context, write)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing is kept back here or in a socket: it is asked for again and again, and says nothing of the other side.
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shutdown = Pin::new(&mut self.stream).poll_shutdown(context);
        self.judge(context, shutdown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn a_write_that_nobody_takes_fails_when_its_time_is_up() {
        let (ours, _theirs) = tokio::io::duplex(4);
        let mut stream = Impatient::new(ours, LIMIT);
        let begun = tokio::time::Instant::now();
        let error = stream.write_all(b"longer than it takes").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= LIMIT && begun.elapsed() < LIMIT * 2, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn what_was_put_back_is_read_first() {
        let (ours, mut theirs) = tokio::io::duplex(16);
        theirs.write_all(b" and more").await.unwrap();
        let mut stream = Impatient::new(ours, LIMIT);
        stream.put_back(Bytes::from_static(b"ce"));
        stream.put_back(Bytes::from_static(b"on"));
        let mut read = [0; 3];
        for expected in [b"onc", b"e a", b"nd ", b"mor"] {
            stream.read_exact(&mut read).await.unwrap();
            assert_eq!(&read, expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_reads_slowly_gets_everything() {
        let (ours, mut theirs) = tokio::io::duplex(1);
        let writer = tokio::spawn(async move { Impatient::new(ours, LIMIT).write_all(b"slowly").await });
        let mut read = Vec::new();
        while read.len() < 6 {
            tokio::time::sleep(LIMIT / 2).await;
            read.push(theirs.read_u8().await.unwrap());
        }
        assert_eq!(read, b"slowly");
        writer.await.unwrap().unwrap();
    }
}
