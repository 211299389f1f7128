//! What reaches the extension, turned into values: frames on the agent socket, OTLP over HTTP, datagrams of X-Ray SDKs,
//! the platform's telemetry.

pub mod agent_socket;
mod awake;
pub mod daemon_tcp;
pub mod daemon_udp;
pub mod datagram;
pub mod frame;
pub mod http2;
pub mod inlet;
mod local_http;
pub mod otlp_grpc;
pub mod otlp_http;
pub mod otlp_intake;
pub mod otlp_json;
mod otlp_schema;
mod otlp_status;
mod oversize;
mod places;
pub mod platform;
pub mod process;
mod stalled_write;
pub mod telemetry_http;

/// In the crate that is compiled for speed: it is at work while the function is.
pub use crate::translate::otlp_decode;

use crate::accounts::Reason;
use crate::translate::flush::Origin;
use crate::translate::sdk::SdkDocument;
use bytes::Bytes;
use frame::{Answered, Done, Entered, Frame, FrameError, Hello};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use platform::PlatformEvent;
use process::Fate;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// One connection of an agent, numbered in the order of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Connection(pub u64);

/// What an export request holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtlpSignal {
    Traces,
    Metrics,
    Logs,
}

impl OtlpSignal {
    pub const ALL: [Self; 3] = [Self::Traces, Self::Metrics, Self::Logs];

    /// The name in paths, and in settings when in capitals.
    pub fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }
}

/// An export request that is passed on as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relayed {
    pub signal: OtlpSignal,
    /// JSON, else protobuf.
    pub is_json: bool,
    pub is_gzip: bool,
    pub body: Bytes,
}

/// Spans of one resource and scope: a part of an export request.
#[derive(Debug)]
pub struct SpansPart {
    pub origin: Arc<Origin>,
    pub spans: Vec<Span>,
    /// The request ends with it.
    pub is_last: bool,
}

/// One thing received.
#[derive(Debug)]
pub enum Received {
    Hello(Connection, Box<Hello>),
    Entered(Connection, Entered),
    Started(Connection, Box<Span>),
    Ended(Connection, Box<Span>),
    Done(Connection, Done),
    Answered(Answered),
    /// The connection is at its end: the agent's process is gone, or it begins anew.
    Closed(Connection, Fate),
    Otlp(Vec<ResourceSpans>),
    Spans(SpansPart),
    /// So many spans were too large, and had something left out.
    Shortened(u64),
    /// Something large, and the room it takes until it has been taken in.
    Weighed(Box<Self>, OwnedSemaphorePermit),
    /// Metrics or logs.
    Relayed(Relayed),
    /// What came before has been taken in, and the next export request may be unpacked.
    Next(OwnedSemaphorePermit),
    /// A record of the Telemetry API. It may come twice, late, and in any order.
    Platform(Box<PlatformEvent>),
    /// From an X-Ray SDK.
    Document(Box<SdkDocument>),
    /// So many spans arrived and could not be used, or were dropped before they could be read.
    Lost {
        reason: Reason,
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
            Ok(Frame::Answered(answered)) => Self::Answered(answered),
            Err(error) => Self::Lost { reason: Reason::Unreadable, spans: error.spans_lost() },
        }
    }
}
