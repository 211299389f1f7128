//! Our documents beside those of the OpenTelemetry Collector's X-Ray exporter, for every input in `tests/oracle`.
//!
//! Each difference is explained by an entry of `tests/oracle/differences.json`, or the comparison fails. With
//! `OTEL_XRAY_ORACLE_REPORT=1` the unexplained ones are printed by path, with counts and examples.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod compare;
mod differences;
mod pairs;
mod report;
mod sides;

use compare::Difference;
use differences::Table;
use std::collections::BTreeSet;

/// Every difference there is, over all inputs.
fn all_differences() -> Vec<Difference> {
    sides::inputs().iter().flat_map(|input| compare::differences(input, &pairs::pairs(input))).collect()
}

#[test]
fn every_difference_is_explained_and_every_explanation_explains() {
    let table = Table::load();
    let all = all_differences();
    let unexplained: Vec<&Difference> = all.iter().filter(|difference| !table.explains(difference)).collect();
    if std::env::var_os("OTEL_XRAY_ORACLE_REPORT").is_some() {
        report::print(&table, &all, &unexplained);
    }
    let first: Vec<String> = unexplained.iter().take(10).map(ToString::to_string).collect();
    assert!(
        unexplained.is_empty(),
        "{} differences no entry explains (OTEL_XRAY_ORACLE_REPORT=1 lists them all), the first:\n{}",
        unexplained.len(),
        first.join("\n")
    );
    let stale = table.stale(&all);
    assert!(stale.is_empty(), "patterns that explain no difference any more:\n{}", stale.join("\n"));
}

#[test]
fn enough_is_compared() {
    let inputs = sides::inputs();
    assert!(inputs.len() >= 150, "{} inputs", inputs.len());
    for folder in ["rules", "sdk-python", "sdk-node", "generated"] {
        assert!(inputs.iter().any(|input| input.name.starts_with(folder)), "no input in {folder}");
    }
    let both =
        inputs.iter().flat_map(pairs::pairs).filter(|pair| pair.ours.is_some() && pair.theirs.is_some());
    let both = both.count();
    assert!(both >= 400, "only {both} documents have a counterpart");
}

#[test]
fn map_1_to_69_each_have_an_input() {
    let covered: BTreeSet<u32> = sides::inputs()
        .iter()
        .filter_map(|input| input.name.strip_prefix("rules/map-")?.get(..2)?.parse().ok())
        .collect();
    // MAP-8 is about all of them: no document nests others.
    let missing: Vec<u32> = (1..=69).filter(|rule| *rule != 8 && !covered.contains(rule)).collect();
    assert!(missing.is_empty(), "no input for MAP-{missing:?}");
    for input in sides::inputs() {
        for document in input.ours.iter().chain(&input.theirs) {
            assert!(document.get("subsegments").is_none(), "MAP-8: {} nests", input.name);
        }
    }
}
