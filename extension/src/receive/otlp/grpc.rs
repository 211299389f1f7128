//! OTLP over gRPC, for a function that carries an OpenTelemetry SDK of its own: the unary `Export` of the trace, metrics
//! and logs services, plain, gzip or deflate, on a loopback address. Bounded as [`super::http`] is.

use super::http2::{Answer, Connection, Headers, MAX_BUFFERED_BYTES, Request};
use super::intake::{Compression, Encoding, Intake, LeftOut, MAX_REQUEST_BYTES, Refusal, Room};
use super::status::{self, Code};
use crate::log::Log;
use crate::receive::bounds::awake;
use crate::receive::bounds::local_http;
use crate::receive::bounds::places::Place;
use crate::received::OtlpSignal;
use bytes::Bytes;
use hyper::StatusCode;
use std::fmt::Write as _;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// How long a client may take for a request, or to read an answer.
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// Above this, a connection needs room that all share.
const FREE_BYTES: usize = 64 * 1024;
const READ_BYTES: usize = 16 * 1024;
const PREFIX_BYTES: usize = 5;

/// Serves for ever.
pub async fn serve(listener: TcpListener, intake: Intake, log: Log) {
    let connected = |stream, place| Some(converse(stream, place, intake.clone()));
    local_http::accept(listener, log, connected).await;
}

/// Serves one connection until either side ends it.
async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, place: Place, intake: Intake) {
    let mut connection = Connection::default();
    while tell(&mut stream, &mut connection, &place).await && !connection.is_over() {
        let Some(first) = place.first_bytes(&mut stream).await else {
            connection.close();
            tell(&mut stream, &mut connection, &place).await;
            break;
        };
        let Some(turn) = place.turn().await else { return };
        let went_on = serve_requests(&mut stream, &mut connection, &first, &place, &intake).await;
        drop(turn);
        if went_on.is_none() {
            tell(&mut stream, &mut connection, &place).await;
            break;
        }
    }
    let _ = stream.shutdown().await;
}

/// Reads and answers, from these bytes on, until the connection is idle. None at its end.
async fn serve_requests(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    connection: &mut Connection,
    first: &[u8],
    place: &Place,
    intake: &Intake,
) -> Option<()> {
    let mut room: Option<Room> = None;
    let mut end = Box::pin(awake::limit(REQUEST_TIME));
    let mut buffer = Vec::new();
    connection.receive(first).ok()?;
    loop {
        if answer_all(connection, intake).await {
            end = Box::pin(awake::limit(REQUEST_TIME));
        }
        if !connection.is_under_way() {
            return Some(());
        }
        match (connection.buffered_bytes() > FREE_BYTES, room.is_some()) {
            (false, true) => room = None,
            (true, false) => room = Some(intake.room(MAX_BUFFERED_BYTES).await.ok()?),
            _ => {}
        }
        let holder = room.as_ref().map(|room| &room.place);
        if Place::client(holder, tell(stream, connection, place)).await != Some(true) || connection.is_over()
        {
            return None;
        }
        buffer.clear();
        buffer.reserve(READ_BYTES);
        let reading = awake::before(end.as_mut(), stream.read_buf(&mut buffer));
        let reading = Place::client(holder, place.work(reading, || Some(0)));
        let Some(read) = reading.await.flatten().flatten() else {
            connection.close();
            return None;
        };
        if !matches!(read, Ok(1..)) || connection.receive(&buffer).is_err() {
            return None;
        }
    }
}

/// Writes what is to be written; the client takes it in time and before others need its place, or is gone.
async fn tell(stream: &mut (impl AsyncWrite + Unpin), connection: &mut Connection, place: &Place) -> bool {
    let output = connection.output();
    let writing = awake::timeout(REQUEST_TIME, stream.write_all(&output));
    matches!(place.work(writing, || Some(0)).await, Some(Some(Ok(()))))
}

async fn answer_all(connection: &mut Connection, intake: &Intake) -> bool {
    let mut answered = false;
    while let Some(request) = connection.next_request() {
        let stream = request.stream;
        let answer = match receive(request, intake).await {
            Ok(left_out) => taken(&left_out),
            Err(refusal) => refused(&refusal),
        };
        connection.answer(stream, answer);
        answered = true;
    }
    answered
}

