//! Attribute values as JSON (BET-8): what JSON numbers can't hold exactly becomes text, bytes become base64.

use super::mask;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use std::collections::HashSet;

/// Nesting of array and map values that is followed.
const MAX_DEPTH: usize = 16;
const TOO_DEEP: &str = "(nested too deep)";
/// The integers every JSON reader reads exactly.
const EXACT: i64 = 1 << 53;
/// Up to here looking back is cheaper than remembering.
const FEW: usize = 24;

/// An attribute's value as it may be shown: secrets masked by the attribute's name.
pub(super) struct Shown<'a>(pub(super) &'a KeyValue);

/// A list of attributes as an object.
pub(super) struct ShownAll<'a>(pub(super) &'a [KeyValue]);

struct Nested<'a> {
    name: &'a str,
    value: Option<&'a AnyValue>,
    depth: usize,
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Nested { name: &self.0.key, value: self.0.value.as_ref(), depth: 0 }.serialize(serializer)
    }
}

impl Serialize for ShownAll<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        object(self.0, 0, serializer)
    }
}

impl Serialize for Nested<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(value) = self.value.and_then(|value| value.value.as_ref()) else {
            return serializer.serialize_unit();
        };
        match value {
            _ if self.depth > MAX_DEPTH => serializer.serialize_str(TOO_DEEP),
            Any::StringValue(text) => serializer.serialize_str(&mask::attribute(self.name, text)),
            Any::BoolValue(flag) => serializer.serialize_bool(*flag),
            Any::IntValue(number) if (-EXACT..=EXACT).contains(number) => serializer.serialize_i64(*number),
            Any::IntValue(number) => serializer.collect_str(number),
            Any::DoubleValue(number) if number.is_finite() => serializer.serialize_f64(*number),
            Any::DoubleValue(number) => serializer.collect_str(number),
            Any::BytesValue(bytes) => {
                use base64::Engine as _;
                serializer.serialize_str(&base64::engine::general_purpose::STANDARD.encode(bytes))
            }
            Any::ArrayValue(array) => serializer.collect_seq(array.values.iter().map(|value| Nested {
                name: self.name,
                value: Some(value),
                depth: self.depth + 1,
            })),
            Any::KvlistValue(list) => object(&list.values, self.depth + 1, serializer),
            Any::StringValueStrindex(_) => serializer.serialize_unit(),
        }
    }
}

/// The first of several entries with one key counts.
fn object<S: Serializer>(list: &[KeyValue], depth: usize, serializer: S) -> Result<S::Ok, S::Error> {
    if depth > MAX_DEPTH {
        return serializer.serialize_str(TOO_DEEP);
    }
    let mut map = serializer.serialize_map(None)?;
    for entry in unique(list) {
        map.serialize_entry(&entry.key, &Nested { name: &entry.key, value: entry.value.as_ref(), depth })?;
    }
    map.end()
}

/// The entries without those whose key has been there before.
fn unique(list: &[KeyValue]) -> impl Iterator<Item = &KeyValue> {
    let mut seen: HashSet<&str> = HashSet::new();
    let many = list.len() > FEW;
    list.iter().enumerate().filter_map(move |(index, entry)| {
        let is_new = if many {
            seen.insert(&entry.key)
        } else {
            list[..index].iter().all(|earlier| earlier.key != entry.key)
        };
        is_new.then_some(entry)
    })
}

/// A value that can be an annotation (ANN-2).
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scalar<'a> {
    Text(std::borrow::Cow<'a, str>),
    Integer(i64),
    Double(f64),
    Flag(bool),
}

impl<'a> Scalar<'a> {
    /// The scalar an attribute holds, masked.
    pub(super) fn of(attribute: &'a KeyValue) -> Option<Self> {
        match attribute.value.as_ref()?.value.as_ref()? {
            Any::StringValue(text) => Some(Self::Text(mask::attribute(&attribute.key, text))),
            Any::BoolValue(flag) => Some(Self::Flag(*flag)),
            Any::IntValue(number) if (-EXACT..=EXACT).contains(number) => Some(Self::Integer(*number)),
            Any::IntValue(number) => Some(Self::Text(number.to_string().into())),
            Any::DoubleValue(number) if number.is_finite() => Some(Self::Double(*number)),
            Any::DoubleValue(number) => Some(Self::Text(number.to_string().into())),
            _ => None,
        }
    }
}

impl Serialize for Scalar<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Integer(number) => serializer.serialize_i64(*number),
            Self::Double(number) => serializer.serialize_f64(*number),
            Self::Flag(flag) => serializer.serialize_bool(*flag),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::common::v1::{ArrayValue, KeyValueList};
    use serde_json::{Value, json};

    fn any(value: Any) -> AnyValue {
        AnyValue { value: Some(value) }
    }

    fn entry(key: &str, value: Any) -> KeyValue {
        KeyValue { key: key.into(), value: Some(any(value)), ..KeyValue::default() }
    }

    fn shown(value: Any) -> Value {
        serde_json::to_value(Shown(&entry("key", value))).unwrap()
    }

    #[test]
    fn bet_8_values_as_json() {
        let cases = [
            (Any::IntValue(1 << 53), json!(9_007_199_254_740_992_i64)),
            (Any::IntValue((1 << 53) + 1), json!("9007199254740993")),
            (Any::DoubleValue(f64::NAN), json!("NaN")),
            (Any::DoubleValue(f64::INFINITY), json!("inf")),
            (Any::DoubleValue(0.5), json!(0.5)),
            (Any::BytesValue(vec![0, 255]), json!("AP8=")),
            (Any::ArrayValue(ArrayValue { values: vec![any(Any::BoolValue(true))] }), json!([true])),
        ];
        for (value, expected) in cases {
            assert_eq!(shown(value), expected);
        }
        assert_eq!(serde_json::to_value(Shown(&KeyValue::default())).unwrap(), Value::Null);
    }

    #[test]
    fn bet_8_nesting_is_followed_so_far_and_a_repeated_key_counts_once() {
        let mut deep = Any::IntValue(1);
        for _ in 0..200 {
            deep = Any::ArrayValue(ArrayValue { values: vec![any(deep)] });
        }
        assert!(shown(deep).to_string().contains("nested too deep"));
        let list = |n: i64| {
            let mut values: Vec<_> = (0..n).map(|i| entry(&format!("k{i}"), Any::IntValue(i))).collect();
            values.push(entry("k0", Any::IntValue(99)));
            Any::KvlistValue(KeyValueList { values })
        };
        for n in [2, 100] {
            let object = shown(list(n));
            assert_eq!(object.as_object().unwrap().len(), usize::try_from(n).unwrap());
            assert_eq!(object["k0"], json!(0));
        }
    }

    #[test]
    fn captured_headers_are_masked_in_lists_too() {
        let values = vec![any(Any::StringValue("Bearer x".into()))];
        let header = entry("http.request.header.authorization", Any::ArrayValue(ArrayValue { values }));
        assert_eq!(serde_json::to_value(Shown(&header)).unwrap(), json!(["REDACTED"]));
    }

    #[test]
    fn ann_2_scalars_only() {
        assert_eq!(
            Scalar::of(&entry("a", Any::IntValue(i64::MAX))),
            Some(Scalar::Text("9223372036854775807".into()))
        );
        assert_eq!(Scalar::of(&entry("a", Any::DoubleValue(f64::NAN))), Some(Scalar::Text("NaN".into())));
        assert_eq!(Scalar::of(&entry("a", Any::ArrayValue(ArrayValue::default()))), None);
    }
}
