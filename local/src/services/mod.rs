//! The AWS services through which one function reaches another: Lambda's `Invoke` and SQS with its event source.
//!
//! All of it is served on one loopback address. A function finds it by the variables of [`LocalServices::variables`].
//! Requests of SDKs come in; invocations of other environments go out. Tests of several functions start it.

mod call;
mod event_source;
mod invoke;
mod queue;
mod resources;
mod server;
mod sqs;
mod sqs_query;

pub use queue::{Message, Queue};
pub use server::LocalServices;
