"""Like calls past a number of an invocation: one span stands for all of them, and says how many they were.

Loaded by the recorder with the first call that there are too many of. PROTOCOL.md names what such a span carries.
"""

from __future__ import annotations

from _thread import allocate_lock

from _otel_xray_agent.record.trace import ERROR, Span, fail, new_id, record_exception, type_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _otel_xray_agent.record.trace import Attributes

COUNT, TOTAL, SLOWEST, ERRORS = "folded_calls", "folded_total_ms", "folded_slowest_ms", "folded_errors"

_STATUS = "http.response.status_code"
_OF_FAILURES = ("error.type", "aws.error.code", "db.response.status_code", "rpc.response.status_code", _STATUS)


class Fold:
    """The calls of one name to one address. Each has the id of the fold's span: those it calls are told of that one."""

    __slots__ = ("_count", "_errors", "_failure", "_lock", "_same", "_slowest_ns", "_total_ns", "is_over", "span")

    def __init__(self, first: Span) -> None:
        span = Span(first.name, first.kind, first.trace_id, first.parent_id, first.flags, first.start_ns)
        span.attributes = dict(first.attributes)
        self.span = span
        self.is_over = False
        self._lock = allocate_lock()
        self._count = self._errors = self._total_ns = self._slowest_ns = 0
        self._same: Attributes | None = None
        """What all of them carry."""
        self._failure: Attributes = {}
        """What the first that failed says of its failure."""

    def take(self, call: Span) -> None:
        call.span_id = self.span.span_id

    def add(self, call: Span, error: BaseException | None) -> bool:
        """A call has ended. False where the fold has ended before: then the call has an id of its own."""
        with self._lock:
            if self.is_over:
                call.span_id = new_id(8)
                return False
            lasted = max(call.end_ns - call.start_ns, 0)
            self._count += 1
            self._total_ns += lasted
            self._slowest_ns = max(self._slowest_ns, lasted)
            self.span.start_ns = min(self.span.start_ns, call.start_ns)
            self.span.end_ns = max(self.span.end_ns, call.end_ns)
            status = call.attributes.get(_STATUS)
            if error is not None or call.status == ERROR or (type(status) is int and status >= 400):
                self._errors += 1
                if self._errors == 1:
                    self._note_failure(call, error)
            if self._same is None:
                self._same = dict(call.attributes)
            else:
                self._keep_the_same(self._same, call.attributes)
        return True

    def end(self) -> Span | None:
        """The span that stands for them; none where none has ended."""
        with self._lock:
            self.is_over = True
            if not self._count:
                return None
            self.span.attributes = {
                **(self._same or {}),
                **self._failure,
                COUNT: self._count,
                TOTAL: self._total_ns / 1_000_000,
                SLOWEST: self._slowest_ns / 1_000_000,
                ERRORS: self._errors,
            }
            return self.span

    def _note_failure(self, call: Span, error: BaseException | None) -> None:
        self._failure = {name: call.attributes[name] for name in _OF_FAILURES if name in call.attributes}
        self.span.status, self.span.status_message = call.status, call.status_message
        if error is not None:
            record_exception(self.span, error)
            fail(self.span, error)
            self._failure.setdefault("error.type", type_name(error))

    @staticmethod
    def _keep_the_same(same: Attributes, others: Attributes) -> None:
        for name, value in list(same.items()):
            other = others.get(name)
            # Not by the comparison of whatever a library has handed over.
            if other is not value and not (type(other) is type(value) in (str, int, float) and other == value):
                del same[name]
