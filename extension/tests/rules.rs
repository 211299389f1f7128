//! What proves each rule of the reference: `tests/rules.tsv` has a line for every rule, with the name of a test, an
//! input of the oracle, or the reason why nothing of ours can be tested.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[path = "rules/documents.rs"]
mod documents;
#[path = "rules/endings.rs"]
mod endings;
#[path = "rules/flushes.rs"]
mod flushes;
#[path = "rules/names.rs"]
mod names;
#[path = "laws/stage.rs"]
#[allow(dead_code, reason = "the laws need more of it")]
mod stage;

use std::collections::BTreeSet;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// The rules by their family. ROW is a row of the table that says which span becomes what inside Lambda.
const RULES: &[(&str, RangeInclusive<u32>)] = &[
    ("ID", 1..=8),
    ("TIME", 1..=5),
    ("DOC", 1..=6),
    ("NAME", 1..=3),
    ("ANN", 1..=4),
    ("META", 1..=2),
    ("LNK", 1..=2),
    ("ERR", 1..=3),
    ("LIM", 1..=12),
    ("PTS", 1..=12),
    ("LAM", 1..=9),
    ("ENV", 1..=6),
    ("HDR", 1..=8),
    ("MAP", 1..=75),
    ("BET", 1..=36),
    ("ROW", 1..=12),
    ("LAM", 20..=24),
    ("TV", 1..=24),
    ("DMN", 1..=15),
    ("SMP", 1..=18),
];

/// What may stay without a proof: mostly facts about other people's programs.
const MAX_WITHOUT_PROOF: usize = 18;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Rule and proof of each line.
fn lines() -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join("tests/rules.tsv")).unwrap();
    let line = |line: &str| {
        let (rule, proof) = line.split_once('\t').unwrap_or_else(|| panic!("no tab in {line:?}"));
        (rule.to_owned(), proof.to_owned())
    };
    text.lines().map(line).collect()
}

/// The functions that the test runners call: those below a `#[test]` of Rust and `test_` of Python.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for folder in ["extension", "local", "tests", "wrapper"] {
        collect(&root().join(folder), &mut found);
    }
    found
}

fn collect(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let name = entry.file_name();
        if entry.file_type().unwrap().is_dir() {
            if name != "node_modules" && name != "__pycache__" {
                collect(&path, found);
            }
            continue;
        }
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("rs") => rust_tests(&fs::read_to_string(&path).unwrap(), found),
            Some("py") => python_tests(&fs::read_to_string(&path).unwrap(), found),
            _ => {}
        }
    }
}

fn rust_tests(source: &str, found: &mut BTreeSet<String>) {
    let mut is_test = false;
    for line in source.lines().map(str::trim_start) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some(rest) = line.strip_prefix("fn ").or_else(|| line.strip_prefix("async fn "))
            && std::mem::take(&mut is_test)
        {
            found.insert(rest.split('(').next().unwrap().to_owned());
        }
    }
}

fn python_tests(source: &str, found: &mut BTreeSet<String>) {
    for line in source.lines() {
        if let Some(rest) = line.trim_start().strip_prefix("def test_") {
            found.insert(format!("test_{}", rest.split('(').next().unwrap()));
        }
    }
}

#[test]
fn every_rule_has_one_line_in_order() {
    let expected: Vec<String> = RULES
        .iter()
        .flat_map(|(family, numbers)| numbers.clone().map(move |number| format!("{family}-{number}")))
        .collect();
    let listed: Vec<String> = lines().into_iter().map(|(rule, _)| rule).collect();
    for (place, rule) in expected.iter().enumerate() {
        assert_eq!(listed.get(place), Some(rule), "line {}", place + 1);
    }
    assert_eq!(listed.len(), expected.len(), "lines behind the last rule");
}

#[test]
fn every_proof_exists() {
    let tests = tests();
    let missing: Vec<String> = lines()
        .into_iter()
        .filter(|(_, proof)| match proof.split_once(':') {
            Some(("oracle", input)) => !root().join(format!("tests/oracle/inputs/{input}.json")).is_file(),
            Some(("none", reason)) => reason.trim().is_empty(),
            _ => !tests.contains(proof),
        })
        .map(|(rule, proof)| format!("{rule}\t{proof}"))
        .collect();
    assert!(missing.is_empty(), "nothing has these names:\n{}", missing.join("\n"));
}

#[test]
fn few_rules_are_without_a_proof() {
    let without = lines().into_iter().filter(|(_, proof)| proof.starts_with("none:")).count();
    assert!(without <= MAX_WITHOUT_PROOF, "{without} rules without a proof");
}