/// Why a call is refused; the text goes with the status.
#[derive(Debug, thiserror::Error)]
enum GrpcRefusal {
    #[error("this is gRPC; OTLP over HTTP has a port of its own")]
    NotGrpc,
    #[error("only Export of the trace, metrics and logs services is served here")]
    Method,
    #[error("content type {0:?} is not understood: send application/grpc")]
    ContentType(String),
    #[error("message encoding {0:?} is not understood: send gzip, deflate or identity")]
    Encoding(String),
    #[error("the call is not one whole message")]
    Message,
    #[error(transparent)]
    Request(#[from] Refusal),
}

impl GrpcRefusal {
    fn code(&self) -> Code {
        match self {
            Self::NotGrpc | Self::Method | Self::ContentType(_) | Self::Encoding(_) => Code::Unimplemented,
            Self::Message => Code::Internal,
            Self::Request(refusal) => Code::of(refusal),
        }
    }
}

/// Takes a call in, and returns which of its spans could not be read.
async fn receive(request: Request, intake: &Intake) -> Result<LeftOut, GrpcRefusal> {
    let Some(subtype) = request.content_type.strip_prefix("application/grpc") else {
        return Err(GrpcRefusal::NotGrpc);
    };
    if !matches!(subtype.split(';').next(), Some("" | "+proto")) {
        return Err(GrpcRefusal::ContentType(request.content_type));
    }
    let signal = signal_of(&request.path).filter(|_| request.method == "POST").ok_or(GrpcRefusal::Method)?;
    if request.is_too_large {
        return Err(Refusal::TooLarge.into());
    }
    let (compression, message) = unframe(request)?;
    if message.len() > MAX_REQUEST_BYTES {
        return Err(Refusal::TooLarge.into());
    }
    Ok(intake.take(signal, Encoding { is_json: false, compression }, message).await?)
}

fn signal_of(path: &str) -> Option<OtlpSignal> {
    match path.strip_prefix("/opentelemetry.proto.collector.")? {
        "trace.v1.TraceService/Export" => Some(OtlpSignal::Traces),
        "metrics.v1.MetricsService/Export" => Some(OtlpSignal::Metrics),
        "logs.v1.LogsService/Export" => Some(OtlpSignal::Logs),
        _ => None,
    }
}

/// The one message of a unary call, and how it is compressed.
fn unframe(request: Request) -> Result<(Compression, Bytes), GrpcRefusal> {
    let Some((&[flag, a, b, c, d], message)) = request.body.split_first_chunk::<PREFIX_BYTES>() else {
        return Err(GrpcRefusal::Message);
    };
    if usize::try_from(u32::from_be_bytes([a, b, c, d])) != Ok(message.len()) {
        return Err(GrpcRefusal::Message);
    }
    let compression = match (flag, Compression::of(&request.encoding)) {
        (0, _) => Compression::None,
        (1, Some(Compression::None)) | (2.., _) => return Err(GrpcRefusal::Message),
        (1, Some(compression)) => compression,
        (1, None) => return Err(GrpcRefusal::Encoding(request.encoding)),
    };
    Ok((compression, Bytes::from(request.body).slice(PREFIX_BYTES..)))
}

fn taken(left_out: &LeftOut) -> Answer {
    let message = status::answer(left_out.spans, &left_out.why, false);
    let mut body = vec![0];
    body.extend(u32::try_from(message.len()).unwrap_or_default().to_be_bytes());
    body.extend(message);
    Answer { status: StatusCode::OK, headers: head(), body: Some(body), trailers: status(Code::Ok, "") }
}

fn refused(refusal: &GrpcRefusal) -> Answer {
    let is_grpc = !matches!(refusal, GrpcRefusal::NotGrpc);
    let http_status = if is_grpc { StatusCode::OK } else { StatusCode::UNSUPPORTED_MEDIA_TYPE };
    let mut headers = head();
    headers.extend(status(refusal.code(), &refusal.to_string()));
    if matches!(refusal, GrpcRefusal::Encoding(_)) {
        headers.push(("grpc-accept-encoding", "identity,deflate,gzip".to_owned()));
    }
    Answer { status: http_status, headers, ..Answer::default() }
}

fn head() -> Headers {
    vec![("content-type", "application/grpc".to_owned())]
}

fn status(code: Code, message: &str) -> Headers {
    let mut status = vec![("grpc-status", (code as u32).to_string())];
    if !message.is_empty() {
        status.push(("grpc-message", percent_encoded(message)));
    }
    status
}

fn percent_encoded(message: &str) -> String {
    let mut encoded = String::new();
    for byte in message.bytes().take(300) {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            // Writing to a string does not fail.
            _ => drop(write!(encoded, "%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests;
