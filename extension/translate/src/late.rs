//! Initialisations whose records came when the segment they belong below had left: the platform's records are buffered,
//! and a short invocation is over sooner (section 6.1 of the environment's rules).

use crate::accounts::Accounts;
use crate::compose::of_initialisation;
use crate::derive::{self, Purpose};
use crate::document::TranslatedDocument;
use crate::document::fields::Spare;
use crate::fit::size;
use crate::flush::{Batch, Initialisation};
use crate::plan::memory::Memory;
use crate::trace_header::{SpanId, TraceId};

/// Tells those that have not been told, each below its function's own segment.
pub(super) fn tell(
    batch: &Batch,
    memory: &mut Memory,
    buffer: &mut String,
    accounts: &mut Accounts,
    documents: &mut Vec<TranslatedDocument>,
) {
    for (initialisation, trace_id, segment_id) in untold(batch, memory) {
        let id = derive::id(trace_id, segment_id, Purpose::Initialisation);
        let spare = &mut Spare::default();
        let mut document = of_initialisation(initialisation, trace_id, id, segment_id, spare);
        let composed = crate::compose::Composed { document: &mut document, spans: 0 };
        // It stands for no span, and is far below the limit.
        let _ = size::fit(composed, spare, buffer, accounts, &mut |document| documents.push(document));
    }
}

fn untold<'a>(batch: &'a Batch, memory: &mut Memory) -> Vec<(&'a Initialisation, TraceId, SpanId)> {
    let waited_for = batch.invocations.iter().filter_map(|invocation| {
        let initialisation = invocation.initialisation.as_ref().filter(|one| !one.was_ahead)?;
        Some((initialisation, invocation.header?.root))
    });
    let untold = waited_for.filter_map(|(initialisation, trace_id)| {
        memory.known(trace_id)?;
        let state = memory.trace(trace_id);
        let segment_id = state.top?;
        let is_told = std::mem::replace(&mut state.told_initialisation, true);
        (!is_told).then_some((initialisation, trace_id, segment_id))
    });
    untold.collect()
}
