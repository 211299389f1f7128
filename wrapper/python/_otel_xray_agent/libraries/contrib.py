"""OpenTelemetry's own instrumentations, those among the function's packages that it names. Their spans go where every
span of the OpenTelemetry API goes: to this agent, or to the SDK that the function registers. Called at the start."""

from __future__ import annotations

from _otel_xray_agent.record.wire import complain, told

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

GROUP = "opentelemetry_instrumentor"
"""Entry points by which instrumentations are found."""


def load(names: Iterable[str]) -> None:
    """Names as in ``opentelemetry-instrumentation-NAME``, or of the entry point."""
    from importlib.metadata import entry_points

    found: Any = entry_points()
    # Before Python 3.10 they were a dictionary.
    points = found.select(group=GROUP) if hasattr(found, "select") else found.get(GROUP, ())
    known = {point.name.replace("_", "-"): point for point in points}
    for name in names:
        point = known.get(name.replace("_", "-"))
        if point is None:
            complain(
                name,
                f"OTEL_PYTHON_ENABLED_INSTRUMENTATIONS names {name[:80]}, and no instrumentation of that name is among "
                f"the function's packages: add opentelemetry-instrumentation-{name[:80]} to them, or remove the name",
            )
            continue
        try:
            point.load()().instrument()
        except Exception as error:  # the function comes first
            complain(name, f"the instrumentation {name[:80]} could not be started: {told(error)}")
