//! What reaches the extension, as plain values: [`crate::receive`] makes them, [`crate::invocation`] takes them in, and neither knows
//! the other.

mod agent;
mod otlp;
pub mod platform;
mod process;

pub use agent::{Answered, Done, Entered, Hello};
pub use otlp::{OtlpSignal, Relayed, SpansPart};
pub use process::{Exit, Fate};

use crate::accounts::Reason;
use crate::translate::sdk::SdkDocument;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use platform::PlatformEvent;
use tokio::sync::OwnedSemaphorePermit;

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
