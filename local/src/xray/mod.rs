//! An X-Ray endpoint on this machine: it takes documents, refuses what X-Ray refuses, and answers queries.

mod api;
mod cause;
mod connections;
mod document;
mod endpoint;
mod faults;
mod fields;
mod filter;
mod findings;
mod labels;
mod resettable;
mod sampling;
mod service_graph;
mod signature;
mod store;
mod summary;
mod trace;

pub use connections::{Connections, Cut};
pub use document::{Accepted, Rejection, validate};
pub use endpoint::{Endpoint, RecordedRequest};
pub use faults::{Fault, Faults};
pub use sampling::Sampling;
pub use store::{Store, Unprocessed};
pub use trace::{Node, Trace};
