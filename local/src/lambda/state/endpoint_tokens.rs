//! By what a process of the environment shows the local endpoints that it belongs there. Each is a variable of the
//! process, and looked for in its requests.

use std::sync::atomic::{AtomicU32, Ordering};

use uuid::Uuid;

/// The tokens, and how often the credentials behind the first were renewed.
#[derive(Debug)]
pub(crate) struct EndpointTokens {
    pub(crate) credentials: String,
    pub(crate) metadata: String,
    renewals: AtomicU32,
}

impl EndpointTokens {
    pub(crate) fn new() -> Self {
        let token = || Uuid::new_v4().simple().to_string();
        Self { credentials: token(), metadata: token(), renewals: AtomicU32::new(0) }
    }

    /// A restored environment gets other credentials (L-8.23).
    pub(crate) fn renew_credentials(&self) {
        self.renewals.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn renewals(&self) -> u32 {
        self.renewals.load(Ordering::Relaxed)
    }
}
