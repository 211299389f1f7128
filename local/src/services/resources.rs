//! Which functions and queues there are, and how they are named.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use super::queue::Queue;
use crate::lambda::LambdaEnvironment;

const REGION: &str = "us-east-1";
const ACCOUNT: &str = "123456789012";

/// The functions and queues that exist. A service is asked for one by its name.
#[derive(Debug)]
pub(super) struct Resources {
    /// Where the services are reached.
    pub(super) address: SocketAddr,
    functions: RwLock<BTreeMap<String, Arc<LambdaEnvironment>>>,
    queues: RwLock<BTreeMap<String, Queue>>,
}

impl Resources {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, functions: RwLock::default(), queues: RwLock::default() }
    }

    /// From now on the function can be invoked by this name.
    pub(super) fn add_function(&self, name: &str, environment: Arc<LambdaEnvironment>) {
        let mut functions = self.functions.write().unwrap_or_else(PoisonError::into_inner);
        functions.insert(name.to_owned(), environment);
    }

    /// Makes a queue, or finds the one of that name.
    pub(super) fn add_queue(&self, name: &str) -> Queue {
        let mut queues = self.queues.write().unwrap_or_else(PoisonError::into_inner);
        queues.entry(name.to_owned()).or_insert_with(|| Queue::new(name)).clone()
    }

    pub(super) fn function(&self, name: &str) -> Option<Arc<LambdaEnvironment>> {
        self.functions.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    pub(super) fn queue(&self, name: &str) -> Option<Queue> {
        self.queues.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    pub(super) fn queue_url(&self, name: &str) -> String {
        format!("http://{}/{ACCOUNT}/{name}", self.address)
    }

    pub(super) fn queue_arn(name: &str) -> String {
        format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}")
    }

    pub(super) fn region() -> &'static str {
        REGION
    }
}
