//! What `h2` takes for the connection's stream: two buffers in memory. It has read all there is when it waits, and
//! whatever it writes is taken at once.

use bytes::{Buf as _, Bytes};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Both ends are the same: one is `h2`'s, and the other its owner's.
#[derive(Debug, Clone, Default)]
pub(super) struct Wire(Arc<Mutex<Buffers>>);

#[derive(Debug, Default)]
struct Buffers {
    input: Bytes,
    output: Vec<u8>,
}

impl Wire {
    /// These bytes are read next. What came before has been read, or never will be.
    pub(super) fn put(&self, bytes: &[u8]) {
        self.buffers().input = Bytes::copy_from_slice(bytes);
    }

    /// What has been written.
    pub(super) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.buffers().output)
    }

    fn buffers(&self) -> MutexGuard<'_, Buffers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let input = &mut self.buffers().input;
        if input.is_empty() {
            *input = Bytes::new();
            // Its owner asks again when there is more.
            return Poll::Pending;
        }
        let length = input.len().min(buffer.remaining());
        buffer.put_slice(&input[..length]);
        input.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.buffers().output.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
