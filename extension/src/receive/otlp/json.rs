//! OTLP in JSON, turned into OTLP in protobuf as it is read: nothing is held but the outcome.
//!
//! By OTLP's JSON mapping: ids are hex digits, 64-bit integers text or numbers, enumerations numbers (names are taken
//! too), fields in camel case (snake case is taken too), and what is not known is passed over. Whole numbers may be
//! written as floats, and Base64 by either alphabet and without padding. A value of the wrong type, or nested too deep,
//! costs the span it is in, and elsewhere only itself.

use crate::receive::bounds::otlp_schema::{Field, Kind, Message, REQUEST};
use base64::Engine as _;
use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use prost::encoding::{WireType, encode_key, encode_varint};
use serde::Deserialize as _;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

const BASE64: GeneralPurpose = lenient(&STANDARD);
const BASE64_URL: GeneralPurpose = lenient(&URL_SAFE);
/// Lists in lists whose items are read one by one.
const MAX_LISTS: u8 = 8;
/// The first whole number that no field takes.
const TWO_TO_THE_64: f64 = 18_446_744_073_709_551_616.0;

const fn lenient(alphabet: &Alphabet) -> GeneralPurpose {
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    GeneralPurpose::new(alphabet, config)
}

/// An export request as protobuf, and the spans that had to be left out.
#[derive(Debug, PartialEq, Eq)]
pub struct Converted {
    pub protobuf: Vec<u8>,
    pub unreadable: u64,
    /// What is wrong with the first of them.
    pub why: Option<Fault>,
}

/// A value that its field can't have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    field: &'static str,
    found: &'static str,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, found } = self;
        write!(f, "{field} can't be {found}")
    }
}

/// Reads an `ExportTraceServiceRequest` in JSON.
pub fn to_protobuf(json: &[u8]) -> Result<Converted, serde_json::Error> {
    static WHOLE: Field = Field { number: 0, name: "", kind: Kind::Message(&REQUEST), repeated: false };
    let mut protobuf = Vec::with_capacity(json.len() / 2);
    let mut faults = Faults::default();
    // Some editors and languages put one before every text.
    let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
    // Bytes that are no UTF-8 in one text are no reason to refuse the others.
    let json = String::from_utf8_lossy(json);
    let mut deserializer = serde_json::Deserializer::from_str(&json);
    let whole = Slot { field: &WHOLE, out: &mut protobuf, faults: &mut faults };
    deserializer.deserialize_map(whole)?;
    deserializer.end()?;
    Ok(Converted { protobuf, unreadable: faults.spans, why: faults.first })
}

#[derive(Debug, Default)]
struct Faults {
    /// In the span that is being read.
    here: Option<Fault>,
    /// Spans that were left out.
    spans: u64,
    /// What is read now is read by itself, however deep it is in the request.
    is_apart: bool,
    /// The lists around it that should be one.
    lists: u8,
    first: Option<Fault>,
}

impl Faults {
    fn leave_out(&mut self, fault: Fault) {
        self.spans += 1;
        self.first.get_or_insert(fault);
    }
}

/// The place of one field's value in its message.
struct Slot<'a> {
    field: &'static Field,
    out: &'a mut Vec<u8>,
    faults: &'a mut Faults,
}

