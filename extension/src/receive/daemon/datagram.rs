//! One datagram of the X-Ray daemon's protocol: a header line, then a document or OTLP (DMN-2, DMN-12). Pure.

use crate::receive::bounds::otlp_schema::decoded_bytes;
use crate::translate::otlp_decode::{self, Decoded};
use crate::translate::sdk::{SdkDocument, SdkDocumentError};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::Value;

/// A span's own word on whether it is sampled; it outranks that of its batch (OTL-6).
const SAMPLED_ATTRIBUTE: &str = "aws.trace.flag.sampled";

/// What a datagram holds.
#[derive(Debug, PartialEq)]
pub enum Datagram {
    /// From an X-Ray SDK.
    Document(Box<SdkDocument>),
    /// From an OpenTelemetry distribution that speaks to the daemon's port.
    Otlp {
        decoded: Decoded,
        /// Spans that are not to become traces.
        unsampled: u64,
        /// About what they take up.
        bytes: usize,
    },
    /// Not about traces.
    Metrics,
}

/// Why a datagram could not be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatagramError {
    #[error("there is no newline behind the header")]
    NoNewline,
    #[error("the header is not {{\"format\":\"json\",\"version\":1}}")]
    Header,
    #[error("there is nothing behind the header")]
    Empty,
    #[error("it fills the buffer of {MAX_BYTES} bytes and is cut short")]
    TooLong,
    #[error("behind the header is neither a document nor OTLP")]
    Unknown,
    #[error("its OTLP is not valid base64 of an ExportTraceServiceRequest")]
    Otlp,
    #[error("the document cannot be sent: {0}")]
    Document(SdkDocumentError),
}

/// The longest datagram there is; one that fills this has been cut short (DMN-14).
pub const MAX_BYTES: usize = 65_536;
/// The most that the spans of one may take up: no client packs so many.
const MAX_DECODED_BYTES: usize = 1024 * 1024;

/// Base64 with and without its padding (DMN-13).
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Reads a datagram.
pub fn parse(datagram: &[u8]) -> Result<Datagram, DatagramError> {
    if datagram.len() >= MAX_BYTES {
        return Err(DatagramError::TooLong);
    }
    let newline = datagram.iter().position(|byte| *byte == b'\n').ok_or(DatagramError::NoNewline)?;
    let (header, body) = datagram.split_at(newline);
    if !is_header(header) {
        return Err(DatagramError::Header);
    }
    // Some SDKs end in NULs or blanks (DMN-4).
    let body = body.trim_ascii_start();
    let end = body.iter().rposition(|byte| !matches!(byte, 0 | b' ' | b'\n' | b'\r' | b'\t'));
    let body = &body[..end.map_or(0, |end| end + 1)];
    match body {
        [] => Err(DatagramError::Empty),
        [b'{', ..] => document(body),
        [b'T', b'1', b'U', rest @ ..] => otlp(rest, false),
        [b'T', b'1', b'S', rest @ ..] | [b'T', b'1', rest @ ..] => otlp(rest, true),
        [b'M', b'1', ..] => Ok(Datagram::Metrics),
        _ => Err(DatagramError::Unknown),
    }
}

fn is_header(header: &[u8]) -> bool {
    let Ok(Value::Object(header)) = serde_json::from_slice(header) else { return false };
    let format = header.get("format").and_then(Value::as_str).unwrap_or_default();
    format.eq_ignore_ascii_case("json") && header.get("version").and_then(Value::as_u64) == Some(1)
}

fn document(body: &[u8]) -> Result<Datagram, DatagramError> {
    // A text that is not UTF-8 costs itself, and not the document.
    let text = String::from_utf8_lossy(body).into_owned();
    let document = SdkDocument::parse(text).map_err(DatagramError::Document)?;
    Ok(Datagram::Document(Box::new(document)))
}

