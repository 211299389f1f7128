//! Looking attributes up under their old and new names.

pub(crate) mod key;

use crate::attributes::key::{COUNT, Key};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use std::borrow::Cow;
use std::cell::Cell;

/// Attributes of which it is noted whether a block has used them; later ones always go to metadata as well.
const NOTED: usize = 256;

/// A set of attributes, with a note of those that a block has used.
pub(crate) struct Attributes<'a> {
    list: &'a [KeyValue],
    /// For each key one more than the index of its attribute; 0 when it is missing.
    places: [u16; COUNT],
    used: Cell<[u64; NOTED / 64]>,
}

impl<'a> Attributes<'a> {
    pub(crate) fn new(list: &'a [KeyValue]) -> Self {
        let mut places = [0; COUNT];
        for (index, attribute) in list.iter().enumerate().take(usize::from(u16::MAX) - 1) {
            let has_value = attribute.value.as_ref().is_some_and(|value| value.value.is_some());
            if let Some(key) = Key::of(&attribute.key).filter(|_| has_value) {
                let place = &mut places[key as usize];
                if *place == 0 {
                    *place = u16::try_from(index + 1).unwrap_or(0);
                }
            }
        }
        Self { list, places, used: Cell::default() }
    }

    fn find(&self, key: Key) -> Option<(usize, &'a Any)> {
        let index = usize::from(self.places[key as usize]).checked_sub(1)?;
        Some((index, self.list[index].value.as_ref()?.value.as_ref()?))
    }

    /// The value of the first of these keys that is there, which counts as a use of it (BET-3: newest first).
    pub(crate) fn get(&self, keys: &[Key]) -> Option<&'a Any> {
        let (index, value) = keys.iter().find_map(|key| self.find(*key))?;
        self.use_index(index);
        Some(value)
    }

    /// The value of a key, without counting as a use of it.
    pub(crate) fn peek(&self, key: Key) -> Option<&'a Any> {
        self.find(key).map(|(_, value)| value)
    }

    /// A non-empty text. Numbers and booleans are read as their text.
    pub(crate) fn text(&self, keys: &[Key]) -> Option<Cow<'a, str>> {
        keys.iter().find_map(|key| {
            let (index, value) = self.find(*key)?;
            let text = text_of(value)?;
            self.use_index(index);
            Some(text)
        })
    }

    /// A non-empty text, without counting as a use of it.
    pub(crate) fn peek_text(&self, keys: &[Key]) -> Option<Cow<'a, str>> {
        keys.iter().find_map(|key| text_of(self.peek(*key)?))
    }

    /// An integer, or a text that is one.
    pub(crate) fn integer(&self, keys: &[Key]) -> Option<i64> {
        keys.iter().find_map(|key| {
            let (index, value) = self.find(*key)?;
            let number = integer_of(value)?;
            self.use_index(index);
            Some(number)
        })
    }

    /// Every text in a list of texts; a single text is a list of one.
    pub(crate) fn texts(&self, keys: &[Key]) -> Vec<&'a str> {
        self.get(keys).map_or_else(Vec::new, texts_of)
    }

    /// Whether an attribute is there, without counting as a use of it.
    pub(crate) fn has(&self, key: Key) -> bool {
        self.places[key as usize] != 0
    }

    /// Whether any of these is there.
    pub(crate) fn has_any(&self, keys: &[Key]) -> bool {
        keys.iter().any(|key| self.has(*key))
    }

    /// What a block says with other words need not be said again in metadata.
    pub(crate) fn spend(&self, keys: &[Key]) {
        for key in keys {
            if let Some((index, _)) = self.find(*key) {
                self.use_index(index);
            }
        }
    }

    /// An attribute by any name, with its index.
    pub(crate) fn by_name(&self, name: &str) -> Option<(usize, &'a KeyValue)> {
        match Key::of(name) {
            Some(key) => {
                let index = usize::from(self.places[key as usize]).checked_sub(1)?;
                Some((index, &self.list[index]))
            }
            None => self.list.iter().enumerate().find(|(_, attribute)| attribute.key == name),
        }
    }

    pub(crate) fn use_index(&self, index: usize) {
        if index < NOTED {
            let mut used = self.used.get();
            used[index / 64] |= 1 << (index % 64);
            self.used.set(used);
        }
    }

    /// The attributes no block has used.
    pub(crate) fn unused(&self) -> impl Iterator<Item = &'a KeyValue> {
        let used = self.used.get();
        self.list
            .iter()
            .enumerate()
            .filter(move |(index, _)| *index >= NOTED || used[index / 64] & 1 << (index % 64) == 0)
            .map(|(_, attribute)| attribute)
    }

    /// All attributes.
    pub(crate) fn list(&self) -> &'a [KeyValue] {
        self.list
    }
}

