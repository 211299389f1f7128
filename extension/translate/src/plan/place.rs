//! Segment or subsegment, and under which parent: xray.md section 15, one span at a time.

use crate::accounts::Reason;
use crate::flush::Mode;
use crate::trace_header::{Sampled, SpanId, TraceHeader, TraceId};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

/// The function's own segment, or a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Segment { parent: Option<SpanId> },
    Subsegment { parent: SpanId },
}

/// Where a document goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placement {
    pub(crate) place: Place,
    /// The first span of the function in this trace.
    pub(crate) is_top: bool,
    /// Lambda's own trace, when the span belongs to another one.
    pub(crate) link: Option<(TraceId, SpanId)>,
}

/// What is known of a span's parent beyond its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parent {
    /// It is in this flush, was in an earlier one, or is still open.
    Known,
    /// It has not been seen, and may still come.
    Awaited,
    /// It has not been seen, and the invocation is over.
    Lost,
}

/// Everything the decision looks at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    pub(crate) header: Option<TraceHeader>,
    pub(crate) mode: Mode,
    pub(crate) trace_id: TraceId,
    pub(crate) parent_id: Option<SpanId>,
    pub(crate) parent: Parent,
    pub(crate) kind: SpanKind,
    /// `Span.flags` of OTLP.
    pub(crate) flags: u32,
    /// `aws.span.kind` is `LOCAL_ROOT` (BET-11).
    pub(crate) says_local_root: bool,
    /// `aws.trace.flag.sampled` is false (OTL-6).
    pub(crate) says_unsampled: bool,
    /// The invocation is sent though its header does not say so (row 4).
    pub(crate) keep: bool,
    /// The function's segment in this trace, where there is one.
    pub(crate) top: Option<SpanId>,
}

/// The W3C flags are in the low byte, then come two bits about the parent (OTL-5).
const FLAGS_W3C: u32 = 0xff;
const FLAG_SAMPLED: u32 = 0x01;
const FLAG_REMOTE_KNOWN: u32 = 0x100;
const FLAG_REMOTE: u32 = 0x200;

impl Facts {
    /// Decides by the table's rows.
    pub(crate) fn place(&self) -> Result<Placement, Reason> {
        let flags_known = self.flags & FLAG_REMOTE_KNOWN != 0;
        // opentelemetry-python says whether the parent is remote and leaves the W3C flags of every span empty.
        let w3c_flags = self.flags & FLAGS_W3C;
        if self.says_unsampled || w3c_flags != 0 && w3c_flags & FLAG_SAMPLED == 0 {
            return Err(Reason::Unsampled); // row 6
        }
        match self.header.filter(|header| header.root == self.trace_id) {
            Some(header) => self.in_lambdas_trace(&header),
            None => Ok(self.in_a_trace_of_its_own(flags_known)),
        }
    }

    fn parent_is_remote(&self) -> bool {
        let flags_known = self.flags & FLAG_REMOTE_KNOWN != 0;
        if flags_known { self.flags & FLAG_REMOTE != 0 } else { self.says_local_root }
    }

    /// Rows 1 to 4, 7 and 9.
    fn in_lambdas_trace(&self, header: &TraceHeader) -> Result<Placement, Reason> {
        let sampled = header.sampled == Sampled::Yes;
        if !sampled && !self.keep {
            return Err(Reason::Unsampled); // row 4
        }
        // A request of the function's own to itself comes from a remote parent that is one of its own spans: one function, one
        // node (P6).
        let is_inner = self.parent == Parent::Known || !self.parent_is_remote();
        let inner = self.parent_id.filter(|parent| is_inner && Some(*parent) != header.parent);
        Ok(match (inner, self.parent) {
            (Some(parent), Parent::Known | Parent::Awaited) => child_of(parent),
            (None, _) => self.top_in(header, sampled),
            (Some(_), Parent::Lost) => match (self.mode, header.parent, self.top) {
                (Mode::Active, Some(parent), _) if sampled => child_of(parent),
                (_, _, Some(top)) => child_of(top),
                // MAP-S6: nobody would see it below a parent that never comes.
                _ => self.top_in(header, sampled),
            },
        })
    }

