//! Fewer documents when there are many: local subsegments inside their local parents (BET-29).

use crate::document::TranslatedDocument;
use crate::document::splice;
use crate::fit::budget::Ready;
use crate::plan::Planned;
use crate::trace_header::{SpanId, TraceId};
use rustc_hash::FxHashMap;

/// Documents of one request (LIM-3): up to here nothing is gained.
const MAX_FLAT: usize = 50;
/// What a document with others in it may come to.
const MAX_NESTED_BYTES: usize = 32_000;
/// How deep documents are put into each other.
const MAX_DEPTH: usize = 30;
const LIST: &str = ",\"subsegments\":[";

/// Whether a flush of so many spans would take more than one request.
pub(crate) fn is_worth_it(spans: usize) -> bool {
    spans > MAX_FLAT
}

/// Adds the documents in their order, local ones inside their parents.
pub(crate) fn nest(ready: Vec<Ready>, planned: &[Planned<'_>], documents: &mut Vec<TranslatedDocument>) {
    let (children, bytes) = choose(&ready, planned);
    let mut is_nested = vec![false; ready.len()];
    for child in children.iter().flatten() {
        is_nested[*child] = true;
    }
    let mut with_children: Vec<Option<(String, u64)>> = Vec::with_capacity(ready.len());
    for (at, one) in ready.iter().enumerate() {
        let has_own = !is_nested[at] && !children[at].is_empty();
        with_children.push(has_own.then(|| {
            // Inside, a document loses more than the list around it adds.
            let mut json = String::with_capacity(bytes[at] + LIST.len());
            json.push_str(&one.document.json[..one.document.json.len() - 1]);
            let spans = one.document.spans + push_children(at, &children, &ready, &mut json);
            json.push('}');
            (json, spans)
        }));
    }
    let whole = ready.into_iter().zip(is_nested).zip(with_children).filter(|((_, is_nested), _)| !is_nested);
    documents.extend(whole.map(|((one, _), nested)| match nested {
        Some((json, spans)) => TranslatedDocument { json, spans, ..one.document },
        None => one.document,
    }));
}

/// For each document those that go into it, and its length with them at most.
fn choose(ready: &[Ready], planned: &[Planned<'_>]) -> (Vec<Vec<usize>>, Vec<usize>) {
    let mut index: FxHashMap<(TraceId, SpanId), usize> = FxHashMap::default();
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); ready.len()];
    let mut bytes: Vec<usize> = ready.iter().map(|one| one.document.json.len()).collect();
    let mut depth = vec![0_usize; ready.len()];
    for (at, one) in ready.iter().enumerate() {
        let may_hold = one.facts.is_finished && (one.facts.is_local || one.document.is_segment);
        if may_hold && one.document.spans > 0 {
            let span = &planned[one.facts.planned];
            index.insert((span.trace_id, span.id), at);
        }
    }
    // Children come behind their parents, so that from the end each is complete when its parent's turn comes.
    for at in (0..ready.len()).rev().filter(|at| ready[*at].facts.is_local && ready[*at].document.spans > 0) {
        let Some((_, parent)) = splice::parent(&ready[at].document) else { continue };
        let parent = SpanId::parse(parent).map(|parent| (planned[ready[at].facts.planned].trace_id, parent));
        let Some(parent) =
            parent.and_then(|parent| index.get(&parent).copied()).filter(|parent| *parent < at)
        else {
            continue;
        };
        if bytes[parent] + bytes[at] <= MAX_NESTED_BYTES && depth[at] < MAX_DEPTH {
            bytes[parent] += bytes[at];
            depth[parent] = depth[parent].max(depth[at] + 1);
            children[parent].push(at);
        }
    }
    for list in &mut children {
        list.reverse();
    }
    (children, bytes)
}

/// Writes the children of a document behind its other fields, and returns the spans they stand for.
fn push_children(at: usize, children: &[Vec<usize>], ready: &[Ready], out: &mut String) -> u64 {
    if children[at].is_empty() {
        return 0;
    }
    let mut spans = 0;
    out.push_str(LIST);
    for (number, child) in children[at].iter().enumerate() {
        if number > 0 {
            out.push(',');
        }
        splice::push_nested(&ready[*child].document, out);
        spans += ready[*child].document.spans + push_children(*child, children, ready, out);
        out.push('}');
    }
    out.push(']');
    spans
}
