//! Annotations: which attributes become searchable (ANN-1 to ANN-3, BET-24 to BET-27).

use crate::accounts::{Accounts, Trim};
use crate::attributes::key::Key;
use crate::compose::subject::Subject;
use crate::document::Document;
use crate::document::fields::cut_chars;
use crate::document::value::Scalar;
use crate::plan::memory::TraceState;
use std::borrow::Cow;

const MAX_KEY_CHARS: usize = 500;
const MAX_VALUE_CHARS: usize = 1000;

/// Useful filters that cost three of the fifty (LAM-22).
const ALWAYS: [Key; 3] = [Key::FaasColdstart, Key::FaasInvocationId, Key::FaasTrigger];

/// Puts the selected scalars into the document: those asked for by name first, then the automatic ones.
pub(crate) fn set<'a>(
    subject: &Subject<'a>,
    document: &mut Document<'a>,
    state: &mut TraceState,
    accounts: &mut Accounts,
) {
    let explicit = subject.planned.explicit > 0 || !subject.function.annotations.is_empty();
    let automatic = subject.function.annotates_all || subject.attributes.has_any(&ALWAYS);
    if !explicit && !automatic {
        return;
    }
    if let Some(invocation) = subject.invocation {
        state.begin_invocation(&invocation.request_id);
    }
    let mut selection = Selection { document, taken: 0, left_out: 0 };
    let room = state.room_for_explicit();
    for name in subject.attributes.texts(&[Key::AwsXrayAnnotations]) {
        // Past the budget the names are only counted: there may be thousands.
        if selection.taken < room {
            selection.take(subject, name, accounts);
        } else {
            selection.left_out += 1;
        }
    }
    for name in &subject.function.annotations {
        if selection.taken < room {
            selection.take(subject, name, accounts);
        } else {
            selection.left_out += u64::from(subject.attributes.by_name(name).is_some());
        }
    }
    state.annotations += selection.taken;
    state.explicit_to_come = state.explicit_to_come.saturating_sub(subject.planned.explicit);
    let explicit = selection.taken;
    let room = state.room_for_automatic();
    for key in ALWAYS.into_iter().filter(|key| subject.attributes.has(*key)) {
        if selection.taken - explicit < room {
            selection.take(subject, key.name(), accounts);
        } else {
            selection.left_out += 1;
        }
    }
    if subject.function.annotates_all {
        for attribute in subject.attributes.unused() {
            if Scalar::of(attribute).is_none() || attribute.key.starts_with("aws.xray.") {
                continue;
            }
            if selection.taken - explicit < room {
                selection.take(subject, &attribute.key, accounts);
            } else {
                selection.left_out += 1;
            }
        }
    }
    state.annotations += selection.taken - explicit;
    accounts.trim(Trim::AnnotationBudget, selection.left_out);
}

struct Selection<'d, 'a> {
    document: &'d mut Document<'a>,
    taken: usize,
    left_out: u64,
}

impl<'a> Selection<'_, 'a> {
    /// Takes one attribute of the span, else of its resource. What can't be indexed stays in metadata, where unused
    /// attributes go.
    fn take(&mut self, subject: &Subject<'a>, name: &'a str, accounts: &mut Accounts) {
        let of_span = subject.attributes.by_name(name);
        // The collector's name for an attribute of the resource (MAP-64).
        let of_resource = || subject.resource().by_name(name.strip_prefix("otel.resource.").unwrap_or(name));
        let Some((_, attribute)) = of_span.or_else(of_resource) else {
            return;
        };
        let Some(scalar) = Scalar::of(attribute) else {
            accounts.trim(Trim::AnnotationNotScalar, 1);
            return;
        };
        let key = clean_key(name);
        if self.document.annotations.get(&key).is_some() {
            // The same attribute selected twice is no collision.
            if key != name {
                accounts.trim(Trim::AnnotationCollision, 1);
            }
            return;
        }
        let (value, is_whole) = match scalar {
            Scalar::Text(text) => {
                let length = text.len();
                let cut = cut_chars(text, MAX_VALUE_CHARS);
                let is_whole = cut.len() == length;
                (Scalar::Text(cut), is_whole)
            }
            other => (other, true),
        };
        if let Some((index, _)) = of_span.filter(|_| is_whole) {
            subject.attributes.use_index(index);
        }
        self.document.annotations.push(key, value);
        self.taken += 1;
    }
}

/// Keeps `A-Z a-z 0-9 _ .`, everything else becomes `_` (BET-25).
fn clean_key(name: &str) -> Cow<'_, str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    if name.len() <= MAX_KEY_CHARS && !name.is_empty() && name.chars().all(allowed) {
        return name.into();
    }
    let key: String = name.chars().take(MAX_KEY_CHARS).map(|c| if allowed(c) { c } else { '_' }).collect();
    if key.is_empty() { "_".into() } else { key.into() }
}
