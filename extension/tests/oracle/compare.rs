//! Two documents, leaf by leaf.

use crate::pairs::Pair;
use crate::sides::Input;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;

/// Times may differ by a microsecond and by what a 64-bit float loses of it (TIME-1).
const TIME_TOLERANCE_SECONDS: f64 = 1.0e-6 + 2.5e-7;

/// How a value differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Side {
    OnlyOurs,
    OnlyCollector,
    Differs,
}

/// A place where the documents of one pair are not the same.
#[derive(Debug, Clone)]
pub(crate) struct Difference {
    pub(crate) input: String,
    /// JSON pointer into the document; empty when a whole document has no counterpart.
    pub(crate) path: String,
    pub(crate) side: Side,
    pub(crate) ours: Value,
    pub(crate) collector: Value,
    pub(crate) id: String,
    pub(crate) kind: Kind,
}

/// What the document is on our side; on the collector's where we have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Segment,
    Subsegment,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { input, path, side, ours, collector, id, kind } = self;
        write!(
            f,
            "{side:?} {path} in {input}, {kind:?} {id}: ours {}, the collector's {}",
            short(ours),
            short(collector)
        )
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() > 160 { text.chars().take(160).chain("...".chars()).collect() } else { text }
}

/// Every leaf that is not the same on both sides.
pub(crate) fn differences(input: &Input, pairs: &[Pair]) -> Vec<Difference> {
    let mut found = Vec::new();
    for pair in pairs {
        let one = pair.ours.as_ref().or(pair.theirs.as_ref());
        let is_subsegment = one.is_some_and(|document| document.get("type").is_some());
        let kind = if is_subsegment { Kind::Subsegment } else { Kind::Segment };
        let mut add = |path: &str, side, ours: &Value, collector: &Value| {
            let (ours, collector) = (ours.clone(), collector.clone());
            let (input, path, id) = (input.name.clone(), path.to_owned(), pair.id.clone());
            found.push(Difference { input, path, side, ours, collector, id, kind });
        };
        match (&pair.ours, &pair.theirs) {
            (Some(ours), Some(theirs)) => descend("", Some(ours), Some(theirs), &mut add),
            (Some(ours), None) => add("", Side::OnlyOurs, ours, &Value::Null),
            (None, Some(theirs)) => add("", Side::OnlyCollector, &Value::Null, theirs),
            (None, None) => {}
        }
    }
    found
}

fn descend(
    path: &str,
    ours: Option<&Value>,
    theirs: Option<&Value>,
    add: &mut impl FnMut(&str, Side, &Value, &Value),
) {
    for step in steps(ours, theirs) {
        let below = format!("{path}/{}", step.replace('~', "~0").replace('/', "~1"));
        match (child(ours, &step), child(theirs, &step)) {
            (ours, theirs) if !steps(ours, theirs).is_empty() => descend(&below, ours, theirs, add),
            (Some(ours), Some(theirs)) if !equal(&below, ours, theirs) => {
                add(&below, Side::Differs, ours, theirs);
            }
            (Some(ours), None) => add(&below, Side::OnlyOurs, ours, &Value::Null),
            (None, Some(theirs)) => add(&below, Side::OnlyCollector, &Value::Null, theirs),
            _ => {}
        }
    }
}

/// Where to look below: everywhere that either side has something, unless the two are not of one shape.
fn steps(ours: Option<&Value>, theirs: Option<&Value>) -> BTreeSet<String> {
    if let (Some(ours), Some(theirs)) = (ours, theirs) {
        let leaf = children(ours).is_empty() || children(theirs).is_empty();
        if leaf || ours.is_array() != theirs.is_array() {
            return BTreeSet::new();
        }
    }
    ours.into_iter().chain(theirs).flat_map(children).collect()
}

fn children(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => fields.keys().cloned().collect(),
        Value::Array(items) => (0..items.len()).map(|place| place.to_string()).collect(),
        _ => Vec::new(),
    }
}

fn child<'a>(value: Option<&'a Value>, key: &str) -> Option<&'a Value> {
    match value? {
        Value::Object(fields) => fields.get(key),
        Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        _ => None,
    }
}

fn equal(path: &str, ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Number(a), Value::Number(b)) => {
            if a.is_f64() || b.is_f64() {
                let (a, b) = (a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN));
                let tolerance =
                    if matches!(path, "/start_time" | "/end_time") { TIME_TOLERANCE_SECONDS } else { 0.0 };
                (a - b).abs() <= tolerance
            } else {
                a == b
            }
        }
        _ => ours == theirs,
    }
}
