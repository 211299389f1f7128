//! Spans to X-Ray documents. Pure: the same input gives the same bytes, whatever the clock says.
//!
//! A flush goes through four steps:
//!
//! 1. [`plan`] looks at whole traces: which spans are sent, where each hangs ([`place`]), in which order.
//! 2. [`compose`] makes the document of one span, one file for each block: [`name`], [`http`], [`aws`], [`sql`],
//!    [`flags`], [`cause`], [`annotations`], [`links`], [`service`], and [`metadata`] for all that is left.
//! 3. [`size`] makes it fit X-Ray's limit for one document, [`budget`] all of them the limit for one trace.
//! 4. [`nest`] puts small local documents into their parents when there are many.
//!
//! Before all of it, [`Masked`] takes out of the spans what must not leave.
//!
//! A span whose translation fails never affects another. Documents that an X-Ray SDK has written itself pass by all of
//! that; [`sdk`] only masks them, and keeps X-Ray's limits for them.

pub mod accounts;
pub mod flush;
pub mod otlp_decode;
pub mod sdk;
pub mod trace_header;
pub mod weight;
pub mod wire;

mod annotations;
mod attributes;
mod aws;
mod budget;
mod cause;
mod compose;
mod derive;
mod document;
mod fields;
mod flags;
mod http;
mod json;
mod key;
mod late;
mod links;
mod masks;
mod memory;
mod metadata;
mod name;
mod named;
mod nest;
mod own_frames;
mod place;
mod plan;
mod service;
mod size;
mod splice;
mod sql;
mod value;

pub use document::TranslatedDocument;
pub use masks::Masked;
pub use named::Target;

use accounts::{Accounts, Reason};
use budget::{Facts, Rank, Ready};
use compose::Detail;
use fields::Spare;
use flush::{Collected, Origin};
use memory::{Memory, TraceState};
use opentelemetry_proto::tonic::trace::v1::Span;
use plan::Planned;
use sdk::SdkDocument;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What holds for every span of the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    pub version: String,
    pub region: String,
    pub account_id: Option<String>,
    /// Memory in MB, as configured.
    pub memory_mb: String,
    /// Attributes to index besides those the spans name.
    pub annotations: Vec<String>,
    /// Index every attribute that can be, as far as the trace has room.
    pub annotates_all: bool,
    /// Make a fresh trace of the function's own a part of Lambda's (xray.md section 15, row 12).
    pub adopt: bool,
}

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
            sdk::translate(document, state, &mut accounts, &mut documents);
        }
        self.memory.shrink(batch.is_part, |id| batch.is_of_an_invocation(id));
        Translated { documents, accounts }
    }

    /// Documents of X-Ray SDKs that come later in the same flush: spans before them may be their children.
    pub fn expect<'a>(&mut self, documents: impl IntoIterator<Item = &'a SdkDocument>) {
        for document in documents {
            sdk::note_ids(document, self.memory.trace(document.trace_id));
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
