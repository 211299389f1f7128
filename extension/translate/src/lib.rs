//! Spans to X-Ray documents. Pure: the same input gives the same bytes, whatever the clock says.
//!
//! A flush goes through four steps:
//!
//! 1. [`Masked`] takes out of the spans what must not leave.
//! 2. [`plan`] looks at whole traces: which spans are sent, where each hangs, in which order.
//! 3. [`compose`] makes the document of one span, one file for each block, and metadata of all that is left.
//! 4. [`fit`] makes each fit X-Ray's limit for one document, and all of them the limit for one trace, and puts small
//!    local documents into their parents when there are many.
//!
//! A span whose translation fails never affects another. Documents that an X-Ray SDK has written itself ([`sdk`]) are
//! masked where they are read, and go through the last step alone. Where spans leave as spans, [`named`] gives them the
//! names that their documents would have.
//!
//! Which room may name which is in `tests/rooms.py`.

pub mod accounts;
pub mod flush;
pub mod sdk;
pub mod statements;
pub mod trace_header;

mod attributes;
mod compose;
mod derive;
mod document;
mod fit;
mod function;
mod late;
mod masks;
mod named;
mod own_frames;
mod plan;
mod spans;

pub use document::TranslatedDocument;
pub use function::Function;
pub use masks::Masked;
pub use named::Target;
pub use spans::{otlp_decode, weight, wire};

use accounts::{Accounts, Reason};
use compose::Detail;
use document::fields::Spare;
use fit::budget::{self, Facts, Rank, Ready};
use fit::{nest, sdk as sdk_documents, size};
use flush::{Collected, Origin};
use opentelemetry_proto::tonic::trace::v1::Span;
use plan::Planned;
use plan::memory::{Memory, TraceState};
use sdk::SdkDocument;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What a batch became.
#[derive(Debug, Default)]
pub struct Translated {
    /// Parents before children.
    pub documents: Vec<TranslatedDocument>,
    /// What was dropped, and why.
    pub accounts: Accounts,
}

/// Turns batches into documents, one flush after another.
#[derive(Debug, Default)]
pub struct Translator {
    memory: Memory,
    buffer: String,
}

impl Translator {
    /// Translates everything in the batch.
    pub fn translate(&mut self, batch: &Masked<'_>, function: &Function) -> Translated {
        if batch.is_progress {
            return show_running(batch, function);
        }
        let mut accounts = Accounts::default();
        let is_worth_nesting = batch.is_part || nest::is_worth_it(batch.spans.len());
        let mut documents = Vec::with_capacity(batch.spans.len() + batch.sdk_documents.len());
        self.expect(&batch.sdk_documents);
        for group in plan::groups(batch.spans.iter().collect()) {
            let planned = plan::plan(&group, batch, function, &mut self.memory, &mut accounts);
            let (mut ready, is_over_budget) = self.compose(&planned, function, &mut accounts);
            if is_over_budget {
                ready = self.within_budget(ready, &planned, function, &mut accounts);
            }
            if is_worth_nesting {
                nest::nest(ready, &planned, &mut documents);
            } else {
                documents.extend(ready.into_iter().map(|one| one.document));
            }
        }
        late::tell(batch, &mut self.memory, &mut self.buffer, &mut accounts, &mut documents);
        for document in &batch.sdk_documents {
            let state = self.memory.trace(document.trace_id);
            sdk_documents::translate(document, state, &mut accounts, &mut documents);
        }
        self.memory.shrink(batch.is_part, |id| batch.is_of_an_invocation(id));
        Translated { documents, accounts }
    }

