//! What an OTLP export request becomes, whichever protocol brought it. One request at a time is unpacked, and a bounded
//! number of bytes waits for that, so that no number of clients fills the memory.

use super::json;
use crate::accounts::Reason;
use crate::receive::bounds::awake;
use crate::receive::bounds::inlet::{Gone, Inlet};
use crate::receive::bounds::otlp_schema::origin_bytes;
use crate::receive::bounds::oversize::{Fitted, fitted};
use crate::receive::bounds::places::{Place, Places};
use crate::received::{OtlpSignal, Received, Relayed, SpansPart};
use crate::translate::flush::Origin;
use crate::translate::otlp_decode::{self, Step, salvaged_resource, salvaged_scope};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};
use opentelemetry_proto::tonic::trace::v1::Span;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The largest request, and the largest it may become when decompressed.
pub const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;
/// Spans of a request that are decoded at once, and about what they may take up then.
const PART_SPANS: usize = 128;
const PART_BYTES: usize = 64 * 1024;
/// A resource or a scope that takes up more is passed over.
const MAX_ORIGIN_BYTES: usize = 64 * 1024;
/// Requests that are being received, together: one of the largest, and some of the usual.
const ROOM_BYTES: usize = MAX_REQUEST_BYTES + MAX_REQUEST_BYTES / 2;
const ROOM_UNIT: usize = 1024;
/// What is unpacked at a time.
const INFLATED_BYTES: usize = 64 * 1024;
/// How long a request waits for room.
const ROOM_TIME: Duration = Duration::from_secs(5);

/// How a request's body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Encoding {
    pub(super) is_json: bool,
    pub(super) compression: Compression,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    /// With the head of zlib, as the standards have it, or without, as some clients do.
    Deflate,
}

impl Compression {
    /// By the name that HTTP and gRPC have for it.
    pub(super) fn of(name: &str) -> Option<Self> {
        match name {
            "" | "identity" => Some(Self::None),
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Deflate),
            _ => None,
        }
    }
}

/// The spans of a request that could not be read, and why.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub(super) spans: u64,
    pub(super) why: String,
}

impl LeftOut {
    fn add(&mut self, spans: u64, why: Option<impl std::fmt::Display>) {
        self.spans += spans;
        if let (Some(why), true) = (why, self.why.is_empty()) {
            self.why = format!("these spans can't be read; the first: {why}");
        }
    }
}

/// Why a request is refused; the text is for whoever sent it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(
        "the request is over {MAX_REQUEST_BYTES} bytes, as it is or decompressed: export smaller batches"
    )]
    TooLarge,
    #[error("the request could not be decompressed: {0}")]
    Compression(std::io::Error),
    #[error("the request is not an OTLP ExportTraceServiceRequest: {0}")]
    Protobuf(#[from] prost::DecodeError),
    #[error("the request is not an OTLP ExportTraceServiceRequest in JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("too many requests at once, or one that has stalled while others wait")]
    Busy,
    #[error("the extension is shutting down")]
    Closing,
}

/// Room for a request, of which its place is what makes way for others.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) place: Place,
    _share: OwnedSemaphorePermit,
}

/// Takes export requests in. A cheap handle to the one intake.
#[derive(Debug, Clone)]
pub struct Intake {
    out: Inlet,
    room: Places,
    desk: Arc<Semaphore>,
}

impl Intake {
    pub fn new(out: Inlet) -> Self {
        Self { out, room: Places::sharing(ROOM_BYTES / ROOM_UNIT), desk: Arc::new(Semaphore::new(1)) }
    }

    /// Room for a request of so many bytes, for as long as what is returned is held.
    pub(super) async fn room(&self, bytes: usize) -> Result<Room, Refusal> {
        let units = bytes.min(MAX_REQUEST_BYTES).div_ceil(ROOM_UNIT);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let place = self.room.take().await;
        match awake::timeout(ROOM_TIME, place.share(units)).await.flatten() {
            Some(share) => Ok(Room { place, _share: share }),
            None => Err(Refusal::Busy),
        }
    }

