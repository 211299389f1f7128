//! Attribute values as JSON (BET-8): what JSON numbers can't hold exactly becomes text, bytes become base64.

use crate::document::json::{Json, list, object};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use std::borrow::Cow;
use std::collections::HashSet;

/// Nesting of array and map values that is followed.
const MAX_DEPTH: usize = 16;
const TOO_DEEP: &str = "(nested too deep)";
/// The integers every JSON reader reads exactly.
const EXACT: i64 = 1 << 53;
/// Up to here looking back is cheaper than remembering.
const FEW: usize = 24;

/// An attribute's value.
pub(crate) struct Shown<'a>(pub(crate) &'a KeyValue);

/// A list of attributes as an object. The first of several with one key counts.
pub(crate) struct ShownAll<'a>(pub(crate) &'a [KeyValue]);

struct Nested<'a> {
    value: Option<&'a AnyValue>,
    depth: usize,
}

impl Json for Shown<'_> {
    fn write(&self, out: &mut String) {
        Nested { value: self.0.value.as_ref(), depth: 0 }.write(out);
    }
}

impl Json for ShownAll<'_> {
    fn write(&self, out: &mut String) {
        entries(self.0, 0, out);
    }
}

impl Json for Nested<'_> {
    fn write(&self, out: &mut String) {
        let Some(value) = self.value.and_then(|value| value.value.as_ref()) else {
            return out.push_str("null");
        };
        match value {
            _ if self.depth > MAX_DEPTH => TOO_DEEP.write(out),
            Any::StringValue(text) => text.write(out),
            Any::BoolValue(flag) => flag.write(out),
            Any::IntValue(number) if (-EXACT..=EXACT).contains(number) => number.write(out),
            Any::IntValue(number) => number.to_string().as_str().write(out),
            Any::DoubleValue(number) if number.is_finite() => number.write(out),
            Any::DoubleValue(number) => number.to_string().as_str().write(out),
            Any::BytesValue(bytes) => {
                use base64::Engine as _;
                base64::engine::general_purpose::STANDARD.encode(bytes).as_str().write(out);
            }
            Any::ArrayValue(array) => list(
                out,
                array.values.iter().map(|value| Nested { value: Some(value), depth: self.depth + 1 }),
            ),
            Any::KvlistValue(list) => entries(&list.values, self.depth + 1, out),
            Any::StringValueStrindex(_) => out.push_str("null"),
        }
    }
}

fn entries(list: &[KeyValue], depth: usize, out: &mut String) {
    if depth > MAX_DEPTH {
        return TOO_DEEP.write(out);
    }
    object(out, unique(list).map(|entry| (&entry.key, Nested { value: entry.value.as_ref(), depth })));
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
pub(crate) enum Scalar<'a> {
    Text(Cow<'a, str>),
    Integer(i64),
    Double(f64),
    Flag(bool),
}

impl<'a> Scalar<'a> {
    /// The scalar an attribute holds.
    pub(crate) fn of(attribute: &'a KeyValue) -> Option<Self> {
        match attribute.value.as_ref()?.value.as_ref()? {
            Any::StringValue(text) => Some(Self::Text(text.into())),
            Any::BoolValue(flag) => Some(Self::Flag(*flag)),
            Any::IntValue(number) if (-EXACT..=EXACT).contains(number) => Some(Self::Integer(*number)),
            Any::IntValue(number) => Some(Self::Text(number.to_string().into())),
            Any::DoubleValue(number) if number.is_finite() => Some(Self::Double(*number)),
            Any::DoubleValue(number) => Some(Self::Text(number.to_string().into())),
            _ => None,
        }
    }
}

impl Json for Scalar<'_> {
    fn write(&self, out: &mut String) {
        match self {
            Self::Text(text) => text.write(out),
            Self::Integer(number) => number.write(out),
            Self::Double(number) => number.write(out),
            Self::Flag(flag) => flag.write(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::json::to_value;
    use opentelemetry_proto::tonic::common::v1::{ArrayValue, KeyValueList};
    use serde_json::{Value, json};

    fn any(value: Any) -> AnyValue {
        AnyValue { value: Some(value) }
    }

    fn entry(key: &str, value: Any) -> KeyValue {
        KeyValue { key: key.into(), value: Some(any(value)), ..KeyValue::default() }
    }

    fn shown(value: Any) -> Value {
        to_value(&Shown(&entry("key", value)))
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
        assert_eq!(to_value(&Shown(&KeyValue::default())), Value::Null);
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
    fn ann_2_scalars_only() {
        assert_eq!(
            Scalar::of(&entry("a", Any::IntValue(i64::MAX))),
            Some(Scalar::Text("9223372036854775807".into()))
        );
        assert_eq!(Scalar::of(&entry("a", Any::DoubleValue(f64::NAN))), Some(Scalar::Text("NaN".into())));
        assert_eq!(Scalar::of(&entry("a", Any::ArrayValue(ArrayValue::default()))), None);
    }
}
