//! The table of differences that are meant.

use crate::compare::{Difference, Kind, Side};
use crate::sides;
use serde::Deserialize;
use serde_json::Value;

/// Families of rule ids; `ROW` is a row of the table of what becomes what inside Lambda.
const RULE_FAMILIES: [&str; 15] = [
    "ANN", "BET", "DOC", "ERR", "ID", "LAM", "LIM", "LNK", "MAP", "META", "NAME", "OPEN", "ROW", "TIME",
    "VERSION",
];

/// Why some differences are meant. A pattern has `*` for any characters but `/`, and `**` for any at all.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// Patterns of the JSON pointer.
    paths: Vec<String>,
    side: Side,
    /// Patterns of the input's name; any when there are none.
    #[serde(default)]
    inputs: Vec<String>,
    /// Only in documents of this kind.
    document: Option<Kind>,
    /// The value that ours has to have for the entry to apply, if only one explains it.
    ours: Option<Value>,
    /// The same for the collector's.
    collector: Option<Value>,
    rules: Vec<String>,
    reason: String,
}

impl Entry {
    pub(crate) fn matches(&self, difference: &Difference) -> bool {
        self.applies(difference)
            && self.paths.iter().any(|pattern| fits(pattern, &difference.path))
            && (self.inputs.is_empty() || self.inputs.iter().any(|pattern| fits(pattern, &difference.input)))
    }

    fn applies(&self, difference: &Difference) -> bool {
        self.side == difference.side
            && self.document.is_none_or(|kind| kind == difference.kind)
            && self.ours.as_ref().is_none_or(|value| *value == difference.ours)
            && self.collector.as_ref().is_none_or(|value| *value == difference.collector)
    }

    /// Patterns that match nothing the entry explains.
    fn idle_patterns(&self, all: &[Difference]) -> Vec<&str> {
        let explained: Vec<&Difference> = all.iter().filter(|difference| self.matches(difference)).collect();
        let idle_path = |path: &&String| !explained.iter().any(|difference| fits(path, &difference.path));
        let idle_input = |input: &&String| !explained.iter().any(|difference| fits(input, &difference.input));
        let paths = self.paths.iter().filter(idle_path);
        paths.chain(self.inputs.iter().filter(idle_input)).map(String::as_str).collect()
    }

    pub(crate) fn title(&self) -> String {
        let Self { paths, side, inputs, rules, reason, .. } = self;
        format!("{side:?} {} in {} ({}): {reason}", paths.join(" "), inputs.join(" "), rules.join(", "))
    }
}

#[derive(Debug)]
pub(crate) struct Table(pub(crate) Vec<Entry>);

impl Table {
    pub(crate) fn load() -> Self {
        let path = sides::folder().join("differences.json");
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let table: Self =
            Self(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
        for entry in &table.0 {
            assert!(!entry.rules.is_empty() && !entry.reason.is_empty(), "{} has no reason", entry.title());
            for rule in &entry.rules {
                let (family, number) = rule.rsplit_once('-').unwrap_or((rule, ""));
                let known =
                    RULE_FAMILIES.contains(&family) && number.bytes().all(|digit| digit.is_ascii_digit());
                assert!(known && !number.is_empty(), "{rule} is no rule's id");
            }
        }
        table
    }

    pub(crate) fn explains(&self, difference: &Difference) -> bool {
        self.0.iter().any(|entry| entry.matches(difference))
    }

    /// Patterns that match nothing, each with its entry.
    pub(crate) fn stale(&self, all: &[Difference]) -> Vec<String> {
        let of_entry = |entry: &Entry| {
            let title = entry.title();
            let idle = entry.idle_patterns(all);
            idle.into_iter().map(|pattern| format!("{pattern} of {title}")).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of_entry).collect()
    }
}

fn fits(pattern: &str, text: &str) -> bool {
    fits_bytes(pattern.as_bytes(), text.as_bytes())
}

fn fits_bytes(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', b'*', rest @ ..] => (0..=text.len()).any(|at| fits_bytes(rest, &text[at..])),
        [b'*', rest @ ..] => {
            let end = text.iter().position(|byte| *byte == b'/').unwrap_or(text.len());
            (0..=end).any(|at| fits_bytes(rest, &text[at..]))
        }
        [first, rest @ ..] => text.first() == Some(first) && fits_bytes(rest, &text[1..]),
    }
}

#[test]
fn patterns() {
    for (pattern, text, expected) in [
        ("/a/*/c", "/a/b/c", true),
        ("/a/*/c", "/a/b/x/c", false),
        ("/a/**", "/a/b/c", true),
        ("/a/otel.*", "/a/otel.x", true),
        ("/a/otel.*", "/a/otel.x/y", false),
        ("", "", true),
        ("", "/a", false),
        ("**", "", true),
    ] {
        assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
    }
}
