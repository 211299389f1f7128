"""What all calls to stores of data have: which system is asked for what, and where it is."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from _otel_xray_agent.record.trace import Span

MAX_KEY = 256
"""Characters of a key that are shown."""


def describe(span: Span, system: str, operation: str, host: Any, port: Any, namespace: Any = None) -> None:
    attributes = span.attributes
    attributes["db.system.name"] = system
    attributes["db.operation.name"] = operation
    attributes["db.namespace"] = None if namespace is None else str(namespace)
    attributes["server.address"] = None if host is None else str(host)
    attributes["server.port"] = port if isinstance(port, int) else None


def fail(span: Span, code: Any) -> None:
    """What the store says is wrong, by its own name or number."""
    if code is not None:
        span.attributes["db.response.status_code"] = span.attributes["error.type"] = str(code)


def shown(key: Any) -> str:
    """A key as text."""
    return (key.decode("utf-8", "replace") if isinstance(key, (bytes, bytearray)) else str(key))[:MAX_KEY]


def first_word(query: str) -> str | None:
    """The operation of a statement that is written down."""
    words = query[:MAX_KEY].split(None, 1)
    return words[0].upper() if words else None