impl Slot<'_> {
    fn key(&mut self, wire_type: WireType) {
        encode_key(self.field.number, wire_type, self.out);
    }

    fn put_bytes(&mut self, bytes: &[u8]) {
        self.key(WireType::LengthDelimited);
        encode_varint(bytes.len() as u64, self.out);
        self.out.extend_from_slice(bytes);
    }

    /// A value of the wrong type. Where a whole span should be, it costs that span and not the one around it.
    fn fault(&mut self, found: &'static str) {
        let fault = Fault { field: self.field.name, found };
        match self.field.kind {
            Kind::Message(message) if message.is_span => self.faults.leave_out(fault),
            _ => drop(self.faults.here.get_or_insert(fault)),
        }
    }

    /// Any value but a message, as it is written.
    fn put_raw(mut self, raw: &str) {
        let mut inner = serde_json::Deserializer::from_str(raw);
        match raw.as_bytes().first() {
            None | Some(b'n') => {}
            // As bytes, because half of a surrogate pair is then no error: JavaScript can cut a text there.
            Some(b'"') => {
                let (field, faults) = (self.field, &mut *self.faults);
                let slot = Slot { field, out: &mut *self.out, faults };
                if inner.deserialize_bytes(slot).is_err() {
                    self.fault("this text");
                }
            }
            Some(b'[') if self.field.repeated => {
                let (field, faults) = (self.field, &mut *self.faults);
                let slot = Slot { field, out: &mut *self.out, faults };
                if inner.deserialize_seq(slot).is_err() {
                    self.fault("this list");
                }
            }
            Some(b'[') => self.fault("a list"),
            Some(b'{') => self.fault("an object"),
            Some(b't' | b'f') if matches!(self.field.kind, Kind::Bool) => {
                self.put_varint(u64::from(raw == "true"));
            }
            Some(b't' | b'f') => self.fault("a boolean"),
            Some(_) if matches!(self.field.kind, Kind::Text | Kind::Id | Kind::Bytes | Kind::Bool) => {
                self.fault("a number");
            }
            Some(_) => self.put_numeral(raw, "this number"),
        }
    }

    /// A list where a message should be: each of its own, so that one of them costs no other.
    fn put_list(mut self, raw: &str) {
        if self.faults.lists == MAX_LISTS {
            return self.fault("nested so deep");
        }
        self.faults.lists += 1;
        let slot = Slot { field: self.field, out: &mut *self.out, faults: &mut *self.faults };
        let read = serde_json::Deserializer::from_str(raw).deserialize_seq(slot);
        self.faults.lists -= 1;
        if read.is_err() {
            self.fault("this list");
        }
    }

    /// A message by itself: what is too deep in it, which bounds the stack, costs the message and not what is around it.
    fn put_apart(mut self, raw: &str) {
        let (begin, outer_fault) = (self.out.len(), self.faults.here);
        self.faults.is_apart = true;
        let slot = Slot { field: self.field, out: &mut *self.out, faults: &mut *self.faults };
        let read = serde_json::Deserializer::from_str(raw).deserialize_any(slot);
        self.faults.is_apart = false;
        if read.is_err() {
            self.out.truncate(begin);
            self.faults.here = outer_fault;
            self.fault("nested so deep");
        }
    }

    /// An integer, if it fits the field.
    fn put_integer(&mut self, value: i128, found: &'static str) {
        let kind = self.field.kind;
        match (kind, u32::try_from(value), u64::try_from(value), i64::try_from(value)) {
            (Kind::Fixed32, Ok(value), ..) => {
                self.key(WireType::ThirtyTwoBit);
                self.out.extend_from_slice(&value.to_le_bytes());
            }
            (Kind::Fixed64, _, Ok(value), _) => {
                self.key(WireType::SixtyFourBit);
                self.out.extend_from_slice(&value.to_le_bytes());
            }
            (Kind::Uint32 | Kind::Enum(_), Ok(value), ..) => self.put_varint(u64::from(value)),
            (Kind::Int64, _, _, Ok(value)) => self.put_varint(value.cast_unsigned()),
            _ => self.fault(found),
        }
    }

    fn put_varint(&mut self, value: u64) {
        self.key(WireType::Varint);
        encode_varint(value, self.out);
    }

    /// A number as it is written, in JSON or in a text.
    fn put_numeral(&mut self, numeral: &str, found: &'static str) {
        match (numeral.parse::<i128>(), numeral.parse::<f64>()) {
            (Ok(whole), _) if !matches!(self.field.kind, Kind::Double) => self.put_integer(whole, found),
            (_, Ok(number)) => self.put_number(number, found),
            _ => self.fault(found),
        }
    }

    fn put_number(&mut self, value: f64, found: &'static str) {
        if matches!(self.field.kind, Kind::Double) {
            self.key(WireType::SixtyFourBit);
            self.out.extend_from_slice(&value.to_le_bytes());
        } else if value.fract() == 0.0 && value.abs() < TWO_TO_THE_64 {
            #[expect(clippy::cast_possible_truncation, reason = "whole and in range, as was just seen")]
            self.put_integer(value as i128, found);
        } else {
            self.fault(found);
        }
    }

    fn put_text(&mut self, text: &[u8]) {
        let lossy = String::from_utf8_lossy(text);
        let decoded = match self.field.kind {
            Kind::Text => return self.put_bytes(lossy.as_bytes()),
            Kind::Id => unhex(text),
            Kind::Bytes => BASE64.decode(text).or_else(|_| BASE64_URL.decode(text)).ok(),
            Kind::Enum(names) => {
                match names.iter().zip(0..).find(|(name, _)| **name == lossy) {
                    Some((_, number)) => self.put_integer(number, "this name"),
                    None => self.put_numeral(&lossy, "this name"),
                }
                return;
            }
            Kind::Bool if matches!(text, b"true" | b"false") => {
                return self.put_varint(u64::from(text == b"true"));
            }
            Kind::Bool | Kind::Message(_) => None,
            _ => return self.put_numeral(&lossy, "this text"),
        };
        match decoded {
            Some(bytes) => self.put_bytes(&bytes),
            None => self.fault("this text"),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Slot<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if matches!(self.field.kind, Kind::Message(_)) {
            return deserializer.deserialize_any(self);
        }
        // As it is written, because asking for one type makes an error of every other.
        self.put_raw(<&RawValue>::deserialize(deserializer)?.get());
        Ok(())
    }
}

