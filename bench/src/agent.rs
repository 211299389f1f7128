//! An agent's side of the local protocol (wrapper/PROTOCOL.md).

use anyhow::Result;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use std::io::Write as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};

const TRACE: [u8; 16] =
    [0x57, 0x59, 0xe9, 0x88, 0xbd, 0x86, 0x2e, 0x3f, 0xe1, 0xbe, 0x46, 0xa9, 0x94, 0x27, 0x27, 0x93];
/// The trace header of every invocation.
pub const TRACE_HEADER: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
const START_NANOS: u64 = 1_795_224_538_079_123_456;

/// A connected agent that has said hello.
#[derive(Debug)]
pub struct Agent(UnixStream);

impl Agent {
    pub fn connect(socket: &str) -> Result<Self> {
        let mut stream = UnixStream::connect_addr(&SocketAddr::from_abstract_name(socket)?)?;
        let hello = r#"{"agent":"bench","agent_version":"1","runtime":"python","runtime_version":"3.13","pid":1,"env":{}}"#;
        stream.write_all(&frame(1, hello.as_bytes()))?;
        Ok(Self(stream))
    }

    /// Writes one whole invocation: a handler with `calls` AWS calls in it.
    pub fn invocation(&mut self, request_id: &str, calls: u8) -> Result<()> {
        let mut invoke = 0_u64.to_le_bytes().to_vec();
        invoke.extend(u16::try_from(request_id.len())?.to_le_bytes());
        invoke.extend(request_id.as_bytes());
        invoke.extend(TRACE_HEADER.as_bytes());
        let handler = Span {
            trace_id: TRACE.to_vec(),
            span_id: vec![255; 8],
            parent_span_id: vec![0x53, 0x99, 0x5c, 0x3f, 0x42, 0xcd, 0x8a, 0xd8],
            name: "app.handler".into(),
            kind: 2,
            start_time_unix_nano: START_NANOS,
            end_time_unix_nano: START_NANOS + 40_000_000,
            flags: 0x301,
            ..Span::default()
        };
        let mut bytes = frame(2, &invoke);
        bytes.extend(frame(3, &Span { end_time_unix_nano: 0, ..handler.clone() }.encode_to_vec()));
        for number in 1..=calls {
            bytes.extend(frame(4, &call(number).encode_to_vec()));
        }
        bytes.extend(frame(4, &handler.encode_to_vec()));
        let mut done = vec![0, 0, 0, 0, 0];
        done.extend(request_id.as_bytes());
        bytes.extend(frame(5, &done));
        self.0.write_all(&bytes)?;
        Ok(())
    }
}

fn call(number: u8) -> Span {
    let text = |key: &str, value: &str| KeyValue {
        key: key.into(),
        value: Some(AnyValue { value: Some(Value::StringValue(value.into())) }),
        ..KeyValue::default()
    };
    Span {
        trace_id: TRACE.to_vec(),
        span_id: vec![number; 8],
        parent_span_id: vec![255; 8],
        name: "DynamoDB.GetItem".into(),
        kind: 3,
        start_time_unix_nano: START_NANOS + u64::from(number) * 1_000_000,
        end_time_unix_nano: START_NANOS + u64::from(number) * 1_000_000 + 900_000,
        attributes: vec![
            text("rpc.system", "aws-api"),
            text("rpc.service", "DynamoDB"),
            text("rpc.method", "GetItem"),
            text("aws.dynamodb.table_names", "orders"),
            text("aws.request_id", "4KBNVRGD25RG1KEO9UT4V3FQDJVV4KQNSO5AEMVJF66Q9ASUAAJG"),
            text("cloud.region", "us-east-1"),
        ],
        flags: 0x101,
        ..Span::default()
    }
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut bytes = vec![kind];
    bytes.extend(length.to_le_bytes());
    bytes.extend(payload);
    bytes
}
