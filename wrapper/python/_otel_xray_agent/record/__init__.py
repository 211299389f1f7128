"""The invocations that run, the current span of each context, and what of it is written to the wire.

``bootstrap`` tells where an invocation begins and ends, and the libraries' patches what happens inside of it.
"""

from __future__ import annotations

from _contextvars import ContextVar
from _thread import allocate_lock

from _otel_xray_agent.record import wire
from _otel_xray_agent.record.encoder import encode
from _otel_xray_agent.record.trace import (
    CLIENT,
    ERROR,
    INTERNAL,
    PRODUCER,
    REMOTE,
    REMOTE_KNOWN,
    SAMPLED,
    SERVER,
    Sampler,
    Span,
    TraceHeader,
    clock,
    fail,
    is_call,
    message_of,
    new_trace_id,
    now_ns,
    record_exception,
    type_name,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Protocol

    from _otel_xray_agent.record.initialisation import Initialisation
    from _otel_xray_agent.record.trace import Attributes, Fold

    class Trigger(Protocol):
        """What called the function, as its event tells."""

        attributes: Attributes
        kind: int
        producers: list[tuple[TraceHeader, Attributes]]
        decides: bool

    class OpenTelemetry(Protocol):
        """The API's own contexts, where the function has loaded it."""

        nothing: Any

        def is_own(self, span: Any) -> bool: ...
        def held(self) -> tuple[Span | None, object]: ...
        def is_silent(self, library: str) -> bool: ...
        def entered(self, root: Span) -> None: ...
        def left(self, root: Span) -> None: ...


MAX_LIKE = 100
"""Calls of an invocation that have the same name and address, and a span each. One more span stands for all others."""
MAX_ERRORS = 8
"""Errors that something in the function has answered, and that are on the handler's span."""
MAX_KINDS = 1_000
"""Names and addresses that are counted in an invocation. The calls of others are not folded."""


class Invocation:
    """One run of the handler. A runtime may have several at once, in threads."""

    __slots__ = ("errors", "header", "like", "name", "root")

    def __init__(self, root: Span, header: TraceHeader) -> None:
        self.root: Span | None = root
        """The handler's span while it runs."""
        self.name = root.name
        """What it was announced as."""
        self.header = header
        self.like: dict[tuple[object, ...], list[Any]] = {}
        """How many calls there have been of each name and address, and what they are folded into."""
        self.errors = 0
        """How many of the handler's span's events are errors that something in the function has answered."""


class Recorder:
    """Keeps the current span of each context, and writes what happens to the wire."""

    def __init__(self, connection: wire.Wire, environ: Mapping[str, str]) -> None:
        self.wire = connection
        self._sampler = Sampler(environ)
        self._running: list[Invocation] = []
        self._here: ContextVar[Invocation | None] = ContextVar("otel_xray_invocation", default=None)
        self._current: ContextVar[Span | None] = ContextVar("otel_xray_span", default=None)
        self.otel: OpenTelemetry | None = None
        """Where the function has loaded the OpenTelemetry API."""
        self.follows_bodies = False
        """Whether the end of an answer's body is seen."""
        self._aside: dict[Span, tuple[int, Invocation | None]] = {}
        """Calls that nobody waits for, since when: sent, or answered and not read."""
        self._folding = allocate_lock()
        self.initialisation: Initialisation | None = None
        """Calls before the first invocation, where there are any: it may be that one that pays for them."""
        self._loaded_ns = 0
        """When the function had been loaded; -1 once an invocation has begun."""
        self._may_keep = environ.get("OTEL_XRAY_KEEP", "").strip(" \t\n\f\r").lower() not in ("", "none")
        """Whether what nobody samples may be sent all the same."""
        self.yielded: set[str] = set()
        """Libraries that an X-Ray SDK records, as far as it records anything (A-15)."""
        self.watch: Callable[[str, tuple[str, str, str]], None] = lambda name, patch: None
        """Has a module patched when the function imports it: the import hook's."""
        self.sdk_calls: ContextVar[bool] = ContextVar("otel_xray_sdk_calls", default=False)
        """Whether the subsegment that the SDK opens next is a library's call."""

    # The handler

    def invocation(self) -> Invocation | None:
        """The one that this context is in. Work without a context of its own belongs to the only one that runs."""
        here = self._here.get()
        if here is not None and here.root is not None:
            return here
        running = self._running[:2]
        return running[0] if len(running) == 1 else None

    @property
    def root(self) -> Span | None:
        """The handler's span while it runs."""
        invocation = self.invocation()
        return None if invocation is None else invocation.root

    @property
    def header(self) -> TraceHeader | None:
        invocation = self.invocation()
        return None if invocation is None else invocation.header

    def loaded(self) -> None:
        """The function's module has run. By the agent's own clock, as the function may have frozen others."""
        self._loaded_ns = now_ns()

    def enter(
        self,
        name: str,
        raw_header: str,
        request_id: str,
        deadline_ms: int,
        attributes: Attributes,
        trigger: Trigger | None = None,
    ) -> bool:
        """The handler begins. False when there is nobody to record for."""
        clock.set()
        loaded_ns, self._loaded_ns = self._loaded_ns, -1
        before, self.initialisation = self.initialisation, None
        header = TraceHeader(raw_header)
        undecided = None
        if not header.trace_id:
            header.begin_trace()
        elif self._sampler.is_ours(header):
            undecided = header
        links = None
        if trigger is not None:
            attributes.update(trigger.attributes)
            producers = trigger.producers
            if producers:
                only = producers[0][0]
                if len(producers) == 1 and trigger.decides and only.sampled == "1" != header.sampled:
                    # Nobody traces the invocation itself: one message simply connects.
                    header = only
                else:
                    links = [
                        (producer.trace_id, producer.parent_id, said)
                        for producer, said in producers
                        if producer.trace_id != header.trace_id
                    ]
        if header is undecided:
            self._sampler.decide(header)
        flags = SAMPLED | REMOTE_KNOWN | REMOTE if header.sampled == "1" else 0
        kind = SERVER if trigger is None else trigger.kind
        span = Span(name, kind, header.trace_id, header.parent_id, flags, now_ns())
        span.attributes = attributes
        span.links = links
        encoded = self._encoded(span)
        invoke = wire.invoke_frame(request_id, raw_header, deadline_ms)
        if not encoded or not self.wire.begin(request_id, invoke, encoded):
            return False
        invocation = Invocation(span, header)
        self._running.append(invocation)
        self._here.set(invocation)
        self._current.set(span)
        self._tell_otel("entered", span)
        if before is not None and (flags & SAMPLED or self._may_keep) and before.is_paid_by(span, loaded_ns):
            self._place(before, invocation)
        return True

    def _place(self, before: Initialisation, invocation: Invocation) -> None:
        """Calls of the initialisation come into the trace of the invocation that has waited for it."""
        calls = [] if invocation.root is None else before.below(invocation.root)
        for call in calls:
            if call.end_ns:
                self._write(call, now=call is calls[-1])
                continue
            self.announce(call)
            if call in self._aside:
                since, _ = self._aside[call]
                self._aside[call] = since, invocation
                status = call.attributes.get("http.response.status_code")
                if status:
                    self.wire.answered(call.trace_id, call.span_id, since, status)
        self.wire.spans_dropped += before.missed

    def leave(self, request_id: str, error: BaseException | None, seen_by_callers: Attributes | None = None) -> None:
        """The handler has ended. Everything is written before the runtime hears of it."""
        invocation = self._here.get()
        self._here.set(None)
        self._current.set(None)
        if invocation is None or invocation.root is None:
            return
        span, invocation.root = invocation.root, None
        self._running.remove(invocation)
        self._tell_otel("left", span)
        for call, (_, its) in list(self._aside.items()):
            if its is invocation:
                self.finish(call, None)
        for _, fold in invocation.like.values():
            folded = None if fold is None else fold.end()
            if folded is not None:
                self._write(folded, now=False)
        if error is not None:
            record_exception(span, error, seen_by_callers)
            fail(span, error)
            if invocation.errors:
                self._say_once(span)
            if seen_by_callers:
                span.status_message = seen_by_callers["exception.message"][:1024]
        span.end_ns = now_ns()
        self._write(span, now=False)
        self.wire.done(request_id, raised=error is not None)

    def note_error(self, error: BaseException) -> None:
        """What a web framework makes an answer of. The answer says whether that is a fault."""
        invocation = self.invocation()
        if invocation is not None and invocation.root is not None and invocation.errors < MAX_ERRORS:
            invocation.errors += 1
            record_exception(invocation.root, error)
            invocation.root.status_message = message_of(error)

    @staticmethod
    def _say_once(span: Span) -> None:
        """The handler has raised what a framework had told of before."""
        *others, (_, _, raised) = span.events or []
        names = ("exception.type", "exception.message")
        kept = [one for one in others if one[0] != "exception" or any(one[2].get(n) != raised.get(n) for n in names)]
        span.events = [*kept, *(span.events or [])[-1:]]

    def loading_failed(self, name: str, begun_ns: int, error: BaseException, seen_by_callers: Attributes) -> None:
        """The function could not be loaded. In a trace of its own: which invocation waits is not known here."""
        span = Span(name, INTERNAL, new_trace_id(), b"", SAMPLED | REMOTE_KNOWN, begun_ns)
        span.attributes = {"faas.coldstart": True}
        record_exception(span, error, seen_by_callers)
        span.status = ERROR
        span.status_message = str(seen_by_callers.get("exception.message") or message_of(error))[:1024]
        span.end_ns = now_ns()
        before, self.initialisation = self.initialisation, None
        calls = [] if before is None else before.below(span)
        self._write(span, now=not calls)
        for call in calls:
            # What is left open, nobody waits for any more.
            call.end_ns = call.end_ns or self._aside.pop(call, (span.end_ns, None))[0]
            self._write(call, now=call is calls[-1])

    # Spans inside the handler

    def current(self) -> Span | None:
        """The innermost span of this context; the handler's where the context has none."""
        span = self._current.get()
        root = self.root
        if span is not None and (span.end_ns or root is None):
            span = None
        from_api, mark = self._held_by_otel()
        if from_api is not None and (span is None or span.outer is not mark):
            return from_api
        return root if span is None else span

    def child(self, name: str, kind: int, start_ns: int = 0, parent: Span | None = None) -> Span | None:
        """A new span below the current one, or the one that is named; none outside of an invocation."""
        parent = parent or self.current()
        if parent is None:
            return None
        flags = parent.flags & ~REMOTE
        if flags and parent.is_remote:
            flags |= REMOTE_KNOWN | REMOTE
        return Span(name, kind, parent.trace_id, parent.span_id, flags, start_ns or now_ns())

    def call(self, name: str, library: str = "") -> tuple[Span, Any] | None:
        """A call to something outside begins: it becomes current, and is announced because it may hang.

        None outside of an invocation, inside of another call, as the outermost library speaks for all, and where an
        X-Ray SDK records the library, or OpenTelemetry is told to record nothing.
        """
        parent = self.current()
        if parent is None and self._loaded_ns >= 0:
            return self._early_call(name, library)
        if parent is None or is_call(parent):
            return None
        if library in self.yielded and parent.flags & SAMPLED:
            return None
        if self.otel is not None and self.otel.is_silent(library):
            return None
        span = self.child(name, CLIENT, 0, parent)
        if span is None:
            return None
        span.fold = None
        return span, self.enclose(span)

    def _early_call(self, name: str, library: str) -> tuple[Span, Any] | None:
        """A call before the first invocation. In which trace it belongs nobody knows yet."""
        around = self._current.get()
        if around is not None and not around.end_ns:
            return None
        if self.otel is not None and self.otel.is_silent(library):
            return None
        if self.initialisation is None:
            from _otel_xray_agent.record.initialisation import Initialisation

            self.initialisation = Initialisation()
        span = Span(name, CLIENT, b"", b"", 0, now_ns())
        return span, self.enclose(span)

    def calling(self, library: str) -> Span | None:
        """The call of the agent's own that this context is in: what the library sends, it sends in that one's name."""
        span = self.current()
        if self.otel is not None and self.otel.is_silent(library):
            return None
        return span if type(span) is Span and is_call(span) else None

    def enclose(self, span: Span) -> Any:
        """The span becomes current; what this gives makes the one before current again."""
        mark = self._held_by_otel()[1]
        span.outer = False if mark is None else mark
        return self._current.set(span)

    def disclose(self, span: Span, token: Any) -> None:
        """The span is over, and no longer current if it was."""
        if self._current.get() is span:
            try:
                self._current.reset(token)
            except (TypeError, ValueError):
                # Ended in another context than it began in, or as no longer current.
                self._current.set(None)

    def announce(self, span: Span) -> None:
        if not span.trace_id:
            if self.initialisation is not None:
                self.initialisation.keep(span)
            return
        encoded = self._encoded(span)
        if encoded:
            self.wire.start(encoded)

    def announce_call(self, span: Span) -> None:
        """The same of a library's call, unless there have been too many like it."""
        if span.fold is None:
            self._settle(span)
        if not span.fold:
            self.announce(span)

    def _settle(self, span: Span) -> None:
        """Whether the call stands for itself, or is folded with those of the same name to the same address."""
        span.fold = False
        invocation = self.invocation()
        if invocation is None or not span.name:
            return
        kind = span.name, span.attributes.get("server.address"), span.attributes.get("server.port")
        with self._folding:
            like = invocation.like.get(kind)
            if like is None:
                if len(invocation.like) < MAX_KINDS:
                    invocation.like[kind] = [1, None]
                return
            like[0] += 1
            if like[0] <= MAX_LIKE:
                return
            is_first = like[1] is None
            if is_first:
                from _otel_xray_agent.record.folding import Fold

                like[1] = Fold(span)
            fold: Fold = like[1]
        span.fold = fold
        fold.take(span)
        if is_first:
            self.announce(fold.span)

    def set_aside(self, span: Span, status: int = 0) -> None:
        """Nobody waits for the call any more: it has been sent or, as the HTTP status says, answered.

        Only an answer is told to the extension: for what has been sent, most callers wait at once.
        """
        now = now_ns()
        self._aside[span] = now, self.invocation()
        if status and span.trace_id and not span.fold:
            self.wire.answered(span.trace_id, span.span_id, now, status)

    def take_up(self, span: Span, *, told: bool = False) -> None:
        """Somebody waits for it again."""
        if self._aside.pop(span, None) is not None and told and span.trace_id and not span.fold:
            self.wire.answered(span.trace_id, span.span_id, 0, 0)

    def finish(self, span: Span, token: Any, error: BaseException | None = None) -> None:
        """The call is over. One that nobody waited for was over when it was set aside, and with the handler's end."""
        since, _ = self._aside.pop(span, (0, None))
        if span.end_ns:
            return
        span.end_ns = now_ns() if error is not None else since or now_ns()
        self.disclose(span, token)
        fold = span.fold
        if fold and fold.add(span, error):
            return
        if error is not None:
            record_exception(span, error)
            fail(span, error)
            span.attributes.setdefault("error.type", type_name(error))
        if span.trace_id:
            self._write(span, now=True)

    def end_local(self, span: Span) -> None:
        self._write(span, now=span.kind in (CLIENT, PRODUCER))

    def hold(self) -> tuple[Invocation, Span | None] | None:
        """Where something is begun that will run in a thread of its own."""
        invocation = self.invocation()
        return None if invocation is None else (invocation, self.current())

    def resume(self, held: tuple[Invocation, Span | None] | None) -> tuple[Any, Any]:
        """Makes that place current in this thread; what this gives makes the one before current again."""
        invocation, span = held or (None, None)
        return self._here.set(invocation), self._current.set(span)

    def suspend(self, tokens: tuple[Any, Any]) -> None:
        self._here.reset(tokens[0])
        self._current.reset(tokens[1])

    def _held_by_otel(self) -> tuple[Span | None, object]:
        if self.otel is not None:
            try:
                return self.otel.held()
            except Exception as error:  # a span of the function's own
                wire.complain("opentelemetry", f"the current span could not be found: {wire.told(error)}")
        return None, None

    def _tell_otel(self, what: str, root: Span) -> None:
        if self.otel is not None:
            try:
                getattr(self.otel, what)(root)
            except Exception as error:  # the invocation is recorded all the same
                wire.complain("opentelemetry", f"the current span could not be set: {wire.told(error)}")

    def _write(self, span: Span, *, now: bool) -> None:
        """A complete span. One that cannot be written is counted."""
        encoded = self._encoded(span)
        if encoded:
            self.wire.end(encoded, now=now)
        else:
            self.wire.spans_dropped += 1

    def _encoded(self, span: Span) -> bytes:
        """Empty where it cannot be encoded: a span holds what the function has handed over."""
        try:
            return encode(span)
        except Exception as error:
            wire.complain("encoder", f"a span could not be encoded and is lost: {wire.told(error)}")
            return b""

    # Going out

    def headers(self, span: Span) -> dict[str, str]:
        """What a call made by the span carries on. Its name is known, or it is not folded with others."""
        if span.fold is None:
            self._settle(span)
        header = self.header
        if header is None:
            return {}
        sampled = "01" if span.flags & SAMPLED else "00"
        return {
            "X-Amzn-Trace-Id": header.outgoing(span.trace_id, span.span_id),
            "traceparent": f"00-{span.trace_id.hex()}-{span.span_id.hex()}-{sampled}",
        }