    /// Takes in one request, and returns which of its spans could not be read.
    pub(super) async fn take(
        &self,
        signal: OtlpSignal,
        encoding: Encoding,
        body: Bytes,
    ) -> Result<LeftOut, Refusal> {
        if signal != OtlpSignal::Traces {
            let Encoding { is_json, compression } = encoding;
            let is_gzip = compression == Compression::Gzip;
            // Not everybody reads the other one.
            let body = if is_gzip { body } else { decompress(compression, body)? };
            let bytes = body.len();
            let relayed = Received::Relayed(Relayed { signal, is_json, is_gzip, body });
            self.out.send_weighed(relayed, bytes).await?;
            return Ok(LeftOut::default());
        }
        let desk = Arc::clone(&self.desk).acquire_owned().await.map_err(|_| Refusal::Closing)?;
        let (protobuf, mut left_out) = in_protobuf(encoding, body)?;
        self.hand_over(&protobuf, &mut left_out).await?;
        if left_out.spans > 0 {
            self.out.send(Received::Lost { reason: Reason::Unreadable, spans: left_out.spans }).await?;
        }
        self.out.send(Received::Next(desk)).await?;
        Ok(left_out)
    }

    /// Decodes the spans and hands them over, some at a time.
    async fn hand_over(&self, request: &[u8], left_out: &mut LeftOut) -> Result<(), Refusal> {
        let mut part = Part::default();
        let mut shortened = 0;
        for step in otlp_decode::steps(request)? {
            match step {
                Step::Origin { resource, scope } => {
                    if !part.spans.is_empty() {
                        part.hand_over(&self.out, false).await?;
                    }
                    part.origin = Arc::new(origin_of(resource, scope));
                }
                Step::Span(span) => {
                    match fitted(span) {
                        Ok(Fitted { span, bytes, is_shortened }) => {
                            shortened += u64::from(is_shortened);
                            part.bytes += bytes;
                            part.spans.push(span);
                        }
                        Err(error) => left_out.add(1, Some(error)),
                    }
                    if part.spans.len() == PART_SPANS || part.bytes >= PART_BYTES {
                        part.hand_over(&self.out, false).await?;
                    }
                }
                Step::Cut(error) => left_out.add(1, Some(error)),
            }
        }
        if shortened > 0 {
            self.out.send(Received::Shortened(shortened)).await?;
        }
        Ok(part.hand_over(&self.out, true).await?)
    }
}

/// Spans of one origin that are decoded.
#[derive(Default)]
struct Part {
    origin: Arc<Origin>,
    spans: Vec<Span>,
    bytes: usize,
}

impl Part {
    /// Empties it.
    async fn hand_over(&mut self, out: &Inlet, is_last: bool) -> Result<(), Gone> {
        let (origin, spans) = (Arc::clone(&self.origin), std::mem::take(&mut self.spans));
        let part = Received::Spans(SpansPart { origin, spans, is_last });
        out.send_weighed(part, std::mem::take(&mut self.bytes)).await
    }
}

impl From<Gone> for Refusal {
    fn from(_: Gone) -> Self {
        Self::Closing
    }
}

fn origin_of(resource: &[u8], scope: &[u8]) -> Origin {
    let is_small = |message: &&[u8]| origin_bytes(message) <= MAX_ORIGIN_BYTES;
    let scope = Some(scope).filter(|scope| !scope.is_empty()).filter(is_small);
    Origin {
        resource: Some(resource).filter(is_small).map(salvaged_resource).unwrap_or_default(),
        scope: scope.map(salvaged_scope),
    }
}

/// The request in protobuf, and which of its spans had to be left out for that. What it came as is gone then.
fn in_protobuf(encoding: Encoding, body: Bytes) -> Result<(Bytes, LeftOut), Refusal> {
    let body = decompress(encoding.compression, body)?;
    let mut left_out = LeftOut::default();
    if !encoding.is_json {
        return Ok((body, left_out));
    }
    let converted = json::to_protobuf(&body)?;
    left_out.add(converted.unreadable, converted.why);
    Ok((converted.protobuf.into(), left_out))
}