fn text_of(value: &Any) -> Option<Cow<'_, str>> {
    match value {
        Any::StringValue(text) if text.is_empty() => None,
        Any::StringValue(text) => Some(Cow::Borrowed(text)),
        Any::IntValue(number) => Some(Cow::Owned(number.to_string())),
        Any::DoubleValue(number) => Some(Cow::Owned(number.to_string())),
        Any::BoolValue(flag) => Some(Cow::Borrowed(if *flag { "true" } else { "false" })),
        _ => None,
    }
}

fn integer_of(value: &Any) -> Option<i64> {
    match value {
        Any::IntValue(number) => Some(*number),
        Any::StringValue(text) => text.trim().parse().ok(),
        // Headers that instrumentations capture come as lists.
        Any::ArrayValue(array) => integer_of(array.values.first()?.value.as_ref()?),
        _ => None,
    }
}

/// Every text in a value.
pub(crate) fn texts_of(value: &Any) -> Vec<&str> {
    match value {
        Any::StringValue(text) if !text.is_empty() => vec![text],
        Any::ArrayValue(array) => array
            .values
            .iter()
            .filter_map(|value| match &value.value {
                Some(Any::StringValue(text)) if !text.is_empty() => Some(text.as_str()),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::key;
    use super::*;
    use opentelemetry_proto::tonic::common::v1::AnyValue;

    fn attribute(key: &str, value: Any) -> KeyValue {
        KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
    }

    #[test]
    fn bet_3_newest_name_first_and_what_was_used_is_known() {
        let text = |key, value: &str| attribute(key, Any::StringValue(value.into()));
        let list = [text("http.method", "OLD"), text("http.request.method", "NEW"), text("rest", "x")];
        let attributes = Attributes::new(&list);
        assert_eq!(attributes.text(key::METHOD).as_deref(), Some("NEW"));
        assert_eq!(attributes.unused().map(|a| a.key.as_str()).collect::<Vec<_>>(), ["http.method", "rest"]);
    }

    #[test]
    fn bet_3_an_empty_or_unreadable_new_name_gives_way_to_the_old_one() {
        let list = [
            attribute("url.full", Any::StringValue(String::new())),
            attribute("http.url", Any::StringValue("https://h".into())),
            attribute("http.response.status_code", Any::BoolValue(true)),
            attribute("http.status_code", Any::StringValue(" 404 ".into())),
        ];
        let attributes = Attributes::new(&list);
        assert_eq!(attributes.text(key::URL).as_deref(), Some("https://h"));
        assert_eq!(attributes.integer(key::STATUS), Some(404));
    }

    #[test]
    fn far_attributes_are_found_and_kept() {
        let mut list: Vec<_> = (0..300).map(|i| attribute(&format!("k{i}"), Any::IntValue(i))).collect();
        list.push(attribute("url.path", Any::StringValue("/x".into())));
        let attributes = Attributes::new(&list);
        assert_eq!(attributes.text(&[Key::UrlPath]).as_deref(), Some("/x"));
        assert_eq!(attributes.by_name("k299").map(|(index, _)| index), Some(299));
        assert_eq!(attributes.unused().count(), 301);
    }
}