fn otlp(encoded: &[u8], are_sampled: bool) -> Result<Datagram, DatagramError> {
    let bytes = BASE64.decode(encoded).map_err(|_| DatagramError::Otlp)?;
    let decoded_bytes = bytes.len() + decoded_bytes(&bytes);
    if decoded_bytes > MAX_DECODED_BYTES {
        return Err(DatagramError::Otlp);
    }
    let mut decoded = otlp_decode::decode(&bytes).map_err(|_| DatagramError::Otlp)?;
    let mut unsampled = 0;
    if !are_sampled {
        for scope in decoded.resource_spans.iter_mut().flat_map(|one| &mut one.scope_spans) {
            let before = scope.spans.len();
            scope.spans.retain(says_it_is_sampled);
            unsampled += (before - scope.spans.len()) as u64;
        }
    }
    Ok(Datagram::Otlp { decoded, unsampled, bytes: decoded_bytes })
}

fn says_it_is_sampled(span: &Span) -> bool {
    let is_true = |attribute: &KeyValue| {
        let value = attribute.value.as_ref().and_then(|value| value.value.as_ref());
        attribute.key == SAMPLED_ATTRIBUTE && matches!(value, Some(any_value::Value::BoolValue(true)))
    };
    span.attributes.iter().any(is_true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::AnyValue;
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
    use proptest::prelude::*;
    use prost::Message as _;

    const HEADER: &str = "{\"format\":\"json\",\"version\":1}\n";
    const DOCUMENT: &str = r#"{"id":"53995c3f42cd8ad9","trace_id":"1-581cf771-a006649127e371903a2de979","name":"a","start_time":1,"end_time":2}"#;

    fn request(spans: &[(&str, Option<bool>)]) -> ExportTraceServiceRequest {
        let span = |(name, sampled): &(&str, Option<bool>)| Span {
            name: (*name).into(),
            attributes: sampled
                .iter()
                .map(|sampled| KeyValue {
                    key: SAMPLED_ATTRIBUTE.into(),
                    value: Some(AnyValue { value: Some(any_value::Value::BoolValue(*sampled)) }),
                    ..KeyValue::default()
                })
                .collect(),
            ..Span::default()
        };
        let scope_spans = ScopeSpans { spans: spans.iter().map(span).collect(), ..ScopeSpans::default() };
        let resource_spans = ResourceSpans { scope_spans: vec![scope_spans], ..ResourceSpans::default() };
        ExportTraceServiceRequest { resource_spans: vec![resource_spans] }
    }

    fn otlp(prefix: &str, spans: &[(&str, Option<bool>)]) -> String {
        let encoded = base64::prelude::BASE64_STANDARD.encode(request(spans).encode_to_vec());
        format!("{HEADER}{prefix}{encoded}")
    }

    fn names(datagram: &str) -> (Vec<String>, u64) {
        let Ok(Datagram::Otlp { decoded, unsampled, .. }) = parse(datagram.as_bytes()) else {
            panic!("{:?}", parse(datagram.as_bytes()))
        };
        let scopes = decoded.resource_spans.into_iter().flat_map(|one| one.scope_spans);
        (scopes.flat_map(|scope| scope.spans).map(|span| span.name).collect(), unsampled)
    }

    #[test]
    fn dmn_2_dmn_4_documents() {
        for (header, tail) in [
            ("{\"format\":\"json\",\"version\":1}\n", ""),
            ("{\"format\":\"JSON\", \"version\": 1}\n", "\0\0 "),
            ("{ \"version\" : 1 , \"format\" : \"Json\" }\n", "\n\n"),
        ] {
            let parsed = parse(format!("{header}{DOCUMENT}{tail}").as_bytes());
            assert_eq!(
                parsed,
                Ok(Datagram::Document(Box::new(SdkDocument::parse(DOCUMENT.into()).unwrap()))),
                "{header}"
            );
        }
    }

    #[test]
    fn dmn_4_what_x_ray_would_refuse_for_one_field_is_taken_without_it() {
        let document = |more: &str| DOCUMENT.replace("\"name\":\"a\"", &format!("\"name\":\"a\"{more}"));
        let whole = Datagram::Document(Box::new(SdkDocument::parse(DOCUMENT.into()).unwrap()));
        let bytes = whole_bytes(&whole);
        for more in
            [r#","cause":null"#, r#","annotations":{"a":null}"#, r#","sql":null,"subsegments":[null]"#]
        {
            let taken = parse(format!("{HEADER}{}", document(more)).as_bytes()).unwrap();
            assert!(whole_bytes(&taken) < bytes + more.len() - 4, "{more}");
        }
        for more in [r#","annotations":{"a":NaN}"#, r#","user":"\ud83e""#] {
            assert!(
                matches!(parse(format!("{HEADER}{}", document(more)).as_bytes()), Ok(Datagram::Document(_))),
                "{more}"
            );
        }
        let mut latin = format!("{HEADER}{}", document(r#","user":"?""#)).into_bytes();
        let at = latin.iter().position(|byte| *byte == b'?').unwrap();
        latin[at] = 0xe9;
        assert!(matches!(parse(&latin), Ok(Datagram::Document(_))));
    }

    fn whole_bytes(datagram: &Datagram) -> usize {
        match datagram {
            Datagram::Document(document) => document.bytes(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn tv_22_dmn_12_dmn_13_otlp_padded_or_not() {
        for name in ["a", "ab", "abc"] {
            let datagram = otlp("T1S", &[(name, None)]);
            assert_eq!(names(&datagram), (vec![name.to_owned()], 0));
            assert_eq!(names(datagram.trim_end_matches('=')), (vec![name.to_owned()], 0));
            assert_eq!(names(&otlp("T1", &[(name, None)])), (vec![name.to_owned()], 0), "the older prefix");
        }
        assert_eq!(parse(format!("{HEADER}M1abcd").as_bytes()), Ok(Datagram::Metrics));
    }

    #[test]
    fn otl_6_a_spans_own_mark_outranks_that_of_its_batch() {
        let spans = [("kept", Some(true)), ("not", Some(false)), ("unsaid", None)];
        assert_eq!(names(&otlp("T1U", &spans)), (vec!["kept".to_owned()], 2));
        assert_eq!(names(&otlp("T1S", &spans)).0.len(), 3, "the translator looks at these");
    }

    #[test]
    fn tv_23_dmn_3_what_is_malformed() {
        let long = format!("{HEADER}{{{}", " ".repeat(MAX_BYTES));
        for (datagram, expected) in [
            (format!("{{\"format\":\"json\",\"version\":2}}\n{DOCUMENT}"), DatagramError::Header),
            (format!("{{\"format\":\"json\"}}\n{DOCUMENT}"), DatagramError::Header),
            (format!("{{\"format\":\"xml\",\"version\":1}}\n{DOCUMENT}"), DatagramError::Header),
            (format!("[]\n{DOCUMENT}"), DatagramError::Header),
            (format!("\n{DOCUMENT}"), DatagramError::Header),
            (format!("{{\"format\":\"json\",\"version\":1}}{DOCUMENT}"), DatagramError::NoNewline),
            (String::new(), DatagramError::NoNewline),
            (HEADER.to_owned(), DatagramError::Empty),
            (format!("{HEADER}\0\0"), DatagramError::Empty),
            (format!("{HEADER}hello"), DatagramError::Unknown),
            (format!("{HEADER}T"), DatagramError::Unknown),
            (format!("{HEADER}T1S!!"), DatagramError::Otlp),
            (format!("{HEADER}T1S////"), DatagramError::Otlp),
            (format!("{HEADER}{{"), DatagramError::Document(SdkDocumentError::NotAnObject)),
            (format!("{HEADER}{{}}"), DatagramError::Document(SdkDocumentError::NoTraceId)),
            (long, DatagramError::TooLong),
        ] {
            assert_eq!(parse(datagram.as_bytes()), Err(expected), "{:?}", datagram.get(..80));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(noise in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&noise);
            let _ = parse(&[HEADER.as_bytes(), &noise].concat());
        }
    }
}
