//! OTLP bytes to spans. One span that can't be decoded costs only itself (ID-8, BET-2).

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use prost::{DecodeError, Message};

/// What an export request holds.
#[derive(Debug, Default, PartialEq)]
pub struct Decoded {
    pub resource_spans: Vec<ResourceSpans>,
    /// Spans that could not be decoded.
    pub unreadable: u64,
    /// What is wrong with the first of them.
    pub why: Option<DecodeError>,
}

/// Decodes an `ExportTraceServiceRequest`. An error says that not even the bounds of what is in it could be found.
pub fn decode(body: &[u8]) -> Result<Decoded, DecodeError> {
    match ExportTraceServiceRequest::decode(body) {
        Ok(request) => Ok(Decoded { resource_spans: request.resource_spans, ..Decoded::default() }),
        Err(error) => one_by_one(body).ok_or(error),
    }
}

/// Takes the messages apart level by level, down to those that can't be decoded.
fn one_by_one(request: &[u8]) -> Option<Decoded> {
    let mut decoded = Decoded::default();
    let parts = Parts::of(request);
    if parts.is_cut {
        return None;
    }
    for bytes in parts.all_of(1) {
        let resource_spans = match ResourceSpans::decode(bytes) {
            Ok(whole) => whole,
            Err(error) => decoded.salvage_resource_spans(bytes, &error),
        };
        decoded.resource_spans.push(resource_spans);
    }
    Some(decoded)
}

impl Decoded {
    fn salvage_resource_spans(&mut self, bytes: &[u8], error: &DecodeError) -> ResourceSpans {
        let parts = Parts::of(bytes);
        let mut resource_spans = ResourceSpans {
            resource: parts.all_of(1).last().map(salvaged_resource),
            schema_url: parts.text(3),
            ..ResourceSpans::default()
        };
        for bytes in parts.all_of(2) {
            let scope_spans = match ScopeSpans::decode(bytes) {
                Ok(whole) => whole,
                Err(error) => self.salvage_scope_spans(bytes, &error),
            };
            resource_spans.scope_spans.push(scope_spans);
        }
        self.note_cut(&parts, error);
        resource_spans
    }

    fn salvage_scope_spans(&mut self, bytes: &[u8], error: &DecodeError) -> ScopeSpans {
        let parts = Parts::of(bytes);
        let mut scope_spans = ScopeSpans {
            scope: parts.all_of(1).last().map(salvaged_scope),
            schema_url: parts.text(3),
            ..ScopeSpans::default()
        };
        for bytes in parts.all_of(2) {
            match Span::decode(bytes) {
                Ok(span) => scope_spans.spans.push(span),
                Err(error) => self.leave_out(error),
            }
        }
        self.note_cut(&parts, error);
        scope_spans
    }

    /// What stands behind a cut can't be counted; it is one at least.
    fn note_cut(&mut self, parts: &Parts<'_>, error: &DecodeError) {
        if parts.is_cut {
            self.leave_out(error.clone());
        }
    }

    fn leave_out(&mut self, error: DecodeError) {
        self.unreadable += 1;
        self.why.get_or_insert(error);
    }
}

/// A resource without those of its attributes that can't be decoded.
pub fn salvaged_resource(bytes: &[u8]) -> Resource {
    Resource::decode(bytes).unwrap_or_else(|_| {
        let parts = Parts::of(bytes);
        Resource { attributes: parts.attributes(1), ..Resource::default() }
    })
}

/// The same of a scope.
pub fn salvaged_scope(bytes: &[u8]) -> InstrumentationScope {
    InstrumentationScope::decode(bytes).unwrap_or_else(|_| {
        let parts = Parts::of(bytes);
        InstrumentationScope {
            name: parts.text(1),
            version: parts.text(2),
            attributes: parts.attributes(3),
            ..InstrumentationScope::default()
        }
    })
}

/// The fields of a message that hold bytes, with their numbers.
struct Parts<'a> {
    fields: Vec<(u32, &'a [u8])>,
    /// It breaks off before its end.
    is_cut: bool,
}

impl<'a> Parts<'a> {
    fn of(message: &'a [u8]) -> Self {
        let mut parts = Self { fields: Vec::new(), is_cut: false };
        for field in Fields(message) {
            match field {
                Ok(field) => parts.fields.push(field),
                Err(_) => parts.is_cut = true,
            }
        }
        parts
    }

    fn all_of(&self, number: u32) -> impl Iterator<Item = &'a [u8]> {
        self.fields.iter().filter_map(move |(field, bytes)| (*field == number).then_some(*bytes))
    }

    fn text(&self, number: u32) -> String {
        let last = self.all_of(number).last().unwrap_or_default();
        String::from_utf8_lossy(last).into_owned()
    }

    fn attributes(&self, number: u32) -> Vec<KeyValue> {
        self.all_of(number).filter_map(|bytes| KeyValue::decode(bytes).ok()).collect()
    }
}

