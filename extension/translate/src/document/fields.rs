//! The pieces a document is made of: named fields in the order in which they were put there, and metadata.

use crate::document::json::{Json, list, object};
use crate::document::value::{Shown, ShownAll};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use serde_json::Value;
use std::borrow::Cow;

/// Characters of a string field (LIM-6).
const MAX_STRING_CHARS: usize = 250;

/// A string of a field: at most 250 characters (LIM-6).
pub(crate) fn cut_250(text: Cow<'_, str>) -> Cow<'_, str> {
    cut_chars(text, MAX_STRING_CHARS)
}

/// At most so many characters of a text.
pub(crate) fn cut_chars(text: Cow<'_, str>, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return text;
    }
    match text.char_indices().nth(most) {
        Some((end, _)) => match text {
            Cow::Borrowed(text) => Cow::Borrowed(&text[..end]),
            Cow::Owned(mut text) => {
                text.truncate(end);
                Cow::Owned(text)
            }
        },
        None => text,
    }
}

/// An object: names and values in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Object<'a, V>(Vec<(Cow<'a, str>, V)>);

impl<V> Default for Object<'_, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'a, V> Object<'a, V> {
    pub(crate) fn with_capacity(entries: usize) -> Self {
        Self(Vec::with_capacity(entries))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Itself, unless there is nothing in it.
    pub(crate) fn non_empty(&self) -> Option<&Self> {
        (!self.is_empty()).then_some(self)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&V> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Puts a value under a name that is known to be new.
    pub(crate) fn push(&mut self, name: impl Into<Cow<'a, str>>, value: V) {
        self.0.push((name.into(), value));
    }

    /// Puts a value in the place of an earlier one, if there is one.
    pub(crate) fn set(&mut self, name: impl Into<Cow<'a, str>>, value: V) {
        let name = name.into();
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, earlier)) => *earlier = value,
            None => self.0.push((name, value)),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    pub(crate) fn into_iter(self) -> impl Iterator<Item = (Cow<'a, str>, V)> {
        self.0.into_iter()
    }
}

impl<'a, V: Default> Object<'a, V> {
    /// The value under a name, made when it is missing.
    pub(crate) fn entry(&mut self, name: impl Into<Cow<'a, str>>) -> &mut V {
        let name = name.into();
        let index = self.0.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
            self.0.push((name, V::default()));
            self.0.len() - 1
        });
        &mut self.0[index].1
    }
}

impl<V: Json> Json for Object<'_, V> {
    fn write(&self, out: &mut String) {
        object(out, self.0.iter().map(|(name, value)| (name, value)));
    }
}

/// A value of a block.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Field<'a> {
    Text(Cow<'a, str>),
    Integer(i64),
    Flag(bool),
    Texts(Vec<Cow<'a, str>>),
    Block(Block<'a>),
    Blocks(Vec<Block<'a>>),
}

/// `aws`, `sql`, `service` and their parts.
pub(crate) type Block<'a> = Object<'a, Field<'a>>;

impl Json for Field<'_> {
    fn write(&self, out: &mut String) {
        match self {
            Self::Text(text) => text.write(out),
            Self::Integer(number) => number.write(out),
            Self::Flag(flag) => flag.write(out),
            Self::Texts(texts) => list(out, texts),
            Self::Block(block) => block.write(out),
            Self::Blocks(blocks) => list(out, blocks),
        }
    }
}

/// A value in metadata, rendered only when the document is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Meta<'a> {
    /// The value of an attribute.
    Attribute(&'a KeyValue),
    Attributes(&'a [KeyValue]),
    Text(Cow<'a, str>),
    /// Name and version of an instrumentation.
    Scope {
        name: &'a str,
        version: &'a str,
    },
    Json(Value),
}

impl Json for Meta<'_> {
    fn write(&self, out: &mut String) {
        match self {
            Self::Attribute(attribute) => Shown(attribute).write(out),
            Self::Attributes(attributes) => ShownAll(attributes).write(out),
            Self::Text(text) => text.write(out),
            Self::Scope { name, version: "" } => object(out, [("name", name)]),
            Self::Scope { name, version } => object(out, [("name", name), ("version", version)]),
            Self::Json(value) => value.write(out),
        }
    }
}

/// One namespace of metadata.
pub(crate) type Space<'a> = Object<'a, Meta<'a>>;

/// Objects of documents that have been written, to be filled again: most documents need the same three.
#[derive(Debug, Default)]
pub(crate) struct Spare<'a> {
    spaces: Vec<Space<'a>>,
    blocks: Vec<Block<'a>>,
}

impl<'a> Spare<'a> {
    pub(crate) fn metadata(&mut self) -> Metadata<'a> {
        let mut space = || self.spaces.pop().unwrap_or_else(|| Object::with_capacity(8));
        Metadata { otel: space(), default: space(), others: Object::default() }
    }

    pub(crate) fn block(&mut self) -> Block<'a> {
        self.blocks.pop().unwrap_or_else(|| Object::with_capacity(8))
    }

    pub(crate) fn take_back(&mut self, metadata: Metadata<'a>, mut block: Block<'a>) {
        for mut space in [metadata.otel, metadata.default] {
            space.0.clear();
            self.spaces.push(space);
        }
        block.0.clear();
        self.blocks.push(block);
    }
}

/// Metadata by namespace (META-1).
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Metadata<'a> {
    /// `otel`: facts of the span (BET-5).
    pub(crate) otel: Space<'a>,
    /// `default`: its attributes.
    pub(crate) default: Space<'a>,
    /// Namespaces that the function's own code has named.
    others: Object<'a, Space<'a>>,
}

impl<'a> Metadata<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.otel.is_empty() && self.default.is_empty() && self.others.is_empty()
    }

    /// A namespace by its name.
    pub(crate) fn space(&mut self, name: Cow<'a, str>) -> &mut Space<'a> {
        match &*name {
            "otel" => &mut self.otel,
            "default" => &mut self.default,
            _ => self.others.entry(name),
        }
    }

    pub(crate) fn spaces_mut(&mut self) -> impl Iterator<Item = &mut Space<'a>> {
        [&mut self.otel, &mut self.default].into_iter().chain(self.others.values_mut())
    }

    pub(crate) fn into_spaces(self) -> impl Iterator<Item = (Cow<'a, str>, Space<'a>)> {
        [("otel".into(), self.otel), ("default".into(), self.default)]
            .into_iter()
            .chain(self.others.into_iter())
    }
}

impl Json for Metadata<'_> {
    fn write(&self, out: &mut String) {
        let own = [("otel", &self.otel), ("default", &self.default)];
        let all = own.into_iter().chain(self.others.0.iter().map(|(name, space)| (&**name, space)));
        object(out, all.filter(|(_, space)| !space.is_empty()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lim_6_strings_are_cut_by_characters() {
        assert_eq!(cut_250("ä".repeat(300).into()).chars().count(), 250);
        assert_eq!(cut_250("ä".repeat(200).into()).chars().count(), 200);
        assert_eq!(cut_chars(Cow::Borrowed("abc"), 2), "ab");
    }

    #[test]
    fn objects_keep_their_order_and_one_value_for_a_name() {
        let mut object: Object<'_, u8> = Object::default();
        object.push("b", 1);
        object.set("a", 2);
        object.set("b", 3);
        *object.entry("c") += 4;
        assert_eq!(object.0.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["b", "a", "c"]);
        assert_eq!(object.get("b"), Some(&3));
        assert_eq!((object.get("a"), object.get("x"), object.len()), (Some(&2), None, 3));
    }
}
