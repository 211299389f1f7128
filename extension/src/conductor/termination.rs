//! SIGTERM: an end that no SHUTDOWN announces, as emulators and container platforms bring it.

use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::convert::Infallible;
use std::future::pending;
use tokio::net::unix::pipe;

/// How a shell names an end by SIGTERM.
const EXIT_CODE: i32 = 128 + Signal::SIGTERM as i32;

/// SIGTERM, held back until it is noticed.
#[derive(Debug)]
pub(super) struct Termination {
    /// Readable when it has come. Whatever can be polled is a pipe to the runtime.
    asked: pipe::Receiver,
}

impl Termination {
    /// From now on SIGTERM waits. `None` where that can't be: it ends the process at once then, as before. Called by
    /// the first thread while it is alone: others take over what it holds back.
    pub(super) fn hold_back() -> Option<Self> {
        let sigterm = SigSet::from(Signal::SIGTERM);
        let asked = SignalFd::with_flags(&sigterm, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).ok()?;
        let asked = pipe::Receiver::from_owned_fd_unchecked(asked.into()).ok()?;
        sigterm.thread_block().ok()?;
        Some(Self { asked })
    }

    /// Ends the process by the signal that was held back, so that whoever has sent it sees what it expects.
    #[expect(clippy::unused_self, reason = "only who has held the signal back ends by it")]
    pub(super) fn end(self) -> Infallible {
        let _ = SigSet::from(Signal::SIGTERM).thread_unblock();
        let _ = raise(Signal::SIGTERM);
        // The first process of a container is not ended by it.
        std::process::exit(EXIT_CODE)
    }
}

/// Waits for SIGTERM, or for ever.
pub(super) async fn asked_to_end(termination: Option<&Termination>) {
    let Some(termination) = termination else { return pending().await };
    if termination.asked.readable().await.is_err() {
        pending::<()>().await;
    }
}
