"""The trace header: what it says, who decides where it leaves that open, and what goes out in calls.

Read by the recorder when an invocation begins, and by triggers and libraries that find one.
"""

from __future__ import annotations

from _otel_xray_agent.record.span import new_trace_id, now_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class TraceHeader:
    """A trace header, as far as it can be understood. Without a trace id it says nothing."""

    __slots__ = ("extra", "parent_id", "raw", "sampled", "trace_id")

    def __init__(self, raw: str) -> None:
        self.raw = raw
        self.trace_id = b""
        self.parent_id = b""
        self.sampled: str | None = None
        self.extra = ""
        for part in raw.split(";"):
            key, equals, value = part.strip().partition("=")
            if not equals:
                continue
            if key == "Root":
                self.trace_id = _trace_id(value)
            elif key == "Parent":
                self.parent_id = _hex(value, 8)
            elif key == "Sampled":
                self.sampled = value
            elif key != "Self":
                self.extra += f";{key}={value}"

    @classmethod
    def of_traceparent(cls, raw: str) -> TraceHeader:
        """What a W3C header says."""
        header = cls("")
        parts = raw.strip().split("-")
        if len(parts) >= 4 and len(parts[0]) == 2 and parts[0] != "ff":
            header.trace_id, header.parent_id = _hex(parts[1], 16), _hex(parts[2], 8)
            flags = parts[3]
            header.sampled = "1" if len(flags) == 2 and flags[1] in "13579bdf" else "0"
        return header

    def begin_trace(self) -> None:
        """A trace of its own."""
        self.trace_id = new_trace_id()
        self.parent_id = b""
        self.sampled = "1"
        self.extra = ""

    def outgoing(self, trace_id: bytes, span_id: bytes) -> str:
        """The header for a call made by the span: unknown fields and Lineage go on byte for byte."""
        root = trace_id.hex()
        text = f"Root=1-{root[:8]}-{root[8:]};Parent={span_id.hex()}"
        if self.sampled is not None:
            text += f";Sampled={self.sampled}"
        return text + self.extra


def _hex(text: str, length: int) -> bytes:
    try:
        value = bytes.fromhex(text) if len(text) == 2 * length else b""
    except ValueError:
        return b""
    # Blanks between the digits are read over.
    return value if len(value) == length and any(value) else b""


def _trace_id(text: str) -> bytes:
    parts = text.split("-")
    if len(parts) != 3 or parts[0] != "1" or len(parts[1]) != 8:
        return b""
    return _hex(parts[1] + parts[2], 16)


class Sampler:
    """Decides where neither Lambda nor a caller has, so that what the function calls is told.

    Without active tracing Lambda makes up ``Sampled=0`` (LAM-6). Whoever decides says yes now and then, so until a yes
    has been seen, a no is nobody's.
    """

    FIVE_PERCENT = b"\x0c\xcc\xcc\xcd"

    __slots__ = ("_decides", "_second", "_somebody_decides")

    def __init__(self, environ: Mapping[str, str]) -> None:
        blank = " \t\n\f\r"
        sampling = environ.get("OTEL_XRAY_SAMPLING", "").strip(blank).lower()
        mode = environ.get("OTEL_XRAY_TRACING_MODE", "").strip(blank).lower()
        self._decides = sampling not in ("respect", "off", "rules") and mode != "active"
        self._somebody_decides = False
        self._second = 0

    def is_ours(self, header: TraceHeader) -> bool:
        """Whether the decision on an invocation is left to the function."""
        if header.sampled == "1":
            self._somebody_decides = True
            return False
        return self._decides and not (header.sampled == "0" and self._somebody_decides)

    def decide(self, header: TraceHeader) -> None:
        """X-Ray's default rule: one a second, and 5 % of the others (SMP-15)."""
        second = now_ns() // 1_000_000_000
        is_first, self._second = second != self._second, second
        header.sampled = "1" if is_first or header.trace_id[12:] < self.FIVE_PERCENT else "0"