fn decompress(compression: Compression, body: Bytes) -> Result<Bytes, Refusal> {
    let plain = match compression {
        Compression::None => return Ok(body),
        Compression::Gzip => gunzip(&body)?,
        Compression::Deflate => inflate(&body)?,
    };
    if plain.len() > MAX_REQUEST_BYTES { Err(Refusal::TooLarge) } else { Ok(plain.into()) }
}

/// At most a little more than the limit.
fn gunzip(body: &[u8]) -> Result<Vec<u8>, Refusal> {
    let limit = u64::try_from(MAX_REQUEST_BYTES).unwrap_or(u64::MAX);
    let mut plain = Vec::new();
    MultiGzDecoder::new(body).take(limit + 1).read_to_end(&mut plain).map_err(Refusal::Compression)?;
    Ok(plain)
}

/// At most a little more than the limit. What breaks off is an error.
fn inflate(mut body: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut stream = Decompress::new(is_zlib(body));
    let mut piece = vec![0; INFLATED_BYTES];
    let mut plain = Vec::new();
    while plain.len() <= MAX_REQUEST_BYTES {
        let (read, written) = (stream.total_in(), stream.total_out());
        let status = stream.decompress(body, &mut piece, FlushDecompress::None);
        let status = status.map_err(|error| Refusal::Compression(error.into()))?;
        let count = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let (read, written) = (count(stream.total_in() - read), count(stream.total_out() - written));
        plain.extend_from_slice(piece.get(..written).unwrap_or_default());
        body = body.get(read..).unwrap_or_default();
        if status == Status::StreamEnd {
            break;
        }
        if read == 0 && written == 0 {
            return Err(Refusal::Compression(std::io::ErrorKind::UnexpectedEof.into()));
        }
    }
    Ok(plain)
}

/// Whether this begins as zlib does (RFC 1950, section 2.2), which what is deflated alone never does.
fn is_zlib(body: &[u8]) -> bool {
    matches!(body, [method, flags, ..] if method & 0x0f == 8 && u16::from_be_bytes([*method, *flags]).is_multiple_of(31))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression as Level;
    use flate2::read::{DeflateEncoder, GzEncoder, ZlibEncoder};

    fn compressed(mut reader: impl std::io::Read) -> Bytes {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        bytes.into()
    }

    #[test]
    fn what_was_compressed_is_read_and_what_breaks_off_is_not() {
        let texts =
            [vec![], b"a".to_vec(), (0..200_000_u32).map(|n| n.wrapping_mul(n).to_be_bytes()[2]).collect()];
        for text in &texts {
            for level in [0, 1, 9] {
                let level = Level::new(level);
                for (compression, body) in [
                    (Compression::Gzip, compressed(GzEncoder::new(&**text, level))),
                    (Compression::Deflate, compressed(ZlibEncoder::new(&**text, level))),
                    (Compression::Deflate, compressed(DeflateEncoder::new(&**text, level))),
                ] {
                    assert_eq!(decompress(compression, body.clone()).unwrap(), *text);
                    for cut in [0, body.len() / 2, body.len() - 1] {
                        let result = decompress(compression, body.slice(..cut));
                        assert!(matches!(result, Err(Refusal::Compression(_))), "{cut} of {}", body.len());
                    }
                }
            }
        }
    }

    #[test]
    fn a_bomb_is_never_unpacked_whole() {
        let zeros = vec![0; 4 * MAX_REQUEST_BYTES];
        let level = Level::fast();
        for (compression, body) in [
            (Compression::Gzip, compressed(GzEncoder::new(&*zeros, level))),
            (Compression::Deflate, compressed(ZlibEncoder::new(&*zeros, level))),
            (Compression::Deflate, compressed(DeflateEncoder::new(&*zeros, level))),
        ] {
            assert!(matches!(decompress(compression, body.clone()), Err(Refusal::TooLarge)));
            let most = if compression == Compression::Gzip { gunzip(&body) } else { inflate(&body) };
            assert!(most.unwrap().len() <= MAX_REQUEST_BYTES + INFLATED_BYTES);
        }
    }
}
