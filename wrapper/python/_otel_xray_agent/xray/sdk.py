"""The X-Ray SDK for Python beside the agent: its subsegments and the agent's spans nest in one trace, each call once.

The SDK keeps its own documents and sends them itself, to where an X-Ray daemon would be (A-15). Here it only learns in
which span a subsegment is opened, and the agent learns which subsegment is open.
"""

from __future__ import annotations

import os

from _otel_xray_agent import settings
from _otel_xray_agent.record.trace import CLIENT, INTERNAL, REMOTE, SAMPLED, Span
from _otel_xray_agent.record.wire import complain, told
from _otel_xray_agent.unseen import replace, unseen
from _otel_xray_agent.xray.kept import is_kept, span_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.record import Recorder

DAEMON = "AWS_XRAY_DAEMON_ADDRESS"


class OpenSubsegment(Span):
    """Stands for a subsegment among the agent's spans, as the parent of what happens in it. Never written."""

    __slots__ = ("around", "token")

    around: Span
    """The agent's own span that it is in."""
    token: Any


def send_to_extension(module: ModuleType, recorder: Recorder) -> None:
    """Points the SDK at the extension, where that listens. Runs before the SDK looks where its daemon is."""
    address = settings.daemon(os.environ.get("OTEL_XRAY_DAEMON", ""))
    if address and not _is_chosen_by_user(os.environ) and recorder.wire.connect() and _is_listening(*address):
        os.environ[DAEMON] = f"{address[0]}:{address[1]}"


def _is_chosen_by_user(environ: Any) -> bool:
    """Whether the address is another one than that which Lambda has set (ENV-2)."""
    address = environ.get(DAEMON, "")
    lambdas = f"{environ.get('_AWS_XRAY_DAEMON_ADDRESS')}:{environ.get('_AWS_XRAY_DAEMON_PORT')}"
    return address not in ("", lambdas) and not address.startswith("169.254.")


def _is_listening(host: str, port: int) -> bool:
    """Whether a UDP socket is bound there, as the kernel lists them: no datagram would be answered."""
    wanted = bytes(int(part) for part in reversed(host.split("."))).hex().upper() + f":{port:04X}"
    try:
        with open("/proc/net/udp", encoding="ascii") as table:  # noqa: PTH123 - pathlib costs milliseconds
            return any(line.split(None, 2)[1] == wanted for line in table)
    except (OSError, IndexError):
        return False


def yield_http(module: ModuleType, recorder: Recorder) -> None:
    """Here the SDK records below the agent: one of the two has to leave the call to the other (A-27)."""
    import urllib3

    # From its version 2 on urllib3 sends past what the SDK patches.
    libraries = {"http.client", "urllib3"} if urllib3.__version__.startswith("1.") else {"http.client"}
    _yield(module, recorder, libraries)


def yield_httpx(module: ModuleType, recorder: Recorder) -> None:
    """The SDK records around the transports that the agent records in (PL-66)."""
    _yield(module, recorder, {"httpx"})


def yield_pymongo(module: ModuleType, recorder: Recorder) -> None:
    """The SDK listens to the commands of the operations that the agent records (PL-66)."""
    _yield(module, recorder, {"pymongo"})


def _yield(module: ModuleType, recorder: Recorder, libraries: set[str]) -> None:
    original_patch, original_unpatch = module.patch, getattr(module, "unpatch", None)

    @unseen
    def patch(*arguments: Any, **options: Any) -> Any:
        recorder.yielded |= libraries
        return original_patch(*arguments, **options)

    module.patch = patch
    if original_unpatch is None:
        return

    @unseen
    def unpatch(*arguments: Any, **options: Any) -> Any:
        recorder.yielded -= libraries
        return original_unpatch(*arguments, **options)

    module.unpatch = unpatch


def yield_statements(module: ModuleType, recorder: Recorder) -> None:
    """Of databases: the SDK opens a subsegment around a driver's function, and says only then that it is a call."""
    original_meta, cursor = module.add_sql_meta, module.XRayTracedCursor

    @unseen
    def add_sql_meta(meta: Any) -> None:
        original_meta(meta)
        span = recorder.current()
        if isinstance(span, OpenSubsegment):
            span.kind = CLIENT

    def unless_unsampled(name: str, original: Any) -> Any:
        @unseen
        def call(self: Any, *arguments: Any, **options: Any) -> Any:
            root = recorder.root
            if root is not None and not root.flags & SAMPLED:
                return getattr(self.__wrapped__, name)(*arguments, **options)
            return original(self, *arguments, **options)

        return call

    module.add_sql_meta = add_sql_meta
    names = ("execute", "executemany", "callproc")
    replace(cursor, **{name: unless_unsampled(name, getattr(cursor, name)) for name in names})


def yield_core(module: ModuleType, recorder: Recorder) -> None:
    """Of SQLAlchemy: what its driver sends is in the SDK's call."""
    original = module._process_request

    @unseen
    def _process_request(*arguments: Any, **options: Any) -> Any:
        token = recorder.sdk_calls.set(True)
        try:
            return original(*arguments, **options)
        finally:
            recorder.sdk_calls.reset(token)

    module._process_request = _process_request


