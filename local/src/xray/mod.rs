//! An X-Ray endpoint on this machine: it takes documents, refuses what X-Ray refuses, and answers queries. Requests come
//! to `endpoint`, are kept and put together in `traces`, and each of their documents is checked in `document`.

mod document;
mod endpoint;
mod traces;

pub use document::{Accepted, Rejection, validate};
pub use endpoint::{Connections, Cut, Endpoint, Fault, Faults, RecordedRequest, Sampling};
pub use traces::{Node, Store, Trace, Unprocessed};