    /// Documents of X-Ray SDKs that come later in the same flush: spans before them may be their children.
    pub fn expect<'a>(&mut self, documents: impl IntoIterator<Item = &'a SdkDocument>) {
        for document in documents {
            sdk_documents::note_ids(document, self.memory.trace(document.trace_id));
        }
    }

    /// The documents of some spans, and whether one of their traces has grown over its budget.
    fn compose(
        &mut self,
        planned: &[Planned<'_>],
        function: &Function,
        accounts: &mut Accounts,
    ) -> (Vec<Ready>, bool) {
        let mut ready = Vec::with_capacity(planned.len());
        let mut is_over_budget = false;
        let mut spare = Spare::default();
        for (at, one) in planned.iter().enumerate() {
            let before = ready.len();
            let state = self.memory.trace(one.trace_id);
            let what = (one, at, function, Detail::All);
            match translate_one(what, state, (&mut self.buffer, &mut spare), accounts, &mut ready) {
                Ok(()) => {
                    state.note_sent(one.id);
                    state.bytes += ready[before..].iter().map(|one| one.document.json.len()).sum::<usize>();
                    is_over_budget |= state.bytes > budget::RICH_BYTES;
                }
                Err(reason) => {
                    ready.truncate(before);
                    accounts.drop(reason, 1);
                }
            }
        }
        (ready, is_over_budget)
    }

    /// The same documents again, with as much in them as their traces have room for.
    fn within_budget(
        &mut self,
        ready: Vec<Ready>,
        planned: &[Planned<'_>],
        function: &Function,
        accounts: &mut Accounts,
    ) -> Vec<Ready> {
        let buffer = &mut self.buffer;
        budget::fit(ready, planned, &mut self.memory, accounts, |one, detail| {
            let mut again = Vec::new();
            // What it leaves out has been counted the first time, and it may label as much as then.
            let mut uncounted = Accounts::default();
            let mut state = TraceState::with_room_for(one.annotations, one.links);
            let what = (&planned[one.planned], one.planned, function, detail);
            match translate_one(what, &mut state, (buffer, &mut Spare::default()), &mut uncounted, &mut again)
            {
                Ok(()) => again.into_iter().map(|one| one.document).collect(),
                Err(_) => Vec::new(),
            }
        })
    }
}

/// Documents that show open spans as running (xray.md section 3.1). They stand for no span, and nothing remembers
/// them: the complete documents that replace them (DOC-2) are translated as if these had never been.
fn show_running(batch: &Masked<'_>, function: &Function) -> Translated {
    let mut accounts = Accounts::default();
    let mut translator = Translator::default();
    let spans: Vec<&Collected> = batch.spans.iter().collect();
    let planned = plan::plan(&spans, batch, function, &mut translator.memory, &mut accounts);
    let (ready, _) = translator.compose(&planned, function, &mut accounts);
    let documents = ready.into_iter().map(|one| TranslatedDocument { spans: 0, ..one.document });
    Translated { documents: documents.collect(), accounts: Accounts::default() }
}

/// The spans of a batch that are sent at all, parents before their children. Left out, and counted, are unsampled ones
/// (xray.md section 15, rows 4 and 6), those with bad ids (ID-4, ID-8), and all but the last of one id (BET-9).
pub fn select(
    batch: &Masked<'_>,
    function: &Function,
    target: Target,
    accounts: &mut Accounts,
) -> Vec<(Box<Span>, Arc<Origin>)> {
    let spans: Vec<&Collected> = batch.spans.iter().collect();
    let planned = plan::plan(&spans, batch, function, &mut Memory::default(), accounts);
    planned
        .iter()
        .map(|one| (named::span(one, function, target), Arc::clone(&one.collected.origin)))
        .collect()
}

/// Adds the documents of one span, each within X-Ray's limit.
fn translate_one<'a>(
    (one, at, function, detail): (&'a Planned<'a>, usize, &'a Function, Detail),
    state: &mut TraceState,
    (buffer, spare): (&mut String, &mut Spare<'a>),
    accounts: &mut Accounts,
    ready: &mut Vec<Ready>,
) -> Result<(), Reason> {
    let attempt = catch_unwind(AssertUnwindSafe(|| {
        let mut result = Ok(());
        compose::compose(one, function, detail, state, accounts, spare, &mut |composed, accounts, spare| {
            let mut facts = Facts::of(&composed, one.placement.is_top, at);
            let fitted = size::fit(composed, spare, buffer, accounts, &mut |document| {
                ready.push(Ready { document, facts });
                facts.rank = Rank::Overflow;
            });
            result = result.and(fitted);
        });
        result
    }));
    attempt.unwrap_or(Err(Reason::TranslateFailed))
}

#[cfg(test)]
mod tests;
