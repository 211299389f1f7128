//! Links to other traces (LNK-1, SQS-3, MAP-68): one that is not valid costs only itself.

use crate::accounts::{Accounts, Trim};
use crate::compose::subject::Subject;
use crate::document::Link;
use crate::document::fields::Meta;
use crate::plan::memory::{MAX_LINKS, TraceState};
use crate::trace_header::{SpanId, TraceId};
use opentelemetry_proto::tonic::trace::v1::span::Link as SpanLink;
use serde_json::{Value, json};

/// Links of one document that count (LNK-1).
const MAX_OF_DOCUMENT: usize = 20;

/// The link to Lambda's own trace, where the span is not in it (row 5), and those of the span.
pub(crate) fn of<'a>(
    subject: &Subject<'a>,
    state: &mut TraceState,
    accounts: &mut Accounts,
) -> Vec<Link<'a>> {
    let placement = &subject.planned.placement;
    if placement.link.is_none() && subject.span.links.is_empty() {
        return Vec::new();
    }
    let mut links = Vec::new();
    if let Some((trace_id, id)) = placement.link {
        links.push(Link { trace_id, id, attributes: None });
    }
    for link in &subject.span.links {
        match parse(link) {
            None => accounts.trim(Trim::LinkInvalid, 1),
            Some(_) if links.len() == MAX_OF_DOCUMENT || state.links + links.len() >= MAX_LINKS => {
                accounts.trim(Trim::LinkBudget, 1);
            }
            Some(link) => links.push(link),
        }
    }
    state.links += links.len();
    links
}

/// The links that are no part of the document, for its metadata.
pub(crate) fn left_over(links: &[SpanLink], sent: usize) -> Option<Value> {
    let rest: Vec<Value> = links
        .iter()
        .filter_map(parse)
        .skip(sent)
        .map(|link| json!({"trace_id": link.trace_id.to_string(), "id": link.id.to_string()}))
        .collect();
    (!rest.is_empty()).then(|| rest.into())
}

fn parse(link: &SpanLink) -> Option<Link<'_>> {
    Some(Link {
        trace_id: TraceId::from_bytes(&link.trace_id)?,
        id: SpanId::from_bytes(&link.span_id)?,
        attributes: (!link.attributes.is_empty()).then_some(Meta::Attributes(&link.attributes)),
    })
}
