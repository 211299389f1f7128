//! Looking attributes up under their old and new names, and turning their values into JSON.

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::cell::Cell;

/// Nesting of array and map values that is followed.
const MAX_DEPTH: usize = 16;

/// A set of attributes, with a note of those that a block has used.
pub(super) struct Attributes<'a> {
    list: &'a [KeyValue],
    used: Vec<Cell<bool>>,
}

impl<'a> Attributes<'a> {
    pub(super) fn new(list: &'a [KeyValue]) -> Self {
        Self { list, used: vec![Cell::new(false); list.len()] }
    }

    /// The value of the first of these names that is there (BET-3: newest first).
    pub(super) fn get(&self, names: &[&str]) -> Option<&'a Any> {
        names.iter().find_map(|name| {
            let index = self.list.iter().position(|attribute| attribute.key == *name)?;
            let value = self.list[index].value.as_ref()?.value.as_ref()?;
            self.used[index].set(true);
            Some(value)
        })
    }

    /// A non-empty text. Numbers and booleans are read as their text.
    pub(super) fn text(&self, names: &[&str]) -> Option<Cow<'a, str>> {
        match self.get(names)? {
            Any::StringValue(text) if text.is_empty() => None,
            Any::StringValue(text) => Some(Cow::Borrowed(text)),
            Any::IntValue(number) => Some(Cow::Owned(number.to_string())),
            Any::BoolValue(flag) => Some(Cow::Owned(flag.to_string())),
            Any::DoubleValue(number) => Some(Cow::Owned(number.to_string())),
            _ => None,
        }
    }

    /// An integer, or an integer written as text (BET-17).
    pub(super) fn integer(&self, names: &[&str]) -> Option<i64> {
        match self.get(names)? {
            Any::IntValue(number) => Some(*number),
            Any::StringValue(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// Every text in a list of texts; a single text is a list of one.
    pub(super) fn texts(&self, names: &[&str]) -> Vec<&'a str> {
        match self.get(names) {
            Some(Any::StringValue(text)) if !text.is_empty() => vec![text],
            Some(Any::ArrayValue(array)) => array.values.iter().filter_map(text_of).collect(),
            _ => Vec::new(),
        }
    }

    /// Whether an attribute is there, without counting as a use of it.
    pub(super) fn has(&self, name: &str) -> bool {
        self.list.iter().any(|attribute| attribute.key == name)
    }

    /// The attributes no block has used.
    pub(super) fn unused(&self) -> impl Iterator<Item = &'a KeyValue> {
        self.list.iter().zip(&self.used).filter(|(_, used)| !used.get()).map(|(attribute, _)| attribute)
    }

    /// All attributes.
    pub(super) fn iter(&self) -> impl Iterator<Item = &'a KeyValue> {
        self.list.iter()
    }
}

fn text_of(value: &AnyValue) -> Option<&str> {
    match &value.value {
        Some(Any::StringValue(text)) => Some(text),
        _ => None,
    }
}

/// A value as JSON (BET-8): what JSON numbers can't hold exactly becomes text, bytes become base64.
pub(super) fn to_json(value: Option<&AnyValue>) -> Value {
    any_to_json(value.and_then(|value| value.value.as_ref()), 0)
}

fn any_to_json(value: Option<&Any>, depth: usize) -> Value {
    const EXACT: i64 = 1 << 53;
    match value {
        Some(_) if depth > MAX_DEPTH => Value::String("(nested too deep)".to_owned()),
        Some(Any::StringValue(text)) => Value::String(text.clone()),
        Some(Any::BoolValue(flag)) => Value::Bool(*flag),
        Some(Any::IntValue(number)) if (-EXACT..=EXACT).contains(number) => (*number).into(),
        Some(Any::IntValue(number)) => Value::String(number.to_string()),
        Some(Any::DoubleValue(number)) => serde_json::Number::from_f64(*number)
            .map_or_else(|| Value::String(number.to_string()), Value::Number),
        Some(Any::BytesValue(bytes)) => {
            use base64::Engine as _;
            Value::String(base64::engine::general_purpose::STANDARD.encode(bytes))
        }
        Some(Any::ArrayValue(array)) => {
            array.values.iter().map(|value| any_to_json(value.value.as_ref(), depth + 1)).collect()
        }
        Some(Any::KvlistValue(list)) => Value::Object(
            list.values
                .iter()
                .map(|entry| {
                    let value = entry.value.as_ref().and_then(|value| value.value.as_ref());
                    (entry.key.clone(), any_to_json(value, depth + 1))
                })
                .collect::<Map<_, _>>(),
        ),
        Some(_) | None => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::common::v1::ArrayValue;
    use serde_json::json;

    fn any(value: Any) -> AnyValue {
        AnyValue { value: Some(value) }
    }

    #[test]
    fn bet_8_values_as_json() {
        let cases = [
            (Any::IntValue(1 << 53), json!(9_007_199_254_740_992_i64)),
            (Any::IntValue((1 << 53) + 1), json!("9007199254740993")),
            (Any::DoubleValue(f64::NAN), json!("NaN")),
            (Any::DoubleValue(0.5), json!(0.5)),
            (Any::BytesValue(vec![0, 255]), json!("AP8=")),
            (Any::ArrayValue(ArrayValue { values: vec![any(Any::BoolValue(true))] }), json!([true])),
        ];
        for (value, expected) in cases {
            assert_eq!(to_json(Some(&any(value))), expected);
        }
        assert_eq!(to_json(None), Value::Null);
        let mut deep = Any::IntValue(1);
        for _ in 0..100 {
            deep = Any::ArrayValue(ArrayValue { values: vec![any(deep)] });
        }
        assert!(to_json(Some(&any(deep))).to_string().contains("nested too deep"));
    }

    #[test]
    fn bet_3_newest_name_first_and_what_was_used_is_known() {
        let list =
            [("http.method", "OLD"), ("http.request.method", "NEW"), ("rest", "x")].map(|(key, value)| {
                KeyValue {
                    key: key.into(),
                    value: Some(any(Any::StringValue(value.into()))),
                    ..KeyValue::default()
                }
            });
        let attributes = Attributes::new(&list);
        assert_eq!(attributes.text(&["http.request.method", "http.method"]).as_deref(), Some("NEW"));
        assert_eq!(attributes.unused().map(|a| a.key.as_str()).collect::<Vec<_>>(), ["http.method", "rest"]);
    }
}
