//! An agent's side of the local protocol (wrapper/PROTOCOL.md), for runtimes that are a script of a test.

use anyhow::{Context as _, Result};
use opentelemetry_proto::tonic::trace::v1::Span;
use otel_xray_local::lambda::RuntimeEvent;
use prost::Message as _;
use std::io::Write as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

static LAST_ID: AtomicU64 = AtomicU64::new(0);

/// A connected agent that has said hello. When it is dropped, its process is at its end.
#[derive(Debug)]
pub struct Agent(UnixStream);

impl Agent {
    /// Connects to the extension of the environment whose Runtime API has this port.
    pub fn connect(api_port: u16) -> Result<Self> {
        let name = format!("otel-xray-{api_port}");
        let mut stream = UnixStream::connect_addr(&SocketAddr::from_abstract_name(&name)?)
            .with_context(|| format!("no extension at {name}"))?;
        let hello = r#"{"agent":"script","agent_version":"1","runtime":"python","runtime_version":"3.13","pid":0,"env":{}}"#;
        stream.write_all(&frame(1, hello.as_bytes()))?;
        Ok(Self(stream))
    }

    /// The handler is entered: gives its span, which is open.
    pub fn enter(&mut self, event: &RuntimeEvent) -> Result<Span> {
        let header = event.trace_header.as_deref().unwrap_or_default();
        let mut invoke = event.deadline_ms.to_le_bytes().to_vec();
        invoke.extend(u16::try_from(event.request_id.len())?.to_le_bytes());
        invoke.extend(event.request_id.as_bytes());
        invoke.extend(header.as_bytes());
        let field =
            |name: &str| header.split(';').find_map(|part| part.strip_prefix(name)).unwrap_or_default();
        let root = field("Root=1-").replace('-', "");
        let span = Span {
            trace_id: from_hex(&root),
            parent_span_id: from_hex(field("Parent=")),
            name: "app.handler".into(),
            kind: 2,
            flags: 0x301,
            ..begun()
        };
        self.0.write_all(&[frame(2, &invoke), frame(3, &span.encode_to_vec())].concat())?;
        Ok(span)
    }

    /// A remote call in a handler, begun and ended.
    pub fn call(&mut self, handler: &Span) -> Result<()> {
        let span = self.begin_call(handler)?;
        self.end(span)
    }

    /// A remote call in a handler that is still open.
    pub fn begin_call(&mut self, handler: &Span) -> Result<Span> {
        let span = Span {
            trace_id: handler.trace_id.clone(),
            parent_span_id: handler.span_id.clone(),
            name: "GET".into(),
            kind: 3,
            flags: 0x101,
            ..begun()
        };
        self.0.write_all(&frame(3, &span.encode_to_vec()))?;
        Ok(span)
    }

    pub fn end(&mut self, span: Span) -> Result<()> {
        let ended = Span { end_time_unix_nano: now(), ..span };
        Ok(self.0.write_all(&frame(4, &ended.encode_to_vec()))?)
    }

    /// The handler has finished, and all its spans have been written.
    pub fn done(&mut self, request_id: &str) -> Result<()> {
        let mut done = vec![0; 5];
        done.extend(request_id.as_bytes());
        Ok(self.0.write_all(&frame(5, &done))?)
    }
}

fn begun() -> Span {
    let id = LAST_ID.fetch_add(1, Ordering::Relaxed) + 1;
    Span { span_id: id.to_be_bytes().to_vec(), start_time_unix_nano: now(), ..Span::default() }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or_default()
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).filter_map(|at| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()).collect()
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    [&[kind], &length.to_le_bytes()[..], payload].concat()
}
