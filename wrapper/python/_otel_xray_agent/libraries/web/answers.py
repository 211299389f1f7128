"""What a web framework inside of the handler knows of the request: its route, and the error that became a 500.

On the handler's span, since the request is the invocation.
"""

from __future__ import annotations

from _otel_xray_agent.record.wire import complain, told

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from _otel_xray_agent.record import Recorder


def note_route(recorder: Recorder, route: Any) -> None:
    """Unless the trigger already knows a route that is more than "everything". A name that the function gives stays."""
    invocation = recorder.invocation()
    root = None if invocation is None else invocation.root
    if invocation is None or root is None or not isinstance(route, str):
        return
    method, known = root.attributes.get("http.request.method"), root.attributes.get("http.route")
    if method is None:
        return
    if known is None or str(known).endswith("+}"):
        known = root.attributes["http.route"] = route
    if root.name == invocation.name:
        root.name = f"{method} {known}"


def note_error(recorder: Recorder, error: Any) -> None:
    """Whether the invocation is a fault, its answer says."""
    if isinstance(error, BaseException):
        recorder.note_error(error)


def could_not(what: str, error: BaseException) -> None:
    complain(what, f"a route of {what} could not be recorded: {told(error)}")
