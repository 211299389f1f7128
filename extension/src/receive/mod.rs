//! What reaches the extension: frames on the agent socket and OTLP over HTTP, turned into values.

pub mod agent_socket;
pub mod frame;
pub mod otlp_decode;
pub mod otlp_http;

use frame::{Done, Entered, Hello};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};

/// One connection of an agent, numbered in the order of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Connection(pub u64);

/// One thing received.
#[derive(Debug)]
pub enum Received {
    Hello(Connection, Box<Hello>),
    Entered(Connection, Entered),
    Started(Connection, Box<Span>),
    Ended(Connection, Box<Span>),
    Done(Connection, Done),
    /// The connection is at its end: the agent's process is gone, or it begins anew.
    Closed(Connection),
    Otlp(Vec<ResourceSpans>),
    /// So many spans arrived and could not be read.
    Unreadable {
        spans: u64,
    },
}
