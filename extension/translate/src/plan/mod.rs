//! Which spans become documents, where each goes, and in which order: what needs a look at whole traces.

pub(crate) mod memory;
pub(crate) mod place;

use crate::accounts::{Accounts, Reason};
use crate::derive::{self, Purpose};
use crate::flush::{Batch, Collected, Initialisation, Invocation, Mode};
use crate::function::Function;
use crate::plan::memory::Memory;
use crate::plan::place::{Facts, Parent, Place, Placement};
use crate::trace_header::{Sampled, SpanId, TraceId};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use rustc_hash::FxBuildHasher;
use std::borrow::Borrow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// How far down an exception is followed to the child that raised it.
const MAX_STEPS_DOWN: usize = 256;

/// A span that becomes a document.
pub(crate) struct Planned<'a> {
    pub(crate) collected: &'a Collected,
    pub(crate) trace_id: TraceId,
    pub(crate) id: SpanId,
    pub(crate) invocation: Option<&'a Invocation>,
    pub(crate) placement: Placement,
    /// Annotations asked for by name, at most.
    pub(crate) explicit: usize,
    /// The id of its exception, where a child carries that (BET-19).
    pub(crate) childs_exception: Option<SpanId>,
    /// The trace and the parent it came with, where it now has others (rows 9 and 12).
    pub(crate) original_trace: Option<TraceId>,
    pub(crate) original_parent: Option<SpanId>,
    /// What came before, where this is the first span that can tell it.
    pub(crate) initialisation: Option<&'a Initialisation>,
}

/// The places of the candidates by their ids, which are random enough for a simple hash.
type Index = HashMap<(TraceId, SpanId), usize, FxBuildHasher>;

struct Candidate<'a> {
    collected: &'a Collected,
    start_unix_nano: u64,
    says: Says,
    trace_id: TraceId,
    id: SpanId,
    parent_id: Option<SpanId>,
    invocation: Option<&'a Invocation>,
    original_trace: Option<TraceId>,
}

/// Spans that are planned and composed together, while they are in the processor's cache.
const GROUP: usize = 512;

/// The spans in groups that hold whole traces. A few spans are one group, as they are.
pub(crate) fn groups<T: Borrow<Collected>>(spans: Vec<T>) -> Vec<Vec<T>> {
    if spans.len() <= GROUP {
        return vec![spans];
    }
    let trace_id = |one: &T| <[u8; 16]>::try_from(one.borrow().span.trace_id.as_slice()).unwrap_or_default();
    let mut by_trace: Vec<([u8; 16], T)> = spans.into_iter().map(|one| (trace_id(&one), one)).collect();
    // Stable: of a trace, what came first stays first.
    by_trace.sort_by_key(|(trace_id, _)| *trace_id);
    let traces: Vec<usize> = by_trace.chunk_by(|(a, _), (b, _)| a == b).map(<[_]>::len).collect();
    let mut sorted = by_trace.into_iter().map(|(_, one)| one);
    let mut groups: Vec<Vec<T>> = Vec::new();
    for spans_of_trace in traces {
        let trace = sorted.by_ref().take(spans_of_trace);
        match groups.last_mut().filter(|group| group.len() + spans_of_trace <= GROUP) {
            Some(group) => group.extend(trace),
            None => groups.push(trace.collect()),
        }
    }
    groups
}