/// A step through an export request: nothing of it is decoded or copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<'a> {
    /// The spans behind this one are of this resource and scope; both are as they were encoded.
    Origin {
        resource: &'a [u8],
        scope: &'a [u8],
    },
    Span(&'a [u8]),
    /// A message breaks off. What stood behind that can't be counted; it is one span at least.
    Cut(DecodeError),
}

/// The spans of an encoded `ExportTraceServiceRequest`, one after the other.
#[derive(Debug, Clone)]
pub struct Steps<'a> {
    request: Fields<'a>,
    from_resource: Fields<'a>,
    from_scope: Fields<'a>,
    resource: &'a [u8],
    scope: &'a [u8],
    is_new: bool,
}

/// Looks through an export request. An error says that not even the bounds of what is in it could be found.
pub fn steps(request: &[u8]) -> Result<Steps<'_>, DecodeError> {
    for part in Fields(request) {
        part?;
    }
    Ok(Steps {
        request: Fields(request),
        from_resource: Fields(&[]),
        from_scope: Fields(&[]),
        resource: &[],
        scope: &[],
        is_new: false,
    })
}

impl<'a> Iterator for Steps<'a> {
    type Item = Step<'a>;

    fn next(&mut self) -> Option<Step<'a>> {
        loop {
            let before = self.from_scope.clone();
            match self.from_scope.next_of(2) {
                Some(Ok(_)) if self.is_new => {
                    self.is_new = false;
                    self.from_scope = before;
                    return Some(Step::Origin { resource: self.resource, scope: self.scope });
                }
                Some(Ok(span)) => return Some(Step::Span(span)),
                Some(Err(error)) => return Some(Step::Cut(error)),
                None => self.is_new = true,
            }
            match self.from_resource.next_of(2) {
                Some(Ok(scope_spans)) => {
                    self.from_scope = Fields(scope_spans);
                    self.scope = self.from_scope.clone().last_of(1);
                    continue;
                }
                Some(Err(error)) => return Some(Step::Cut(error)),
                None => {}
            }
            let resource_spans = self.request.next_of(1)?.ok()?;
            self.from_resource = Fields(resource_spans);
            self.resource = self.from_resource.clone().last_of(1);
        }
    }
}

