"""Who is told of the trace: OTEL_XRAY_PROPAGATE, and what a request has already or is signed with.

Asked by the libraries before a request goes out: its URL and headers come in, headers with the trace go out.
"""

from __future__ import annotations

import _socket
import os

from _otel_xray_agent.record.wire import complain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from _otel_xray_agent.record import Recorder
    from _otel_xray_agent.record.trace import Span

SETTING = "OTEL_XRAY_PROPAGATE"
_BLANK = " \t\n\f\r"
_PORTS = {"http": 80, "https": 443}
_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_.*")
_IPV6 = frozenset("abcdef0123456789:.*")


class Destinations:
    """The hosts that may be told. ``unknown`` is the part of the setting that makes no sense, and all may be then."""

    def __init__(self, setting: str) -> None:
        self.unknown: str | None = None
        self._all = True
        self._listed: list[tuple[list[str], int | None]] = []
        text = setting.strip(_BLANK).lower()
        if text in ("", "all"):
            return
        if text != "none":
            for part in [part for part in (part.strip(_BLANK) for part in text.split(",")) if part] or [text]:
                pattern = _pattern(part)
                if pattern is None:
                    self.unknown = part
                    return
                self._listed.append(pattern)
        self._all = False

    @property
    def has_any(self) -> bool:
        return self._all or bool(self._listed)

    def has(self, url: str) -> bool:
        if self._all:
            return True
        if not self._listed:
            return False
        scheme, _, rest = url.partition("://")
        for end in "/?#":
            rest = rest.partition(end)[0]
        host, port = _host_and_port(rest.rpartition("@")[2].lower())
        if port is None:
            port = _PORTS.get(scheme.lower())
        return any(wanted in (None, port) and _fits(pieces, host) for pieces, wanted in self._listed)


def _pattern(part: str) -> tuple[list[str], int | None] | None:
    if part in ("all", "none"):
        return None
    host, port = _host_and_port(part)
    if port is not None and not 0 < port < 65536:
        return None
    known = (_IPV6 if ":" in host else _NAME).issuperset(host)
    if not host or not known or (":" in host and "*" not in host and _ipv6(host) is None):
        return None
    return host.split("*"), port


def _host_and_port(authority: str) -> tuple[str, int | None]:
    """The host without brackets and without the dot of the root. A port that is no number is 0."""
    host, port = authority, ""
    if authority.startswith("["):
        host, _, port = authority[1:].partition("]")
        port = port[1:] if port.startswith(":") else port and "?"
    elif authority.count(":") == 1:
        host, _, port = authority.partition(":")
        port = port or "?"
    if ":" in host:
        host = _ipv6(host) or host
    elif host.endswith("."):
        host = host[:-1]
    digits = port.isascii() and port.isdecimal() and len(port) < 6
    return host, (int(port) if digits else 0) if port else None


def _ipv6(host: str) -> str | None:
    """The one spelling of the address."""
    try:
        return _socket.inet_ntop(_socket.AF_INET6, _socket.inet_pton(_socket.AF_INET6, host))
    except (OSError, ValueError):
        return None


def _fits(pieces: list[str], host: str) -> bool:
    """Whether the host consists of the pieces, with anything between them."""
    first, *rest = pieces
    if not rest:
        return host == first
    last = rest.pop()
    if not host.startswith(first) or not host.endswith(last) or len(host) < len(first) + len(last):
        return False
    at, end = len(first), len(host) - len(last)
    for piece in rest:
        found = host.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True


_destinations: Destinations | None = None


def may_tell(url: str) -> bool:
    """Whether what is sent there may carry the trace."""
    return _read().has(url)


def may_tell_anybody() -> bool:
    """Whether a message may carry the trace. Who will receive it nobody knows yet."""
    return _read().has_any


def _read() -> Destinations:
    """The setting, with the first call."""
    global _destinations
    if _destinations is None:
        _destinations = Destinations(os.environ.get(SETTING, ""))
        if _destinations.unknown is not None:
            # A password in front of a host is nobody's business.
            shown = _destinations.unknown.rpartition("@")[2][:40]
            complain(
                SETTING,
                f'{SETTING}: "{shown}" is not understood: set it to `all`, `none`, or hosts such as `*.example.com`, '
                "comma separated; using the default (all)",
            )
    return _destinations


def with_trace(headers: Any, recorder: Recorder, span: Span, url: str) -> Any:
    """A copy of an HTTP call's headers with the trace in them, if it may be told, and if nothing has been signed."""
    copied = _copied(headers)
    if copied is None:
        return headers
    put_trace(copied, recorder, span, url)
    return copied


def put_trace(headers: Any, recorder: Recorder, span: Span, url: str) -> None:
    """The same into headers that are nobody's but the library's."""
    present = {_text(key).lower(): headers[key] for key in headers}
    if not may_tell(url) or is_signed(url, present):
        return
    for name, value in recorder.headers(span).items():
        if name.lower() not in present:
            headers[name] = value


def _copied(headers: Any) -> Any:
    """None where no copy holds all of them, as of a message of the standard library's that has a field twice."""
    if hasattr(headers, "copy"):
        return headers.copy()
    pairs = list(headers.items()) if headers else []
    copied = dict(pairs)
    return copied if len(copied) == len(pairs) else None


def is_signed(url: str, headers: dict[str, Any]) -> bool:
    """Whether a signature stands for the request as it is, in its headers (in lower case) or its URL."""
    authorization = _text(headers.get("authorization", "")).lower()
    return (
        authorization.startswith("aws")
        or "signature" in authorization
        or "signedheaders" in authorization
        or "signature" in headers
        or "signature-input" in headers
        or "signature=" in url.partition("?")[2].lower()
    )


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