/// The spans to translate, parents before their children; what is not to be sent is counted.
pub(crate) fn plan<'a>(
    spans: &[&'a Collected],
    batch: &'a Batch,
    function: &Function,
    memory: &mut Memory,
    accounts: &mut Accounts,
) -> Vec<Planned<'a>> {
    let (mut candidates, mut index) = unique(spans, batch, accounts);
    if function.adopt && adopt(&mut candidates, memory) {
        index = candidates.iter().enumerate().map(|(at, one)| ((one.trace_id, one.id), at)).collect();
    }
    let mut placements = place_all(&candidates, batch, &index, memory, accounts);
    let carried = exceptions_of_children(&candidates, &index);
    let mut planned = Vec::with_capacity(candidates.len());
    for at in parents_first(&candidates, &index) {
        let Some(placement) = placements[at].take() else { continue };
        let one = &candidates[at];
        let parent = match placement.place {
            Place::Segment { parent } => parent,
            Place::Subsegment { parent } => Some(parent),
        };
        let explicit = explicit_annotations(one, function);
        if explicit > 0 {
            memory.trace(one.trace_id).explicit_to_come += explicit;
        }
        let initialisation = initialisation_for(one, &placement, memory);
        planned.push(Planned {
            collected: one.collected,
            initialisation,
            trace_id: one.trace_id,
            id: one.id,
            invocation: one.invocation,
            placement,
            explicit,
            childs_exception: carried.get(&at).copied(),
            original_trace: one.original_trace,
            original_parent: one.parent_id.filter(|original| Some(*original) != parent),
        });
    }
    planned
}

/// The initialisation that a span is the first after, told once and by a finished one. What the function writes to another
/// trace tells it only where the invocation's own is not sent.
fn initialisation_for<'a>(
    one: &Candidate<'a>,
    placement: &Placement,
    memory: &mut Memory,
) -> Option<&'a Initialisation> {
    let invocation = one.invocation?;
    let initialisation = invocation.initialisation.as_ref()?;
    if invocation.is_sampled() && invocation.header.is_some_and(|header| header.root != one.trace_id) {
        return None;
    }
    let can_tell = placement.is_top && one.collected.span.end_time_unix_nano != 0;
    let told = can_tell && std::mem::replace(&mut memory.trace(one.trace_id).told_initialisation, true);
    (can_tell && !told).then_some(initialisation)
}

/// The spans with usable ids, the last of several with the same (BET-9, ID-4, ID-8).
fn unique<'a>(
    spans: &[&'a Collected],
    batch: &'a Batch,
    accounts: &mut Accounts,
) -> (Vec<Candidate<'a>>, Index) {
    let mut unique: Vec<Candidate<'a>> = Vec::with_capacity(spans.len());
    let mut seen = Index::with_capacity_and_hasher(spans.len(), FxBuildHasher);
    for collected in spans {
        let Some(candidate) = candidate(collected, &batch.invocations) else {
            accounts.drop(Reason::InvalidId, 1);
            continue;
        };
        match seen.entry((candidate.trace_id, candidate.id)) {
            Entry::Occupied(earlier) => {
                accounts.drop(Reason::Duplicate, 1);
                unique[*earlier.get()] = candidate;
            }
            Entry::Vacant(place) => {
                place.insert(unique.len());
                unique.push(candidate);
            }
        }
    }
    (unique, seen)
}

fn candidate<'a>(collected: &'a Collected, invocations: &'a [Invocation]) -> Option<Candidate<'a>> {
    let span = &*collected.span;
    let trace_id = TraceId::from_bytes(&span.trace_id)?;
    let id = SpanId::from_bytes(&span.span_id)?;
    let parent_id = match span.parent_span_id.as_slice() {
        bytes if bytes.iter().all(|byte| *byte == 0) => None,
        bytes => Some(SpanId::from_bytes(bytes)?),
    };
    let invocation = invocation_of(collected, trace_id, invocations);
    let start_unix_nano = span.start_time_unix_nano;
    let says = says(span);
    Some(Candidate {
        collected,
        start_unix_nano,
        says,
        trace_id,
        id,
        parent_id,
        invocation,
        original_trace: None,
    })
}

/// The invocation a span belongs to: the one with its trace, of several the one its process was in; in a trace of the
/// function's own the one its process was in, else the newest (row 10).
fn invocation_of<'a>(
    collected: &Collected,
    trace_id: TraceId,
    invocations: &'a [Invocation],
) -> Option<&'a Invocation> {
    let has_trace = |one: &&Invocation| one.header.is_some_and(|header| header.root == trace_id);
    let by_request = collected
        .request_id
        .as_deref()
        .and_then(|id| invocations.iter().rev().find(|invocation| invocation.request_id == id));
    // What an earlier invocation left running is written in a later one.
    let by_trace = || invocations.iter().rev().find(has_trace);
    by_request.filter(has_trace).or_else(by_trace).or(by_request).or(invocations.last())
}