def join(module: ModuleType, recorder: Recorder) -> None:
    """Lets the SDK's context for Lambda and the agent's know of each other."""
    context = module.LambdaContext
    join = _Join(module, recorder)
    original_refresh = context._refresh_context
    original_put = context.put_subsegment
    original_end = context.end_subsegment
    original_set = context.set_trace_entity

    @unseen
    def _refresh_context(self: Any) -> None:
        try:
            if join.has_facade(self._local):
                return
        except Exception as error:  # the function comes first
            complain("aws_xray_sdk", f"subsegments of the X-Ray SDK are not joined: {told(error)}")
        original_refresh(self)

    @unseen
    def put_subsegment(self: Any, subsegment: Any) -> None:
        original_put(self, subsegment)
        try:
            join.opened(getattr(self._local, "entities", None) or (), subsegment)
        except Exception as error:  # the function comes first
            complain("aws_xray_sdk", f"subsegments of the X-Ray SDK are not joined: {told(error)}")

    @unseen
    def end_subsegment(self: Any, end_time: Any = None) -> Any:
        entities = getattr(self._local, "entities", None)
        entity = entities[-1] if entities else None
        ended = original_end(self, end_time)
        if entity is not None:
            try:
                join.closed(entity)
            except Exception as error:  # the function comes first
                complain("aws_xray_sdk", f"subsegments of the X-Ray SDK are not joined: {told(error)}")
        return ended

    @unseen
    def set_trace_entity(self: Any, trace_entity: Any) -> None:
        original_set(self, trace_entity)
        join.handed_over(trace_entity)

    replace(
        context,
        _refresh_context=_refresh_context,
        put_subsegment=put_subsegment,
        end_subsegment=end_subsegment,
        set_trace_entity=set_trace_entity,
    )


class _Join:
    """The subsegments that are open in the running invocation."""

    def __init__(self, module: ModuleType, recorder: Recorder) -> None:
        self._module = module
        self._recorder = recorder
        self._root: Span | None = None
        self._open: dict[str, OpenSubsegment] = {}

    def has_facade(self, local: Any) -> bool:
        """Makes the handler's span what the SDK takes for Lambda's segment. Not outside of an invocation."""
        root = self._recorder.root
        if root is None or not self._module.global_sdk_config.sdk_enabled():
            return False
        if root is not self._root:
            self._root = root
            # Invocations in other threads go on.
            for entity_id, span in list(self._open.items()):
                if span.around.end_ns:
                    self._open.pop(entity_id, None)
        root_id = root.span_id.hex()
        held = getattr(local, "segment", None)
        if held is None or held.id != root_id:
            header = self._recorder.header
            facade = self._module.FacadeSegment(
                name="facade", entityid=root_id, traceid=_trace_id(root), sampled=bool(root.flags & SAMPLED)
            )
            outgoing = header.outgoing(root.trace_id, root.span_id) if header is not None else None
            facade.save_origin_trace_header(self._module.TraceHeader.from_header_str(outgoing))
            local.segment = facade
            local.entities = []
        return True

    def opened(self, entities: Any, subsegment: Any) -> None:
        recorder = self._recorder
        parent = recorder.current()
        if parent is None or not entities or entities[-1] is not subsegment:
            return
        if not subsegment.sampled and not is_kept(subsegment):
            return
        # In a thread of its own the agent knows of no span but the handler's; the SDK may have been told of more.
        if len(entities) == 1 or parent is not recorder.root:
            subsegment.parent_id = parent.span_id.hex()
            subsegment.trace_id = _trace_id(parent)
        # What a library of the SDK's opens is the call itself; what the function opens has calls in it.
        is_call = subsegment.namespace in ("aws", "remote") and recorder.sdk_calls.get()
        recorder.sdk_calls.set(False)
        kind = CLIENT if is_call else INTERNAL
        span = OpenSubsegment(
            subsegment.name, kind, parent.trace_id, parent.span_id, parent.flags & ~REMOTE, parent.start_ns
        )
        span.span_id = bytes.fromhex(subsegment.id)
        span.around = getattr(parent, "around", parent)
        span.token = recorder.enclose(span)
        self._open[subsegment.id] = span

    def closed(self, subsegment: Any) -> None:
        span = self._open.pop(subsegment.id, None)
        if span is not None:
            span.end_ns = span.start_ns
            self._recorder.disclose(span, span.token)
            if is_kept(subsegment):
                self._recorder.end_local(span_of(subsegment, span))

    def handed_over(self, entity: Any) -> None:
        """A thread has been told in which subsegment it works."""
        span = self._open.get(getattr(entity, "id", ""))
        if span is not None:
            self._recorder.enclose(span)


def _trace_id(span: Span) -> str:
    root = span.trace_id.hex()
    return f"1-{root[:8]}-{root[8:]}"
