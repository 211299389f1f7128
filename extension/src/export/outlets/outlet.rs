//! One outlet, whichever it is.

use crate::accounts::{Accounts, Reason};
use crate::export::daemon::Daemon;
use crate::export::otlp::Otlp;
use crate::export::pacing::clocks::Window;
use crate::export::xray::Xray;
use crate::log::{Level, Log};
use crate::settings::OutletKind;

/// One outlet.
#[derive(Debug)]
pub(super) enum Outlet {
    Xray(Box<Xray>),
    Daemon(Box<Daemon>),
    Otlp(Box<Otlp>),
}

impl Outlet {
    pub(super) async fn flush(&mut self, window: Window) {
        match self {
            Self::Xray(xray) => xray.flush(window).await,
            Self::Daemon(daemon) => daemon.flush(window).await,
            Self::Otlp(otlp) => otlp.flush(window).await,
        }
    }

    /// What became of a flush, whatever ended it; what has not left waits.
    pub(super) fn settle(&mut self, window: Window) -> Accounts {
        match self {
            Self::Xray(xray) => xray.settle(window),
            Self::Daemon(daemon) => daemon.settle(),
            Self::Otlp(otlp) => otlp.settle(window),
        }
    }

    /// It panicked over a flush. What is neither in the accounts nor here any more is lost.
    pub(super) fn failed(&self, panic: &str, expected: u64, accounts: &mut Accounts, log: &Log) {
        let mut whole = accounts.clone();
        whole.receive(expected);
        let lost = whole.carried().saturating_sub(self.waiting_spans());
        accounts.drop(Reason::OutletFailed, lost);
        log.say(
            Level::Error,
            format_args!(
                "the outlet {} failed, {lost} spans are lost and {} are kept for later: {panic}",
                self.kind().name(),
                self.waiting_spans()
            ),
        );
    }

    pub(super) fn otlp(&mut self) -> Option<&mut Otlp> {
        match self {
            Self::Otlp(otlp) => Some(otlp),
            Self::Xray(_) | Self::Daemon(_) => None,
        }
    }

    pub(super) fn has_relayed(&self) -> bool {
        matches!(self, Self::Otlp(otlp) if otlp.has_relayed())
    }

    /// What comes from now on is of a flush of its own.
    pub(super) fn begin_flush(&mut self) {
        match self {
            Self::Xray(xray) => xray.begin_flush(),
            Self::Daemon(daemon) => drop(daemon.buffer().next_generation()),
            Self::Otlp(otlp) => otlp.begin_flush(),
        }
    }

    pub(super) fn takes_documents(&self) -> bool {
        !matches!(self, Self::Otlp(_))
    }

    pub(super) fn kind(&self) -> OutletKind {
        match self {
            Self::Xray(_) => OutletKind::Xray,
            Self::Daemon(_) => OutletKind::Daemon,
            Self::Otlp(_) => OutletKind::Otlp,
        }
    }

    pub(super) fn has_waiting(&self) -> bool {
        match self {
            Self::Xray(xray) => xray.has_waiting(),
            Self::Daemon(daemon) => daemon.has_waiting(),
            Self::Otlp(otlp) => otlp.has_waiting(),
        }
    }

    pub(super) fn waiting_spans(&self) -> u64 {
        match self {
            Self::Xray(xray) => xray.waiting_spans(),
            Self::Daemon(daemon) => daemon.waiting_spans(),
            Self::Otlp(otlp) => otlp.waiting_spans(),
        }
    }
}