/// Row 12: a fresh trace becomes a part of Lambda's own. Returns whether there was one.
fn adopt(candidates: &mut [Candidate<'_>], memory: &mut Memory) -> bool {
    let mut any = false;
    for one in candidates.iter().filter(|one| one.parent_id.is_none()) {
        let header = one.invocation.and_then(|invocation| invocation.header);
        let sampled = header.filter(|header| header.sampled == Sampled::Yes && header.root != one.trace_id);
        if let Some((root, parent)) = sampled.and_then(|header| Some((header.root, header.parent?))) {
            memory.trace(one.trace_id).adopted_by = Some((root, parent));
        }
    }
    for one in candidates {
        if let Some((root, parent)) = memory.known(one.trace_id).and_then(|state| state.adopted_by) {
            one.original_trace = Some(one.trace_id);
            one.trace_id = root;
            one.parent_id = one.parent_id.or(Some(parent));
            any = true;
        }
    }
    any
}

/// A placement for each candidate that is sent. Tops come first, so that lost children find them.
fn place_all(
    candidates: &[Candidate<'_>],
    batch: &Batch,
    index: &Index,
    memory: &mut Memory,
    accounts: &mut Accounts,
) -> Vec<Option<Placement>> {
    let mut placements: Vec<Option<Placement>> = vec![None; candidates.len()];
    let mut lost = Vec::new();
    for (at, one) in candidates.iter().enumerate() {
        let parent = parent_of(one, batch, index, memory);
        let facts = facts(one, parent);
        if parent == Parent::Lost {
            lost.push((at, facts));
        } else {
            placements[at] = settle(one, &facts, memory, accounts);
        }
    }
    for (at, facts) in lost {
        let top = memory.known(facts.trace_id).and_then(|state| state.top);
        placements[at] = settle(&candidates[at], &Facts { top, ..facts }, memory, accounts);
    }
    placements
}

fn settle(
    one: &Candidate<'_>,
    facts: &Facts,
    memory: &mut Memory,
    accounts: &mut Accounts,
) -> Option<Placement> {
    match facts.place() {
        Ok(placement) => {
            if matches!(placement.place, Place::Segment { .. }) {
                memory.trace(one.trace_id).top.get_or_insert(one.id);
            }
            Some(placement)
        }
        Err(reason) => {
            accounts.drop(reason, 1);
            None
        }
    }
}

/// What a span says of itself, beside its fields.
#[derive(Debug, Clone, Copy, Default)]
struct Says {
    /// `aws.span.kind` is `LOCAL_ROOT` (BET-11).
    local_root: bool,
    /// `aws.trace.flag.sampled` is false (OTL-6).
    unsampled: bool,
    /// The names in `aws.xray.annotations`.
    annotations: usize,
}

fn says(span: &Span) -> Says {
    let mut says = Says::default();
    for attribute in &span.attributes {
        let value = || attribute.value.as_ref().and_then(|value| value.value.as_ref());
        match attribute.key.as_str() {
            "aws.span.kind" => {
                says.local_root = matches!(value(), Some(Any::StringValue(kind)) if kind == "LOCAL_ROOT");
            }
            "aws.trace.flag.sampled" => says.unsampled = matches!(value(), Some(Any::BoolValue(false))),
            "aws.xray.annotations" => {
                says.annotations = match value() {
                    Some(Any::StringValue(_)) => 1,
                    Some(Any::ArrayValue(array)) => array.values.len(),
                    _ => 0,
                };
            }
            _ => {}
        }
    }
    says
}

fn parent_of(one: &Candidate<'_>, batch: &Batch, index: &Index, memory: &Memory) -> Parent {
    let Some(parent) = one.parent_id else { return Parent::Known };
    let header = one.invocation.and_then(|invocation| invocation.header);
    if header.is_some_and(|header| header.root == one.trace_id && header.parent == Some(parent)) {
        return Parent::Awaited;
    }
    let known = parent != one.id && index.contains_key(&(one.trace_id, parent))
        || batch.open.binary_search(&(one.trace_id, parent)).is_ok()
        || memory.known(one.trace_id).is_some_and(|state| state.may_have_sent(parent));
    match one.invocation {
        _ if known => Parent::Known,
        Some(invocation) if invocation.is_over => Parent::Lost,
        _ => Parent::Awaited,
    }
}

fn facts(one: &Candidate<'_>, parent: Parent) -> Facts {
    let span = &*one.collected.span;
    Facts {
        header: one.invocation.and_then(|invocation| invocation.header),
        mode: one.invocation.map_or(Mode::Unknown, |invocation| invocation.mode),
        trace_id: one.trace_id,
        parent_id: one.parent_id,
        parent,
        kind: span.kind(),
        flags: span.flags,
        says_local_root: one.says.local_root,
        says_unsampled: one.says.unsampled,
        keep: one.invocation.is_some_and(|invocation| invocation.is_kept),
        top: None,
    }
}

/// Annotations asked for by name, at most.
fn explicit_annotations(one: &Candidate<'_>, function: &Function) -> usize {
    let has = |name: &String| one.collected.span.attributes.iter().any(|attribute| attribute.key == *name);
    one.says.annotations + function.annotations.iter().filter(|name| has(name)).count()
}

/// Type and message of the first exception a span has recorded.
fn first_exception(span: &Span) -> Option<(&str, &str)> {
    let event = span.events.iter().find(|event| event.name == "exception")?;
    let text = |name: &str| {
        let attribute = event.attributes.iter().find(|attribute| attribute.key == name)?;
        match attribute.value.as_ref()?.value.as_ref()? {
            Any::StringValue(text) => Some(text.as_str()),
            _ => None,
        }
    };
    Some((text("exception.type")?, text("exception.message").unwrap_or_default()))
}

/// For each span whose only exception a child carries too: the id it has there (BET-19).
fn exceptions_of_children(candidates: &[Candidate<'_>], index: &Index) -> HashMap<usize, SpanId> {
    // The last child to record an exception is the one it came from.
    let mut raised: HashMap<usize, Vec<usize>> = HashMap::new();
    for (at, one) in candidates.iter().enumerate() {
        if one.collected.span.events.iter().any(|event| event.name == "exception")
            && let Some(parent) = one.parent_id.and_then(|parent| index.get(&(one.trace_id, parent)))
            && *parent != at
        {
            raised.entry(*parent).or_default().push(at);
        }
    }
    let child_with_same = |at: usize| {
        let own = first_exception(&candidates[at].collected.span)?;
        let children = raised.get(&at)?;
        children
            .iter()
            .rev()
            .copied()
            .find(|child| first_exception(&candidates[*child].collected.span) == Some(own))
    };
    let mut carried = HashMap::new();
    for at in raised.keys().copied() {
        let events = &candidates[at].collected.span.events;
        if events.iter().filter(|event| event.name == "exception").count() != 1 {
            continue;
        }
        let mut origin = at;
        for _ in 0..MAX_STEPS_DOWN {
            match child_with_same(origin) {
                Some(child) if child != at => origin = child,
                _ => break,
            }
        }
        if origin != at {
            let thrower = &candidates[origin];
            carried.insert(at, derive::id(thrower.trace_id, thrower.id, Purpose::Exception(0)));
        }
    }
    carried
}

/// The order of begin, but no child before its parent, whatever the clocks say (BET-28).
fn parents_first(candidates: &[Candidate<'_>], index: &Index) -> Vec<usize> {
    let mut by_start: Vec<(u64, usize)> =
        candidates.iter().enumerate().map(|(at, one)| (one.start_unix_nano, at)).collect();
    by_start.sort_unstable();
    let mut taken = vec![false; candidates.len()];
    let mut order = Vec::with_capacity(candidates.len());
    let mut chain = Vec::new();
    for (_, at) in by_start {
        let mut next = Some(at);
        while let Some(at) = next.filter(|at| !taken[*at]) {
            taken[at] = true;
            chain.push(at);
            let one = &candidates[at];
            next = one.parent_id.and_then(|parent| index.get(&(one.trace_id, parent)).copied());
        }
        order.extend(chain.drain(..).rev());
    }
    order
}
