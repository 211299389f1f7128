//! What a network does to connections that nobody watches: they are closed, reset, or left without an answer (SIM-12).

use std::sync::Arc;
use tokio::sync::watch;

/// What happens to every connection of the moment. Later ones are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cut {
    /// An orderly end.
    #[default]
    Close,
    /// A TCP reset.
    Reset,
    /// It stays open and is never answered again, as behind a router that has forgotten it.
    Stall,
}

/// A handle to the connections of an endpoint.
#[derive(Debug, Clone)]
pub struct Connections(Arc<watch::Sender<Cut>>);

impl Default for Connections {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Cut::default())))
    }
}

impl Connections {
    pub fn cut(&self, cut: Cut) {
        // Marked as changed even when it is the same again.
        self.0.send_replace(cut);
    }

    pub(super) fn watch(&self) -> watch::Receiver<Cut> {
        self.0.subscribe()
    }
}
