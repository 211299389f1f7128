"""Subsegments of the X-Ray SDK in a trace that nobody has sampled, recorded as the agent's spans by ``sdk``.

There the SDK would record nothing, but the extension may keep the trace all the same: because nobody has decided, or
because the invocation fails. Only what the function opens itself is taken over; what libraries do, the agent records.
"""

from __future__ import annotations

from _otel_xray_agent.record import trace as spans
from _otel_xray_agent.unseen import leave_unseen, replace, unseen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.record import Recorder
    from _otel_xray_agent.record.trace import Span


def patch(module: ModuleType, recorder: Recorder) -> None:
    """The SDK's recorder makes subsegments that hold something, also where they will not be sent."""
    from aws_xray_sdk.core.lambda_launcher import LambdaContext

    sdk = module.AWSXRayRecorder
    original_begin = sdk.begin_subsegment
    original_record = sdk.record_subsegment
    original_annotation = sdk.put_annotation
    original_metadata = sdk.put_metadata

    class KeptSubsegment(module.Subsegment):  # type: ignore[misc, name-defined]
        """Unsampled for the SDK, so that it sends neither this nor what is below, and tells nobody to sample."""

        is_kept = True

        def __init__(self, name: str, namespace: str, segment: Any) -> None:
            super().__init__(name, namespace, segment)
            self.sampled = False

    @unseen
    def begin_subsegment(self: Any, name: Any, namespace: str = "local") -> Any:
        root = recorder.root
        is_unsampled = root is not None and not root.flags & spans.SAMPLED
        if is_unsampled and namespace == "local" and isinstance(self.context, LambdaContext):
            segment = self.current_segment()
            if segment.id == root.span_id.hex():
                subsegment = KeptSubsegment(name, namespace, segment)
                self.context.put_subsegment(subsegment)
                return subsegment
        return original_begin(self, name, namespace)

    @unseen
    def record_subsegment(
        self: Any, wrapped: Any, instance: Any, args: Any, kwargs: Any, name: Any, namespace: Any, meta_processor: Any
    ) -> Any:
        token = recorder.sdk_calls.set(meta_processor is not None)
        try:
            return original_record(self, wrapped, instance, args, kwargs, name, namespace, meta_processor)
        finally:
            recorder.sdk_calls.reset(token)

    def kept_in(context: Any) -> Any:
        # Another context than Lambda's may complain that there is no segment, once for each time that it is asked.
        entity = context.get_trace_entity() if isinstance(context, LambdaContext) else None
        return entity if is_kept(entity) else None

    @unseen
    def put_annotation(self: Any, key: Any, value: Any) -> None:
        entity = kept_in(self.context)
        if entity is not None:
            entity.put_annotation(key, value)
        else:
            original_annotation(self, key, value)

    @unseen
    def put_metadata(self: Any, key: Any, value: Any, namespace: str = "default") -> None:
        entity = kept_in(self.context)
        if entity is not None:
            entity.put_metadata(key, value, namespace)
        else:
            original_metadata(self, key, value, namespace)

    replace(
        sdk,
        begin_subsegment=begin_subsegment,
        record_subsegment=record_subsegment,
        put_annotation=put_annotation,
        put_metadata=put_metadata,
    )


def patch_async(module: ModuleType, recorder: Recorder) -> None:
    """Calls of libraries that are awaited, as aiobotocore's."""
    sdk = module.AsyncAWSXRayRecorder
    original = sdk.record_subsegment_async

    async def record_subsegment_async(
        self: Any, wrapped: Any, instance: Any, args: Any, kwargs: Any, name: Any, namespace: Any, meta_processor: Any
    ) -> Any:
        token = recorder.sdk_calls.set(meta_processor is not None)
        try:
            return await original(self, wrapped, instance, args, kwargs, name, namespace, meta_processor)
        except BaseException as error:
            leave_unseen(error)
            raise
        finally:
            recorder.sdk_calls.reset(token)

    replace(sdk, record_subsegment_async=record_subsegment_async)


def is_kept(entity: Any) -> bool:
    return getattr(entity, "is_kept", False) is True


def span_of(subsegment: Any, opened: Span) -> Span:
    """The ended subsegment as a span of the agent's."""
    import json

    start_ns = int(subsegment.start_time * 1e9)
    span = spans.Span(subsegment.name, spans.INTERNAL, opened.trace_id, opened.parent_id, opened.flags, start_ns)
    span.span_id = opened.span_id
    span.end_ns = max(start_ns, int(subsegment.end_time * 1e9))
    attributes = span.attributes
    if subsegment.annotations:
        attributes.update(subsegment.annotations)
        attributes["aws.xray.annotations"] = list(subsegment.annotations)
    for namespace, held in subsegment.metadata.items():
        attributes[f"aws.xray.metadata.{namespace}"] = json.dumps(held, default=str)
    cause = subsegment.cause
    for thrown in cause.get("exceptions", ()) if isinstance(cause, dict) else ():
        event = {
            "exception.type": thrown.type,
            "exception.message": getattr(thrown, "message", ""),
            "exception.stacktrace": _stack_trace(thrown),
        }
        spans.add_event(span, "exception", event, span.end_ns)
    if getattr(subsegment, "fault", False) or getattr(subsegment, "error", False):
        span.status = spans.ERROR
    return span


def _stack_trace(thrown: Any) -> str:
    """What the SDK has noted of the stack, as Python writes it."""
    frames = "".join(
        f'  File "{frame.get("path")}", line {frame.get("line")}, in {frame.get("label")}\n'
        for frame in getattr(thrown, "stack", None) or ()
    )
    return f"Traceback (most recent call last):\n{frames}{thrown.type}: {getattr(thrown, 'message', '')}\n"