    /// Rows 1 to 4: under Active tracing Lambda has written the segment, otherwise it is written here.
    fn top_in(&self, header: &TraceHeader, sampled: bool) -> Placement {
        let place = match (self.mode, header.parent) {
            (Mode::Active, Some(parent)) if sampled => Place::Subsegment { parent },
            // Lambda has written nothing, its parent does not exist (row 4).
            (Mode::Active, _) if !sampled => Place::Segment { parent: None },
            (_, parent) => Place::Segment { parent: parent.or(self.parent_id) },
        };
        Placement { place, is_top: true, link: None }
    }

    /// Row 5: a trace of the function's own, linked to Lambda's.
    fn in_a_trace_of_its_own(&self, flags_known: bool) -> Placement {
        let link = self
            .header
            .filter(|header| header.sampled == Sampled::Yes)
            .and_then(|header| Some((header.root, header.parent?)));
        let segment = |parent| Placement { place: Place::Segment { parent }, is_top: true, link };
        let Some(parent) = self.parent_id.filter(|_| !self.parent_is_remote()) else {
            return segment(self.parent_id);
        };
        // Nobody said whether the caller is another process: for what serves a request, it is (BET-11).
        let serves = !flags_known && matches!(self.kind, SpanKind::Server | SpanKind::Consumer);
        match self.parent {
            Parent::Awaited | Parent::Lost if serves => segment(Some(parent)),
            Parent::Known | Parent::Awaited => child_of(parent),
            Parent::Lost => self.top.map_or_else(|| segment(None), child_of),
        }
    }
}

