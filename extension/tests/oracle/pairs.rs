//! Which document of ours is beside which of the collector's, with what differs by lot made alike.

use crate::sides::Input;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Stands for an id that a translator made up, as in the recordings.
const RANDOM: &str = "<random>";

/// One document and its counterpart, where each side has one.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) id: String,
    pub(crate) ours: Option<Value>,
    pub(crate) theirs: Option<Value>,
}

/// Pairs by id, documents with one id in their order. A segment that stands for no span pairs with another such.
pub(crate) fn pairs(input: &Input) -> Vec<Pair> {
    let ours: Vec<Value> = input.ours.iter().map(|document| settled(document, &input.span_ids)).collect();
    let mut by_id: BTreeMap<String, (Vec<Value>, Vec<Value>)> = BTreeMap::new();
    for document in ours {
        by_id.entry(id(&document)).or_default().0.push(document);
    }
    for document in &input.theirs {
        by_id.entry(id(document)).or_default().1.push(document.clone());
    }
    let mut pairs = Vec::new();
    for (id, (ours, theirs)) in by_id {
        for place in 0..ours.len().max(theirs.len()) {
            let (ours, theirs) = (ours.get(place).cloned(), theirs.get(place).cloned());
            pairs.push(Pair { id: id.clone(), ours, theirs });
        }
    }
    pairs
}

fn id(document: &Value) -> String {
    document["id"].as_str().unwrap_or_default().to_owned()
}

/// As tests/oracle/exporter/normalise.go does it to the recordings.
fn settled(document: &Value, span_ids: &BTreeSet<String>) -> Value {
    let mut document = document.clone();
    for field in ["id", "parent_id"] {
        if document[field].as_str().is_some_and(|id| !span_ids.contains(id)) {
            document[field] = json!(RANDOM);
        }
    }
    let Some(exceptions) = document.pointer_mut("/cause/exceptions").and_then(Value::as_array_mut) else {
        return document;
    };
    let places: BTreeMap<String, String> =
        exceptions.iter().enumerate().map(|(place, one)| (id(one), format!("<exception {place}>"))).collect();
    for exception in exceptions {
        for field in ["id", "cause"] {
            if let Some(place) = exception.get(field).and_then(Value::as_str).and_then(|id| places.get(id)) {
                exception[field] = json!(place);
            }
        }
    }
    document
}
