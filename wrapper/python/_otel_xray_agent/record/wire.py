"""The local protocol: frames, and the socket they go to. Writes never wait for an answer.

The recorder says what to write. Everything in the agent has its troubles logged here, too.
"""

from __future__ import annotations

import _socket
import os
import sys
from _collections import deque
from _struct import Struct
from _thread import allocate_lock
from _weakref import ref

HELLO, INVOKE, START, END, DONE, ANSWERED = 1, 2, 3, 4, 5, 6

SEND_SECONDS = 0.05
"""The longest a write may hold the handler. Past it the spans of the write are lost, and counted."""
MAX_PAYLOAD = 1_048_576
MAX_WAITING = 64
"""Local spans that wait for the next write."""

_HEAD = Struct("<BI").pack
_INVOKE = Struct("<QH").pack
_DONE = Struct("<BI").pack
_ANSWERED = Struct("<BI16s8sQH").pack


def frame(kind: int, payload: bytes) -> bytes:
    return _HEAD(kind, len(payload)) + payload


def invoke_frame(request_id: str, trace_header: str, deadline_ms: int) -> bytes:
    encoded = request_id.encode()[:0xFFFF]
    return frame(INVOKE, _INVOKE(deadline_ms, len(encoded)) + encoded + trace_header.encode("utf-8", "replace"))


def done_frame(request_id: str, raised: bool, spans_dropped: int) -> bytes:
    return frame(DONE, _DONE(raised, min(spans_dropped, 0xFFFF_FFFF)) + request_id.encode())


_QUOTES_NOTHING = (OSError, ImportError, NameError, AttributeError, TypeError)


def told(error: BaseException) -> str:
    """An error as the log may have it: the messages of most kinds quote the values that the function works with."""
    if isinstance(error, _QUOTES_NOTHING):
        return repr(error)
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    if place is None:
        return type(error).__name__
    return f"{type(error).__name__} in {place.tb_frame.f_code.co_name}:{place.tb_lineno}"


_said = set()


def complain(key: str, message: object) -> None:
    """One line for each kind of trouble in the life of the process: log lines cost the user money."""
    if key not in _said:
        _said.add(key)
        try:  # noqa: SIM105 - contextlib would be one more module to load
            sys.stderr.write(f"[otel-xray] WARN: {message}\n")
        except Exception:  # a closed standard error is not the function's trouble
            pass


class Wire:
    """A connection that is opened when there is something to say, and again after a failure."""

    def __init__(self, name: str, hello: bytes) -> None:
        self._address = b"\0" + name.encode()
        self._hello = frame(HELLO, hello)
        self._socket: _socket.socket | None = None
        self._patience = SEND_SECONDS
        """Nothing is waited for twice in an invocation."""
        self._is_refused = False
        """Nobody listens: the next invocation asks again."""
        self._waiting: deque[bytes] = deque()
        self._lock = allocate_lock()
        self.spans_dropped = 0
        self._invocations: dict[str, bytes] = {}
        """The invoke frames of the running invocations, said again on a new connection."""
        self._is_forked = False
        """In a process that the function has forked nobody says that an invocation is over."""
        # The hook outlives all modules; a socket that is closed only then takes the process down (Python 3.9).
        wire = ref(self)

        def forked() -> None:
            if (child := wire()) is not None:
                child.leave_to_the_parent()

        os.register_at_fork(after_in_child=forked)

    def leave_to_the_parent(self) -> None:
        """What waits is the parent's to write, and the lock may be held by a thread that is not here."""
        self._is_forked = True
        self._lock = allocate_lock()
        self._waiting = deque()
        self.spans_dropped = 0
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def connect(self) -> bool:
        """Whether there is a connection, after trying to have one. Refused at once without an extension."""
        if self._socket is not None:
            return True
        if self._is_refused:
            return False
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            connection.settimeout(self._patience)
            connection.connect(self._address)
            connection.sendall(self._hello + b"".join(self._invocations.values()))
        except OSError:
            connection.close()
            self._is_refused = True
            return False
        self._socket = connection
        return True

    def begin(self, request_id: str, invocation: bytes, span: bytes) -> bool:
        """Announces an invocation and its open handler span. False when nobody listens."""
        with self._lock:
            self._patience = SEND_SECONDS
            self._is_refused = False
            if self._socket is not None:
                self._socket.settimeout(SEND_SECONDS)
            if not self.connect():
                return False
            self._invocations[request_id] = invocation
            return self._send(invocation + frame(START, span))

    def start(self, span: bytes) -> None:
        with self._lock:
            self._send(frame(START, span))

    def answered(self, trace_id: bytes, span_id: bytes, at_ns: int, status: int) -> None:
        """The answer to an announced call has begun, and nobody waits for the rest; or, at 0, somebody does again."""
        with self._lock:
            self._send(_ANSWERED(ANSWERED, 34, trace_id, span_id, at_ns, status & 0xFFFF))

    def end(self, span: bytes, *, now: bool) -> None:
        """Writes a complete span. A local one may wait for the next write.

        So may one that ends while something is written: the garbage collector ends spans in the middle of anything.
        """
        if len(span) > MAX_PAYLOAD:
            self.spans_dropped += 1
            return
        self._waiting.append(frame(END, span))
        if (now or self._is_forked or len(self._waiting) >= MAX_WAITING) and self._lock.acquire(False):
            try:
                self._send(b"")
            finally:
                self._lock.release()

    def done(self, request_id: str, *, raised: bool) -> None:
        """Says that the invocation is over and everything has been written."""
        with self._lock:
            if self._send(done_frame(request_id, raised, self.spans_dropped)):
                self.spans_dropped = 0
            self._invocations.pop(request_id, None)

    def _send(self, data: bytes) -> bool:
        """Writes the waiting spans, then ``data``. A failure costs the connection, and counts."""
        waiting = len(self._waiting)
        if waiting:
            # Others may add to it meanwhile.
            data = b"".join([self._waiting.popleft() for _ in range(waiting)]) + data
        try:
            if not self.connect() or self._socket is None:
                raise ConnectionError("the extension is not listening")
            self._socket.sendall(data)
        except OSError as error:
            self.spans_dropped += waiting
            self._patience = 0
            if self._socket is not None:
                self._socket.close()
                self._socket = None
            complain("wire", f"spans could not be handed to the extension and are lost: {error}")
            return False
        return True
