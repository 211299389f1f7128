//! What X-Ray keeps of one trace (LIM-2): near the limit documents get shorter, and the least telling go first.

use crate::accounts::{Accounts, Reason, Trim};
use crate::compose::{Composed, Detail};
use crate::document::TranslatedDocument;
use crate::document::splice;
use crate::plan::Planned;
use crate::plan::memory::Memory;
use crate::trace_header::TraceId;
use std::collections::{HashMap, HashSet};

/// Up to here documents are sent whole.
pub(crate) const RICH_BYTES: usize = 400_000;
/// Up to here without metadata, from here on minimal.
pub(crate) const LEAN_BYTES: usize = 460_000;
/// X-Ray keeps 500,000 bytes of a trace. Lambda writes its own segments last, and without them the rest is not shown.
pub(crate) const MAX_BYTES: usize = 480_000;

/// The most telling first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    Segment,
    Faulty,
    Remote,
    Local,
    Overflow,
}

/// A written document with what later steps want to know of it.
pub(crate) struct Ready {
    pub(crate) document: TranslatedDocument,
    pub(crate) facts: Facts,
}

/// What holds for the documents of one span, its overflow included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    pub(crate) rank: Rank,
    /// Finished, and neither a call nor a segment.
    pub(crate) is_local: bool,
    pub(crate) is_finished: bool,
    /// The place of the span in the plan.
    pub(crate) planned: usize,
    pub(crate) annotations: usize,
    pub(crate) links: usize,
}

impl Facts {
    pub(crate) fn of(composed: &Composed<'_, '_>, is_top: bool, planned: usize) -> Self {
        let document = &*composed.document;
        let rank = if document.is_segment() || is_top {
            Rank::Segment
        } else if document.fault || document.error {
            Rank::Faulty
        } else if document.namespace.is_some() {
            Rank::Remote
        } else {
            Rank::Local
        };
        let is_finished = !document.in_progress;
        let is_local = is_finished && !document.is_segment() && document.namespace.is_none();
        let (annotations, links) = (document.annotations.len(), document.links.len());
        Self { rank, is_local, is_finished, planned, annotations, links }
    }
}

/// The documents that fit their traces' budgets. `shorten` makes those of one span again with less in them.
pub(crate) fn fit(
    ready: Vec<Ready>,
    planned: &[Planned<'_>],
    memory: &mut Memory,
    accounts: &mut Accounts,
    mut shorten: impl FnMut(&Facts, Detail) -> Vec<TranslatedDocument>,
) -> Vec<Ready> {
    let trace_of = |one: &Ready| planned[one.facts.planned].trace_id;
    let full: HashSet<TraceId> =
        ready.iter().map(trace_of).filter(|trace| memory.trace(*trace).bytes > RICH_BYTES).collect();
    for one in ready.iter().filter(|one| full.contains(&trace_of(one))) {
        memory.trace(trace_of(one)).bytes -= one.document.json.len();
    }
    let mut by_rank: Vec<usize> = (0..ready.len()).collect();
    by_rank.sort_by_key(|at| ready[*at].facts.rank);
    let mut slots: Vec<Option<Ready>> = ready.into_iter().map(Some).collect();
    let mut gone: HashMap<(String, String), Option<String>> = HashMap::new();
    for at in by_rank {
        let Some(mut one) = slots[at].take() else { continue };
        let trace = trace_of(&one);
        if !full.contains(&trace) {
            slots[at] = Some(one);
            continue;
        }
        if let Some(document) = shortest_that_fits(&one, memory, trace, accounts, &mut shorten) {
            memory.trace(trace).bytes += document.json.len();
            one.document = document;
            slots[at] = Some(one);
        } else {
            accounts.drop(Reason::TraceBudget, one.document.spans);
            memory.trace(trace).forget_sent(planned[one.facts.planned].id);
            let (trace, id) = splice::ids(&one.document);
            let parent = splice::parent(&one.document).map(|(_, parent)| parent.to_owned());
            gone.insert((trace.to_owned(), id.to_owned()), parent);
        }
    }
    let mut kept: Vec<Ready> = slots.into_iter().flatten().collect();
    for one in &mut kept {
        hang_on_a_kept_parent(&mut one.document, &gone);
    }
    kept
}

fn shortest_that_fits(
    one: &Ready,
    memory: &mut Memory,
    trace: TraceId,
    accounts: &mut Accounts,
    shorten: &mut impl FnMut(&Facts, Detail) -> Vec<TranslatedDocument>,
) -> Option<TranslatedDocument> {
    let bytes = memory.trace(trace).bytes;
    if bytes + one.document.json.len() <= RICH_BYTES {
        return Some(one.document.clone());
    }
    accounts.trim(Trim::MetadataBudget, 1);
    if one.facts.rank == Rank::Overflow {
        return None;
    }
    [(Detail::WithoutMetadata, LEAN_BYTES), (Detail::Minimal, MAX_BYTES)].into_iter().find_map(
        |(detail, most)| {
            let again = shorten(&one.facts, detail);
            let same = again.into_iter().find(|document| document.id == one.document.id)?;
            (bytes + same.json.len() <= most).then_some(same)
        },
    )
}

/// A document whose parent does not fit hangs on the next one up that does (MAP-S6).
fn hang_on_a_kept_parent(
    document: &mut TranslatedDocument,
    gone: &HashMap<(String, String), Option<String>>,
) {
    let Some((trace, parent)) = splice::parent(document) else { return };
    let (trace, mut parent) = (trace.to_owned(), parent.to_owned());
    let mut moved = false;
    for _ in 0..=gone.len() {
        match gone.get(&(trace.clone(), parent.clone())) {
            Some(Some(above)) => {
                parent.clone_from(above);
                moved = true;
            }
            _ => break,
        }
    }
    if moved {
        splice::set_parent(document, &parent);
    }
}
