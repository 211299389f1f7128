//! Segment or subsegment, and under which parent: xray.md section 15.

use super::Subject;
use crate::accounts::Reason;
use crate::invocation::trace_header::{Sampled, SpanId, TraceId};
use crate::invocation::{Collected, Invocation, Mode};

/// The function's own segment, or a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Segment { parent: Option<SpanId> },
    Subsegment { parent: SpanId },
}

/// Where a document goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placement {
    pub(super) place: Place,
    /// The first span of the function in this trace.
    pub(super) is_top: bool,
    /// Lambda's own trace, when the span belongs to another one.
    pub(super) link: Option<(TraceId, SpanId)>,
}

/// `Span.flags` of OTLP: the W3C flags in the low byte, then two bits about the parent (OTL-5).
const FLAG_SAMPLED: u32 = 0x01;
const FLAG_REMOTE_KNOWN: u32 = 0x100;
const FLAG_REMOTE: u32 = 0x200;

/// The invocation a span belongs to: the one its agent named, else the one with its trace, else the newest.
pub(super) fn invocation_of<'a>(
    collected: &Collected,
    trace_id: TraceId,
    invocations: &'a [Invocation],
) -> Option<&'a Invocation> {
    let named = collected.request_id.as_deref();
    let by_request =
        named.and_then(|id| invocations.iter().rev().find(|invocation| invocation.request_id == id));
    let by_trace = || {
        invocations
            .iter()
            .rev()
            .find(|invocation| invocation.header.is_some_and(|header| header.root == trace_id))
    };
    by_request.or_else(by_trace).or(invocations.last())
}

/// Decides by the table's rows.
pub(super) fn place(subject: &Subject<'_>) -> Result<Placement, Reason> {
    let flags = subject.span.flags;
    let known = flags & FLAG_REMOTE_KNOWN != 0;
    if known && flags & FLAG_SAMPLED == 0 {
        return Err(Reason::Unsampled); // row 6
    }
    let header = subject.invocation.and_then(|invocation| invocation.header);
    let parent_is_remote = known && flags & FLAG_REMOTE != 0;
    let own_trace = header.filter(|header| header.root == subject.trace_id);
    let Some(header) = own_trace else {
        // Row 5: a trace of the function's own, linked to Lambda's.
        let link = header
            .filter(|header| header.sampled == Sampled::Yes)
            .and_then(|header| Some((header.root, header.parent?)));
        return Ok(match subject.parent_id {
            Some(parent) if !parent_is_remote => {
                Placement { place: Place::Subsegment { parent }, is_top: false, link: None }
            }
            parent => Placement { place: Place::Segment { parent }, is_top: true, link },
        });
    };
    if header.sampled != Sampled::Yes {
        return Err(Reason::Unsampled); // row 4
    }
    match subject.parent_id.filter(|parent| !parent_is_remote && Some(*parent) != header.parent) {
        Some(parent) => Ok(Placement { place: Place::Subsegment { parent }, is_top: false, link: None }), // rows 7, 9
        None => Ok(Placement { place: top(subject, header.parent), is_top: true, link: None }),
    }
}

/// Rows 1 to 3: under Active tracing Lambda has written the segment, otherwise it is written here.
fn top(subject: &Subject<'_>, header_parent: Option<SpanId>) -> Place {
    let mode = subject.invocation.map_or(Mode::Unknown, |invocation| invocation.mode);
    match (mode, header_parent) {
        (Mode::Active, Some(parent)) => Place::Subsegment { parent },
        _ => Place::Segment { parent: header_parent.or(subject.parent_id) },
    }
}
