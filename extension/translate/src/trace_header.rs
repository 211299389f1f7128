//! The X-Ray trace header (`X-Amzn-Trace-Id`), parsed leniently: xray.md section 9.

use std::fmt;

/// A trace id: 16 bytes, not all zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId([u8; 16]);

/// A span, segment or subsegment id: 8 bytes, not all zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId([u8; 8]);

impl TraceId {
    /// The id in OTLP's bytes; `None` for a wrong length or all zeros (ID-4, ID-8).
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        <[u8; 16]>::try_from(bytes).ok().filter(|id| *id != [0; 16]).map(Self)
    }

    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Parses `1-xxxxxxxx-xxxxxxxxxxxxxxxxxxxxxxxx`, in either case (ID-1).
    pub fn parse_xray(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("1-")?;
        let (high, low) = rest.split_once('-')?;
        if high.len() != 8 || low.len() != 24 {
            return None;
        }
        let mut id = [0; 16];
        decode_hex(high, &mut id[..4])?;
        decode_hex(low, &mut id[4..])?;
        Self::from_bytes(&id)
    }
}

impl SpanId {
    /// The id in OTLP's bytes; `None` for a wrong length or all zeros.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        <[u8; 8]>::try_from(bytes).ok().filter(|id| *id != [0; 8]).map(Self)
    }

    pub fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }

    /// Parses 16 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut id = [0; 8];
        decode_hex(text, &mut id)?;
        Self::from_bytes(&id)
    }
}

/// The text of an id, without an allocation.
#[derive(Debug, Clone, Copy)]
pub struct IdText {
    bytes: [u8; 35],
    length: usize,
}

impl IdText {
    pub fn as_str(&self) -> &str {
        // Only hexadecimal digits and dashes are ever written.
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

impl std::ops::Deref for IdText {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl TraceId {
    /// The X-Ray text form (ID-1, ID-2).
    pub fn to_text(&self) -> IdText {
        let mut bytes = [0; 35];
        bytes[..2].copy_from_slice(b"1-");
        write_hex(&mut bytes[2..10], &self.0[..4]);
        bytes[10] = b'-';
        write_hex(&mut bytes[11..35], &self.0[4..]);
        IdText { bytes, length: 35 }
    }
}

impl SpanId {
    /// 16 hexadecimal digits (ID-3).
    pub fn to_text(&self) -> IdText {
        let mut bytes = [0; 35];
        write_hex(&mut bytes[..16], &self.0);
        IdText { bytes, length: 16 }
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_text().as_str())
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_text().as_str())
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn write_hex(out: &mut [u8], bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

fn decode_hex(text: &str, out: &mut [u8]) -> Option<()> {
    let text = text.as_bytes();
    if text.len() != 2 * out.len() {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |c: u8| (c as char).to_digit(16).and_then(|d| u8::try_from(d).ok());
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(())
}

/// Whether the trace is kept, as far as the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampled {
    Yes,
    No,
    /// Missing, or `?`: nobody has decided (HDR-3).
    Undecided,
}

/// What the header says. Unknown fields and `Lineage` are the agents' to pass on; nothing here needs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceHeader {
    pub root: TraceId,
    pub parent: Option<SpanId>,
    pub sampled: Sampled,
}

impl TraceHeader {
    /// Parses a header. `None` when there is no usable `Root` (HDR-2). Of a repeated field the last one counts.
    pub fn parse(text: &str) -> Option<Self> {
        let (mut root, mut parent, mut sampled) = (None, None, Sampled::Undecided);
        for field in text.split(';') {
            let Some((key, value)) = field.trim().split_once('=') else {
                continue;
            };
            match key {
                "Root" => root = TraceId::parse_xray(value),
                "Parent" => parent = SpanId::parse(value),
                "Sampled" => {
                    sampled = match value {
                        "1" => Sampled::Yes,
                        "0" => Sampled::No,
                        _ => Sampled::Undecided,
                    }
                }
                _ => {}
            }
        }
        Some(Self { root: root?, parent, sampled })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROOT: &str = "1-5759e988-bd862e3fe1be46a994272793";

    #[test]
    fn tv_1_id_2_w3c_and_xray_forms_are_the_same_id() {
        let mut bytes = [0; 16];
        decode_hex("5759e988bd862e3fe1be46a994272793", &mut bytes).unwrap();
        let id = TraceId::from_bytes(&bytes).unwrap();
        assert_eq!(id.to_string(), ROOT);
        assert_eq!(TraceId::parse_xray(ROOT), Some(id));
        assert_eq!(TraceId::parse_xray(&ROOT.to_uppercase()), Some(id));
    }

    #[test]
    fn headers_tv_2_to_4_lam_7_hdr_1_to_4() {
        let cases = [
            (
                format!("Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=1"),
                Some((Some("53995c3f42cd8ad8"), Sampled::Yes)),
            ),
            (format!(" Sampled=0 ; Lineage=a87bd80c:1|68fd508a:5 ;Root={ROOT} "), Some((None, Sampled::No))),
            (format!("Root={ROOT};Lineage=100:e3b0c442:11"), Some((None, Sampled::Undecided))),
            (format!("Self=1-x;Root={ROOT};Parent=short;Sampled=?;x"), Some((None, Sampled::Undecided))),
            (format!("Root=1-5759e988;Root={ROOT};Sampled=0;Sampled=1"), Some((None, Sampled::Yes))),
            ("Root=1-5759e988;Sampled=1".to_owned(), None),
            ("Root=1-00000000-000000000000000000000000".to_owned(), None),
            (ROOT.replacen("1-", "root=1-", 1), None),
            (String::new(), None),
        ];
        for (text, expected) in cases {
            let parsed = TraceHeader::parse(&text);
            let seen = parsed.map(|h| (h.parent.map(|p| p.to_string()), h.sampled));
            assert_eq!(
                seen,
                expected.map(|(p, s): (Option<&str>, Sampled)| (p.map(str::to_owned), s)),
                "{text}"
            );
            if let Some(header) = parsed {
                assert_eq!(header.root.to_string(), ROOT);
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_without_panic(text in ".{0,300}") {
            let _ = TraceHeader::parse(&text);
        }

        #[test]
        fn ids_survive_the_round_trip(bytes in any::<[u8; 16]>(), span in any::<[u8; 8]>()) {
            if let (Some(trace), Some(span)) = (TraceId::from_bytes(&bytes), SpanId::from_bytes(&span)) {
                let header = TraceHeader::parse(&format!("Root={trace};Parent={span}")).unwrap();
                prop_assert_eq!((header.root, header.parent), (trace, Some(span)));
            }
        }
    }
}