/// The fields of a message that hold bytes, with their numbers. After an error there is nothing more.
#[derive(Debug, Clone)]
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn next_of(&mut self, wanted: u32) -> Option<Result<&'a [u8], DecodeError>> {
        self.find_map(|field| match field {
            Ok((number, bytes)) => (number == wanted).then_some(Ok(bytes)),
            Err(error) => Some(Err(error)),
        })
    }

    /// The last counts, as ever in protobuf.
    fn last_of(self, wanted: u32) -> &'a [u8] {
        let wanted = self.filter_map(Result::ok).filter(|(number, _)| *number == wanted);
        wanted.last().map_or(&[], |(_, bytes)| bytes)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, &'a [u8]), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.0.is_empty() {
            match next_field(&mut self.0) {
                Ok(Some(field)) => return Some(Ok(field)),
                Ok(None) => {}
                Err(error) => {
                    self.0 = &[];
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

fn next_field<'a>(message: &mut &'a [u8]) -> Result<Option<(u32, &'a [u8])>, DecodeError> {
    let (number, wire_type) = decode_key(message)?;
    let value = *message;
    skip_field(wire_type, number, message, DecodeContext::default())?;
    if wire_type != WireType::LengthDelimited {
        return Ok(None);
    }
    let mut bytes = &value[..value.len() - message.len()];
    decode_varint(&mut bytes)?;
    Ok(Some((number, bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request() -> ExportTraceServiceRequest {
        let span = |name: &str| Span { name: name.into(), span_id: vec![1; 8], ..Span::default() };
        let scope_spans = vec![ScopeSpans {
            spans: vec![span("first"), span("second"), span("third")],
            ..ScopeSpans::default()
        }];
        let resource = Some(Resource { dropped_attributes_count: 7, ..Resource::default() });
        let other = ResourceSpans {
            scope_spans: vec![ScopeSpans { spans: vec![span("other")], ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        };
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }, other],
        }
    }

    fn names(decoded: &Decoded) -> Vec<&str> {
        let scopes = decoded.resource_spans.iter().flat_map(|one| &one.scope_spans);
        scopes.flat_map(|one| &one.spans).map(|span| span.name.as_str()).collect()
    }

    #[test]
    fn id_8_bet_2_invalid_utf_8_costs_only_its_own_span() {
        let mut bytes = request().encode_to_vec();
        let whole = decode(&bytes).unwrap();
        assert_eq!((names(&whole).len(), whole.unreadable), (4, 0));
        let at = bytes.windows(6).position(|window| window == b"second").unwrap();
        bytes[at] = 0xff;
        let decoded = decode(&bytes).unwrap();
        assert_eq!(names(&decoded), ["first", "third", "other"]);
        assert_eq!(decoded.unreadable, 1);
        assert_eq!(decoded.resource_spans[0].resource.as_ref().unwrap().dropped_attributes_count, 7);
    }

    /// A message in a message.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut whole = vec![number << 3 | 2];
        prost::encoding::encode_varint(bytes.len() as u64, &mut whole);
        whole.extend(bytes);
        whole
    }

    #[test]
    fn id_8_a_wrong_wire_type_or_a_cut_costs_only_its_own_span() {
        let good = field(2, &Span { name: "good".into(), ..Span::default() }.encode_to_vec());
        let name_as_number = field(2, &[5 << 3, 7]);
        let time_as_text = field(2, &field(7, b"now"));
        let cut_inside = field(2, &[5 << 3 | 2, 100, b'a']);
        for bad in [&name_as_number, &time_as_text, &cut_inside] {
            let scope = field(2, &[&good[..], bad, &good].concat());
            let decoded = decode(&field(1, &scope)).unwrap();
            assert_eq!((names(&decoded), decoded.unreadable), (vec!["good", "good"], 1), "{bad:?}");
            assert!(decoded.why.unwrap().to_string().contains("Span"), "{bad:?}");
        }
        let cut_scope = field(2, &[&good[..], &[2 << 3 | 2, 100]].concat());
        let decoded = decode(&field(1, &[cut_scope, field(2, &good)].concat())).unwrap();
        assert_eq!((names(&decoded), decoded.unreadable), (vec!["good", "good"], 1));
    }

    #[test]
    fn id_8_what_can_t_be_read_of_a_resource_or_scope_costs_no_span_and_only_itself() {
        let named = |key: &str| KeyValue { key: key.into(), ..KeyValue::default() }.encode_to_vec();
        let bad = field(1, &[0xff]);
        let resource = [field(1, &named("kept")), field(1, &bad)].concat();
        let scope =
            [field(1, b"library"), field(2, &[0xff]), field(3, &bad), field(3, &named("kept"))].concat();
        let span = Span { name: "good".into(), ..Span::default() }.encode_to_vec();
        let scope_spans = [field(1, &scope), field(2, &span), field(3, b"url")].concat();
        let request = field(1, &[field(1, &resource), field(2, &scope_spans)].concat());
        let decoded = decode(&request).unwrap();
        assert_eq!((names(&decoded), decoded.unreadable), (vec!["good"], 0));
        let resource = decoded.resource_spans[0].resource.as_ref().unwrap();
        let scope_spans = &decoded.resource_spans[0].scope_spans[0];
        let scope = scope_spans.scope.as_ref().unwrap();
        assert_eq!((resource.attributes.len(), resource.attributes[0].key.as_str()), (1, "kept"));
        assert_eq!(
            (scope.attributes.len(), scope.name.as_str(), scope_spans.schema_url.as_str()),
            (1, "library", "url")
        );
    }

    #[test]
    fn steps_are_the_spans_and_where_each_is_from() {
        let mut request = request();
        request.resource_spans.insert(1, ResourceSpans::default());
        request.resource_spans[2].resource =
            Some(Resource { dropped_attributes_count: 9, ..Resource::default() });
        let bytes = request.encode_to_vec();
        let mut seen = Vec::new();
        let mut from = 0;
        for step in steps(&bytes).unwrap() {
            match step {
                Step::Origin { resource, scope } => {
                    assert!(scope.is_empty());
                    from = Resource::decode(resource).unwrap().dropped_attributes_count;
                }
                Step::Span(span) => seen.push((Span::decode(span).unwrap().name, from)),
                Step::Cut(error) => panic!("{error}"),
            }
        }
        let expected = [("first", 7), ("second", 7), ("third", 7), ("other", 9)];
        assert_eq!(seen, expected.map(|(name, from)| (name.to_owned(), from)));
        for end in [1, 5, bytes.len() - 1] {
            assert!(steps(&bytes[..end]).is_err(), "{end}");
        }
        assert_eq!(steps(&[]).unwrap().count(), 0);
    }

    #[test]
    fn what_breaks_off_is_an_error() {
        let bytes = request().encode_to_vec();
        for end in [1, 5, bytes.len() - 1] {
            assert!(decode(&bytes[..end]).is_err(), "{end}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(noise in prop::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>()) {
            let mut bytes = request().encode_to_vec();
            let at = at.index(bytes.len());
            bytes.splice(at..at, noise.iter().copied());
            for bytes in [&noise, &bytes] {
                let (Ok(decoded), Ok(steps)) = (decode(bytes), steps(bytes)) else { continue };
                // They see the same spans.
                let mut readable = Vec::new();
                let mut unreadable = 0;
                for step in steps {
                    match step {
                        Step::Origin { .. } => {}
                        Step::Span(span) => match Span::decode(span) {
                            Ok(span) => readable.push(span.name),
                            Err(_) => unreadable += 1,
                        },
                        Step::Cut(_) => unreadable += 1,
                    }
                }
                prop_assert_eq!((names(&decoded), decoded.unreadable), (readable.iter().map(String::as_str).collect(), unreadable));
            }
        }
    }
}
