//! What an OTLP export request becomes, whichever protocol brought it. One request at a time is unpacked, and a bounded
//! number of bytes waits for that, so that no number of clients fills the memory.

use super::otlp_decode::{self, Decoded};
use super::otlp_json;
use super::otlp_schema::decoded_bytes;
use super::{OtlpSignal, Received, Relayed};
use crate::accounts::Reason;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// The largest request, and the largest it may become when decompressed.
pub const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;
/// The most that the spans of one request may take up in memory, beside their texts.
const MAX_DECODED_BYTES: usize = 16 * 1024 * 1024;
/// Requests that are being received, together.
const ROOM_BYTES: usize = 3 * MAX_REQUEST_BYTES;
const ROOM_UNIT: usize = 1024;
/// How long a request waits for room.
const ROOM_TIME: Duration = Duration::from_secs(5);

/// How a request's body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Encoding {
    pub(super) is_json: bool,
    pub(super) is_gzip: bool,
}

/// Why a request is refused; the text is for whoever sent it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(
        "the request is over {MAX_REQUEST_BYTES} bytes, as it is or decompressed: export smaller batches"
    )]
    TooLarge,
    #[error("the spans take up over {MAX_DECODED_BYTES} bytes in memory: export smaller batches")]
    TooMany,
    #[error("the request could not be decompressed: {0}")]
    Gzip(std::io::Error),
    #[error("the request is not an OTLP ExportTraceServiceRequest: {0}")]
    Protobuf(#[from] prost::DecodeError),
    #[error("the request is not an OTLP ExportTraceServiceRequest in JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("too many requests at once")]
    Busy,
    #[error("the extension is shutting down")]
    Closing,
}

/// What is said of spans that were left out.
pub(super) const UNREADABLE: &str =
    "these spans can't be read, for example for a text that is not UTF-8 or a value of the wrong type";

/// Takes export requests in. A cheap handle to the one intake.
#[derive(Debug, Clone)]
pub struct Intake {
    out: mpsc::Sender<Received>,
    room: Arc<Semaphore>,
    desk: Arc<Semaphore>,
}

impl Intake {
    pub fn new(out: mpsc::Sender<Received>) -> Self {
        Self {
            out,
            room: Arc::new(Semaphore::new(ROOM_BYTES / ROOM_UNIT)),
            desk: Arc::new(Semaphore::new(1)),
        }
    }

    /// Room for a request of so many bytes, for as long as what is returned is held.
    pub(super) async fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Refusal> {
        let units = bytes.min(MAX_REQUEST_BYTES).div_ceil(ROOM_UNIT);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        match tokio::time::timeout(ROOM_TIME, Arc::clone(&self.room).acquire_many_owned(units)).await {
            Ok(Ok(room)) => Ok(room),
            _ => Err(Refusal::Busy),
        }
    }

    /// Takes in one request, and returns how many of its spans could not be read.
    pub(super) async fn take(
        &self,
        signal: OtlpSignal,
        encoding: Encoding,
        body: Bytes,
    ) -> Result<u64, Refusal> {
        if signal != OtlpSignal::Traces {
            let Encoding { is_json, is_gzip } = encoding;
            self.send(Received::Relayed(Relayed { signal, is_json, is_gzip, body })).await?;
            return Ok(0);
        }
        let desk = Arc::clone(&self.desk).acquire_owned().await.map_err(|_| Refusal::Closing)?;
        let (resource_spans, unreadable) = unpack(encoding, body)?;
        self.send(Received::Otlp(resource_spans)).await?;
        if unreadable > 0 {
            self.send(Received::Lost { reason: Reason::Unreadable, spans: unreadable }).await?;
        }
        self.send(Received::Next(desk)).await?;
        Ok(unreadable)
    }

    async fn send(&self, received: Received) -> Result<(), Refusal> {
        self.out.send(received).await.map_err(|_| Refusal::Closing)
    }
}

fn unpack(encoding: Encoding, body: Bytes) -> Result<(Vec<ResourceSpans>, u64), Refusal> {
    let mut body = if encoding.is_gzip { decompress(&body)? } else { body };
    let mut left_out = 0;
    if encoding.is_json {
        let converted = otlp_json::to_protobuf(&body)?;
        body = converted.protobuf.into();
        left_out = converted.unreadable;
    }
    if decoded_bytes(&body) > MAX_DECODED_BYTES {
        return Err(Refusal::TooMany);
    }
    let Decoded { resource_spans, unreadable } = otlp_decode::decode(&body)?;
    Ok((resource_spans, unreadable + left_out))
}

fn decompress(body: &[u8]) -> Result<Bytes, Refusal> {
    let limit = u64::try_from(MAX_REQUEST_BYTES).unwrap_or(u64::MAX);
    let mut plain = Vec::new();
    match MultiGzDecoder::new(body).take(limit + 1).read_to_end(&mut plain) {
        Ok(_) if plain.len() > MAX_REQUEST_BYTES => Err(Refusal::TooLarge),
        Ok(_) => Ok(plain.into()),
        Err(error) => Err(Refusal::Gzip(error)),
    }
}