/// One of a list.
struct Item<'a>(Slot<'a>);

impl<'de> DeserializeSeed<'de> for Item<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Self(mut slot) = self;
        match slot.field.kind {
            Kind::Message(message) if !message.is_apart || slot.faults.is_apart => {
                deserializer.deserialize_any(slot)?;
            }
            Kind::Message(_) => match <&RawValue>::deserialize(deserializer)?.get() {
                raw if raw.starts_with('[') => slot.put_list(raw),
                raw => slot.put_apart(raw),
            },
            _ => match <&RawValue>::deserialize(deserializer)?.get() {
                // Each list in a list would be another level of the stack.
                raw if raw.starts_with('[') => slot.fault("a list"),
                raw => slot.put_raw(raw),
            },
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Slot<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.kind {
            Kind::Message(_) if self.field.number == 0 => f.write_str("an ExportTraceServiceRequest"),
            _ => write!(f, "{} as OTLP has it", self.field.name),
        }
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(mut self, _: bool) -> Result<(), E> {
        self.fault("a boolean");
        Ok(())
    }

    fn visit_u64<E>(mut self, _: u64) -> Result<(), E> {
        self.fault("a number");
        Ok(())
    }

    fn visit_i64<E>(mut self, _: i64) -> Result<(), E> {
        self.fault("a number");
        Ok(())
    }

    fn visit_f64<E>(mut self, _: f64) -> Result<(), E> {
        self.fault("a number");
        Ok(())
    }

    fn visit_str<E>(mut self, _: &str) -> Result<(), E> {
        self.fault("a text");
        Ok(())
    }

    fn visit_bytes<E>(mut self, text: &[u8]) -> Result<(), E> {
        self.put_text(text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        if !self.field.repeated {
            self.fault("a list");
            while items.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        loop {
            let slot = Slot { field: self.field, out: self.out, faults: self.faults };
            if items.next_element_seed(Item(slot))?.is_none() {
                return Ok(());
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        let Kind::Message(message) = self.field.kind else {
            self.fault("an object");
            while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        };
        if self.field.number == 0 {
            return read_members(&mut members, message, self.out, self.faults);
        }
        let outer_fault = self.faults.here.take();
        // Where it belongs, so that what is large is there once; how long it is goes before it.
        let begin = self.out.len();
        self.key(WireType::LengthDelimited);
        let head = self.out.len();
        read_members(&mut members, message, self.out, self.faults)?;
        let inner_fault = self.faults.here.take();
        self.faults.here = outer_fault;
        match inner_fault {
            Some(fault) if message.is_span => {
                self.faults.leave_out(fault);
                self.out.truncate(begin);
            }
            inner_fault => {
                self.faults.here = self.faults.here.or(inner_fault);
                let mut length = Vec::with_capacity(5);
                encode_varint((self.out.len() - head) as u64, &mut length);
                self.out.splice(head..head, length);
            }
        }
        Ok(())
    }
}

fn read_members<'de, A: MapAccess<'de>>(
    members: &mut A,
    message: &'static Message,
    out: &mut Vec<u8>,
    faults: &mut Faults,
) -> Result<(), A::Error> {
    while let Some(name) = members.next_key::<std::borrow::Cow<'de, str>>()? {
        match message.fields.iter().find(|field| is_same(field.name, &name)) {
            Some(field) => members.next_value_seed(Slot { field, out, faults: &mut *faults })?,
            None => drop(members.next_value::<IgnoredAny>()?),
        }
    }
    Ok(())
}

/// Whether a name in lower camel case, or in snake case, is this one in camel case.
fn is_same(camel: &str, name: &str) -> bool {
    let mut upper = false;
    let mut wanted = camel.chars();
    for c in name.chars() {
        if c == '_' {
            upper = true;
        } else if wanted.next() != Some(if std::mem::take(&mut upper) { c.to_ascii_uppercase() } else { c }) {
            return false;
        }
    }
    wanted.next().is_none()
}

fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits.chunks_exact(2).map(|pair| Some(value(pair[0])? << 4 | value(pair[1])?)).collect()
}

#[cfg(test)]
mod tests;
