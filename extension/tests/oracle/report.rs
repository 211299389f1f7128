//! What to look at when the table has to change.

use crate::compare::{Difference, Side};
use crate::differences::Table;
use std::collections::BTreeMap;

const EXAMPLES: usize = 3;

/// Prints how often each entry applies, then what none explains, by path.
pub(crate) fn print(table: &Table, all: &[Difference], unexplained: &[&Difference]) {
    for entry in &table.0 {
        let count = all.iter().filter(|difference| entry.matches(difference)).count();
        println!("{count:6}  {}", entry.title());
    }
    let mut groups: BTreeMap<(String, Side), Vec<&Difference>> = BTreeMap::new();
    for difference in unexplained {
        groups.entry((general(&difference.path), difference.side)).or_default().push(difference);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, members)| std::cmp::Reverse(members.len()));
    println!("\n{} of {} differences are not explained", unexplained.len(), all.len());
    for ((path, side), members) in groups {
        println!("{:6}  {side:?} {path}", members.len());
        for member in members.iter().take(EXAMPLES) {
            println!("          {member}");
        }
    }
}

/// The path with `*` for each place in a list.
fn general(path: &str) -> String {
    let step = |step: &str| {
        if !step.is_empty() && step.parse::<u32>().is_ok() { "*".into() } else { step.to_owned() }
    };
    path.split('/').map(step).collect::<Vec<_>>().join("/")
}