fn child_of(parent: SpanId) -> Placement {
    Placement { place: Place::Subsegment { parent }, is_top: false, link: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: [u8; 16] = [7; 16];

    fn id(byte: u8) -> SpanId {
        SpanId::from_bytes(&[byte; 8]).unwrap()
    }

    fn header(sampled: Sampled, parent: Option<u8>) -> TraceHeader {
        TraceHeader { root: TraceId::from_bytes(&ROOT).unwrap(), parent: parent.map(id), sampled }
    }

    /// A span of Lambda's trace whose parent, 9, is in the same flush.
    fn inner() -> Facts {
        Facts {
            header: Some(header(Sampled::Yes, Some(1))),
            mode: Mode::Active,
            trace_id: TraceId::from_bytes(&ROOT).unwrap(),
            parent_id: Some(id(9)),
            parent: Parent::Known,
            kind: SpanKind::Internal,
            flags: 0x101,
            says_local_root: false,
            says_unsampled: false,
            keep: false,
            top: None,
        }
    }

    fn top(mode: Mode) -> Facts {
        Facts { mode, parent_id: Some(id(1)), parent: Parent::Lost, flags: 0x301, ..inner() }
    }

    fn foreign() -> Facts {
        Facts { trace_id: TraceId::from_bytes(&[8; 16]).unwrap(), ..inner() }
    }

    fn segment(parent: Option<u8>) -> Place {
        Place::Segment { parent: parent.map(id) }
    }

    fn subsegment(parent: u8) -> Place {
        Place::Subsegment { parent: id(parent) }
    }

    #[test]
    fn every_row_of_section_15() {
        let no = |mode| Facts { header: Some(header(Sampled::No, Some(1))), ..top(mode) };
        let kept = |mode| Facts { keep: true, ..no(mode) };
        let lost = |mode| Facts { parent: Parent::Lost, mode, ..inner() };
        let rows: Vec<(&str, Facts, Result<Place, Reason>)> = vec![
            ("row 1", top(Mode::Active), Ok(subsegment(1))),
            (
                "row 1, top without a parent",
                Facts { parent_id: None, ..top(Mode::Active) },
                Ok(subsegment(1)),
            ),
            (
                "row 1, another remote parent",
                Facts { parent_id: Some(id(4)), ..top(Mode::Active) },
                Ok(subsegment(1)),
            ),
            ("row 1, child", inner(), Ok(subsegment(9))),
            (
                "P6, a remote parent of the function's own, Active",
                Facts { flags: 0x301, kind: SpanKind::Server, ..inner() },
                Ok(subsegment(9)),
            ),
            (
                "P6, a remote parent of the function's own, PassThrough",
                Facts { flags: 0x301, mode: Mode::PassThrough, ..inner() },
                Ok(subsegment(9)),
            ),
            ("row 2", top(Mode::PassThrough), Ok(segment(Some(1)))),
            ("row 3", top(Mode::Unknown), Ok(segment(Some(1)))),
            (
                "row 2 without upstream",
                Facts { header: Some(header(Sampled::Yes, None)), parent_id: None, ..top(Mode::PassThrough) },
                Ok(segment(None)),
            ),
            ("row 4", no(Mode::Active), Err(Reason::Unsampled)),
            (
                "row 4, undecided",
                Facts { header: Some(header(Sampled::Undecided, Some(1))), ..top(Mode::Active) },
                Err(Reason::Unsampled),
            ),
            ("row 4, kept, Active", kept(Mode::Active), Ok(segment(None))),
            ("row 4, kept, PassThrough", kept(Mode::PassThrough), Ok(segment(Some(1)))),
            (
                "row 4, kept, child",
                Facts { parent_id: Some(id(9)), parent: Parent::Known, flags: 0x101, ..kept(Mode::Active) },
                Ok(subsegment(9)),
            ),
            ("row 5, fresh", Facts { parent_id: None, ..foreign() }, Ok(segment(None))),
            ("row 5, remote parent", Facts { flags: 0x301, ..foreign() }, Ok(segment(Some(9)))),
            ("row 5, child", foreign(), Ok(subsegment(9))),
            (
                "row 5, flags unknown, serves",
                Facts { flags: 0, parent: Parent::Lost, kind: SpanKind::Server, ..foreign() },
                Ok(segment(Some(9))),
            ),
            (
                "row 5, flags unknown, nested",
                Facts { flags: 0, kind: SpanKind::Server, ..foreign() },
                Ok(subsegment(9)),
            ),
            (
                "row 5, BET-11 local root",
                Facts { flags: 0, says_local_root: true, ..foreign() },
                Ok(segment(Some(9))),
            ),
            (
                "row 5, BET-11 parent may come",
                Facts { flags: 0, parent: Parent::Awaited, ..foreign() },
                Ok(subsegment(9)),
            ),
            (
                "row 5, BET-13 lost, top known",
                Facts { parent: Parent::Lost, top: Some(id(5)), ..foreign() },
                Ok(subsegment(5)),
            ),
            ("row 5, BET-13 lost, no top", Facts { parent: Parent::Lost, ..foreign() }, Ok(segment(None))),
            ("row 6, flags", Facts { flags: 0x102, ..inner() }, Err(Reason::Unsampled)),
            ("row 6, OTL-6", Facts { says_unsampled: true, ..inner() }, Err(Reason::Unsampled)),
            ("row 6 is not kept", Facts { flags: 0x102, keep: true, ..inner() }, Err(Reason::Unsampled)),
            ("OTL-5, no W3C flags", Facts { flags: 0x100, ..inner() }, Ok(subsegment(9))),
            ("OTL-5, flags 0 say nothing", Facts { flags: 0, ..inner() }, Ok(subsegment(9))),
            ("row 7", Facts { kind: SpanKind::Server, ..inner() }, Ok(subsegment(9))),
            ("row 9, may come", Facts { parent: Parent::Awaited, ..inner() }, Ok(subsegment(9))),
            ("row 9, lost, Active", lost(Mode::Active), Ok(subsegment(1))),
            (
                "row 9, lost, PassThrough",
                Facts { top: Some(id(5)), ..lost(Mode::PassThrough) },
                Ok(subsegment(5)),
            ),
            ("row 9, lost, no top", lost(Mode::Unknown), Ok(segment(Some(1)))),
            ("no header at all", Facts { header: None, parent_id: None, ..inner() }, Ok(segment(None))),
        ];
        for (row, facts, expected) in rows {
            assert_eq!(facts.place().map(|placement| placement.place), expected, "{row}");
        }
    }

    #[test]
    fn row_5_links_to_lambdas_trace_only_when_that_exists() {
        let fresh = Facts { parent_id: None, ..foreign() };
        let lambdas = header(Sampled::Yes, Some(1));
        assert_eq!(fresh.place().unwrap().link, Some((lambdas.root, id(1))));
        for header in [header(Sampled::No, Some(1)), header(Sampled::Yes, None)] {
            assert_eq!(Facts { header: Some(header), ..fresh }.place().unwrap().link, None);
        }
    }

    #[test]
    fn row_8_each_top_is_placed_by_the_same_row() {
        assert!([1, 4].into_iter().all(|parent| {
            let top = Facts { parent_id: Some(id(parent)), ..top(Mode::Active) };
            top.place().unwrap().is_top
        }));
    }
}
