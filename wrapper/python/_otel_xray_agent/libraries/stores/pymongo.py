"""MongoDB through pymongo, and through motor, which runs it in threads. A command is never recorded.

An operation is a call, with the wait for a server and a second attempt. What it asked of whom, a listener says.
"""

from __future__ import annotations

from _otel_xray_agent.libraries.calls import Calls
from _otel_xray_agent.libraries.stores import describe, fail
from _otel_xray_agent.record.wire import complain, told

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.libraries.calls import Call
    from _otel_xray_agent.record import Recorder

_SEAMS = ("_retry_internal", "_retryable_read")


def listen(module: ModuleType, recorder: Recorder) -> None:
    """Of ``pymongo.monitoring``: clients take the listeners over when they are made."""

    class Listener(module.CommandListener):  # type: ignore[misc, name-defined]
        def started(self, event: Any) -> None:
            try:
                span = recorder.current()
                if span is not None and span.attributes.get("db.system.name") == "mongodb" and not span.end_ns:
                    _name(span, event)
            except Exception as error:  # the call comes first
                complain("pymongo", f"a MongoDB call could not be recorded: {told(error)}")

        def succeeded(self, event: Any) -> None:
            pass

        def failed(self, event: Any) -> None:
            pass

    module._LISTENERS.command_listeners.append(Listener())


def patch(module: ModuleType, recorder: Recorder) -> None:
    """Of the modules that have its clients."""

    def operation(call: Call) -> str:
        name = _operation(call)
        describe(call.span, "mongodb", name, *_where(call.arguments[0]))
        return name

    def tell(call: Call, result: Any, error: BaseException | None) -> bool:
        if error is not None:
            fail(call.span, getattr(error, "code", None))
        return False

    def connect(call: Call) -> str | None:
        """The first session waits for a server, in versions that ask one whether it has sessions."""
        topology = call.arguments[0]._topology
        if not hasattr(topology, "_check_session_support") or topology.description.has_known_servers:
            return None
        describe(call.span, "mongodb", "connect", *_where(call.arguments[0]))
        return "connect"

    def connected(call: Call, result: Any, error: BaseException | None) -> bool:
        if type(error).__name__ != "ConfigurationError":
            return False
        # It has said that it has none, and is asked without.
        recorder.finish(call.span, call.token)
        return True

    calls = Calls(recorder, "pymongo", "a MongoDB call")
    for client in ("MongoClient", "AsyncMongoClient"):
        if client in vars(module):
            for name in _SEAMS:
                calls.record(vars(module)[client], name, operation, tell)
            calls.record(vars(module)[client], "_get_server_session", connect, connected)


def _operation(call: Call) -> str:
    """By its name, or the first text that is given: signatures differ. Old versions tell only the listener."""
    found = call.options.get("operation")
    if found is None:
        found = next((one for one in call.arguments if isinstance(one, str)), "mongodb")
    return str(getattr(found, "value", found))


def _where(client: Any) -> tuple[Any, Any]:
    """The node, where there is one to choose."""
    settings = getattr(client, "_topology_settings", None)
    seeds = list(getattr(settings, "seeds", ()))
    return seeds[0][:2] if len(seeds) == 1 else (None, None)


def _name(span: Any, event: Any) -> None:
    command = event.command_name
    about = event.command.get("collection" if command == "getMore" else command)
    collection = about if isinstance(about, str) else None
    describe(span, "mongodb", command, *event.connection_id[:2], event.database_name)
    span.attributes["db.collection.name"] = collection
    span.name = f"{command} {collection}" if collection else command
