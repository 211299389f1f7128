//! What reaches the extension: frames on the agent socket and OTLP over HTTP, turned into values.

pub mod agent_socket;
pub mod frame;
pub mod otlp_decode;
pub mod otlp_http;

use frame::{Done, Entered, Frame, FrameError, Hello};
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

impl Received {
    /// What an agent's frame says, or what is lost with one that could not be used.
    pub fn of_frame(connection: Connection, frame: Result<Frame, FrameError>) -> Self {
        match frame {
            Ok(Frame::Hello(hello)) => Self::Hello(connection, hello),
            Ok(Frame::Entered(entered)) => Self::Entered(connection, entered),
            Ok(Frame::Started(span)) => Self::Started(connection, span),
            Ok(Frame::Ended(span)) => Self::Ended(connection, span),
            Ok(Frame::Done(done)) => Self::Done(connection, done),
            Err(error) => Self::Unreadable { spans: error.spans_lost() },
        }
    }
}
