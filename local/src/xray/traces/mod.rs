//! The documents that were taken, put together to traces, and what can be asked of these.

mod filter;
mod service_graph;
mod store;
mod summary;
mod trace;

pub(super) use filter::Filter;
pub(super) use service_graph::service_graph;
pub use store::{Store, Unprocessed};
pub(super) use summary::summary;
pub use trace::{Node, Trace};
