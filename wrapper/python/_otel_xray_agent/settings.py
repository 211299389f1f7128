"""Settings as the extension reads them (extension/src/settings), with its defaults.

Read where one of them is set. ``tests/settings.json`` holds the agent to the extension.
"""

from __future__ import annotations

import _socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

BLANK = " \t\n\f\r"
DEFAULT_SOCKET = "otel-xray"
DEFAULT_DAEMON = "127.0.0.1:2000"
LOG_TRACE_IDS = "OTEL_XRAY_LOG_TRACE_IDS"
OWN = ("opentelemetry", "threading")
"""What the function itself records joins in unless it is turned off by name."""


def is_on(setting: str) -> bool | None:
    """A switch that is off by default; None where it cannot be understood."""
    said = setting.strip(BLANK).lower()
    if said in ("true", "1", "yes", "on"):
        return True
    return False if said in ("", "false", "0", "no", "off") else None


def collector(setting: str) -> tuple[bool | None, bool]:
    """Whether the garbage collector is held back, None for the agent to choose; and whether that can be understood."""
    if setting.strip(BLANK).lower() in ("", "auto"):
        return None, True
    choice = is_on(setting)
    return choice, choice is not None


def chosen(
    environ: Mapping[str, str], known: set[str], quiet: set[str], complain: Callable[[str, str], None]
) -> tuple[set[str], list[str]]:
    """Which of the agent's instrumentations are off, and those that are on by a name that the agent does not know.

    A list of those that are on turns all others off; a list of those that are off counts for more.
    """
    on, off = (_names(environ.get(f"OTEL_PYTHON_{kind}_INSTRUMENTATIONS", "")) for kind in ("ENABLED", "DISABLED"))
    said = environ.get(LOG_TRACE_IDS, "")
    logs = is_on(said)
    if logs is None:
        complain(
            LOG_TRACE_IDS,
            f"{LOG_TRACE_IDS}={said[:40]!r} is not understood: set it to true or false; using the default (false)",
        )

    def is_wanted(name: str) -> bool:
        if name in quiet:
            return logs is True or name in on
        return not on or name in OWN or name in on

    if "*" in off:
        return known, []
    return {name for name in known if name in off or not is_wanted(name)}, [
        name for name in on if name not in known and name not in off
    ]


def _names(listed: str) -> list[str]:
    return [name for name in (name.strip() for name in listed.split(",")) if name]


def agent_socket(setting: str) -> str:
    """The name of the abstract socket. It never makes a path."""
    name = setting.strip(BLANK)
    letters = name.replace(".", "a").replace("_", "a").replace("-", "a")
    return name if len(name) <= 100 and letters.isascii() and letters.isalnum() else DEFAULT_SOCKET


def daemon(setting: str) -> tuple[str, int] | None:
    """Where the extension stands in for the X-Ray daemon. None where it does not, and at an address of IPv6."""
    said = setting.strip(BLANK)
    if said.lower() == "off":
        return None
    host, _, port = said.rpartition(":")
    if host == "localhost":
        host = "127.0.0.1"
    number = int(port.lstrip("0")[:6] or 0) if port.isascii() and port.isdecimal() else -1
    packed = _packed(host) if 0 <= number <= 0xFFFF else b""
    if packed == bytes(15) + b"\1":
        return None
    return (host, number) if packed.startswith(b"\x7f") else daemon(DEFAULT_DAEMON)


def _packed(host: str) -> bytes:
    try:
        if host.startswith("[") and host.endswith("]"):
            return _socket.inet_pton(_socket.AF_INET6, host[1:-1])
        return _socket.inet_pton(_socket.AF_INET, host)
    except (OSError, ValueError):
        return b""
