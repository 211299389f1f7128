//! What of a load is translated and sent at once.

use super::Outlet;
use super::Outlets;
use crate::accounts::{Accounts, Reason};
use crate::export::otlp::{Otlp, OutgoingSpan, select};
use crate::export::pacing::panics;
use crate::invocation::Load;
use crate::log::{Level, Log};
use crate::settings::OutletKind;
use crate::translate::sdk::SdkDocument;
use crate::translate::{Function, Masked, TranslatedDocument};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Documents, or spans that leave as spans, of a round. More than this comes by less than a portion.
const ROUND_BYTES: usize = 1024 * 1024;

/// Some portions of a load, as each kind of outlet takes them.
#[derive(Debug, Default)]
pub(crate) struct Round {
    pub(crate) documents: Vec<TranslatedDocument>,
    pub(crate) document_accounts: Accounts,
    pub(crate) spans: Vec<OutgoingSpan>,
    pub(crate) span_accounts: Accounts,
    /// Spans that came into it.
    pub(crate) total_spans: u64,
    /// Nothing of the load is left.
    pub(crate) is_last: bool,
}

impl Round {
    pub(crate) fn next(load: &mut Load, outlets: &mut Outlets, function: &Function) -> Self {
        let mut round = Self::default();
        let filled = catch_unwind(AssertUnwindSafe(|| round.fill(load, outlets, function)));
        if let Err(panic) = filled {
            round.failed(&panics::message(&*panic), load.is_progress(), &outlets.log);
        }
        round
    }

    fn fill(&mut self, load: &mut Load, outlets: &mut Outlets, function: &Function) {
        let round = self;
        let takes = |is_it: fn(&OutletKind) -> bool| outlets.config.outlets.iter().any(is_it);
        let takes_documents = takes(|kind| *kind != OutletKind::Otlp);
        let takes_spans = takes(|kind| *kind == OutletKind::Otlp) && !load.is_progress();
        let target = outlets.open.iter_mut().find_map(Outlet::otlp).map(Otlp::target).unwrap_or_default();
        let mut bytes = 0;
        while bytes < ROUND_BYTES {
            let Some(batch) = load.next_portion() else {
                round.is_last = true;
                break;
            };
            round.total_spans = round.total_spans.saturating_add(batch.spans());
            let batch = &Masked::of(batch);
            if takes_documents {
                let translated = outlets.translator.translate(batch, function);
                bytes += translated.documents.iter().map(|document| document.json.len()).sum::<usize>();
                round.documents.extend(translated.documents);
                round.document_accounts.add(translated.accounts);
            }
            if takes_spans {
                let accounts = &mut round.span_accounts;
                let selected = select(batch, function, (target, &mut outlets.origins), accounts);
                bytes += selected.iter().map(|span| span.encoded.len()).sum::<usize>();
                round.spans.extend(selected);
                let documents = batch.sdk_documents.iter().map(SdkDocument::spans).sum();
                accounts.drop(Reason::SdkDocument, documents);
            }
        }
        let lost = load.take_accounts();
        round.document_accounts.add(lost.clone());
        round.span_accounts.add(lost);
    }

    /// A panic in the middle costs the portion at hand, and nothing that waits.
    fn failed(&mut self, panic: &str, is_progress: bool, log: &Log) {
        let total = if is_progress { 0 } else { self.total_spans };
        let missing = |accounts: &Accounts, here: u64| {
            let mut whole = accounts.clone();
            whole.receive(total);
            whole.carried().saturating_sub(here)
        };
        let here = self.documents.iter().map(|document| document.spans).fold(0, u64::saturating_add);
        let lost = missing(&self.document_accounts, here);
        self.document_accounts.drop(Reason::TranslateFailed, lost);
        let lost_spans = missing(&self.span_accounts, self.spans.len() as u64);
        self.span_accounts.drop(Reason::TranslateFailed, lost_spans);
        log.say(
            Level::Error,
            format_args!("{} spans could not be translated, and are lost: {panic}", lost.max(lost_spans)),
        );
    }
}
