//! What every block of a document is made from.

use crate::attributes::Attributes;
use crate::flush::Invocation;
use crate::function::Function;
use crate::plan::Planned;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use std::cell::OnceCell;

/// One span with everything its translation may look at.
pub(crate) struct Subject<'a> {
    pub(crate) span: &'a Span,
    pub(crate) planned: &'a Planned<'a>,
    pub(crate) kind: SpanKind,
    pub(crate) attributes: Attributes<'a>,
    resource: OnceCell<Attributes<'a>>,
    pub(crate) invocation: Option<&'a Invocation>,
    pub(crate) function: &'a Function,
}

impl<'a> Subject<'a> {
    pub(crate) fn new(planned: &'a Planned<'a>, function: &'a Function) -> Self {
        let span = &*planned.collected.span;
        Self {
            span,
            planned,
            kind: span.kind(),
            attributes: Attributes::new(&span.attributes),
            resource: OnceCell::new(),
            invocation: planned.invocation,
            function,
        }
    }

    /// The attributes of the resource, which few documents ask for.
    pub(crate) fn resource(&self) -> &Attributes<'a> {
        self.resource.get_or_init(|| Attributes::new(&self.planned.collected.origin.resource.attributes))
    }
}
