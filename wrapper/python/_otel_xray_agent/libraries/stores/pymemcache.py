"""memcached through pymemcache: each command of its clients, pooled and hashed ones too, goes by three methods."""

from __future__ import annotations

from _otel_xray_agent.libraries.calls import Calls
from _otel_xray_agent.libraries.stores import describe, fail, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.libraries.calls import Call
    from _otel_xray_agent.record import Recorder

_OF_ONE_KEY = frozenset(("incr", "decr", "delete", "touch"))


def patch(module: ModuleType, recorder: Recorder) -> None:
    def fetch(call: Call) -> str:
        keys = call.given(2, "keys")
        # What can be gone through once is the library's.
        return _describe(call, call.given(1, "name"), list(keys) if isinstance(keys, (list, tuple, set, dict)) else [])

    def store(call: Call) -> str:
        values = call.given(2, "values")
        return _describe(call, call.given(1, "name"), list(values))

    def other(call: Call) -> str:
        name, commands = shown(call.given(2, "cmd_name")), call.given(1, "cmds")
        return _describe(call, name, _keys(commands) if name in _OF_ONE_KEY else [])

    def tell(call: Call, result: Any, error: BaseException | None) -> bool:
        if error is not None:
            fail(call.span, type(error).__name__)
        return False

    calls = Calls(recorder, "pymemcache", "a memcached call")
    for name, about in (("_fetch_cmd", fetch), ("_store_cmd", store), ("_misc_cmd", other)):
        calls.record(module.Client, name, about, tell)


def _keys(commands: Any) -> list[Any]:
    """The second word of each."""
    return [one.split(None, 2)[1] for one in commands if isinstance(one, bytes) and len(one.split(None, 2)) > 1]


def _describe(call: Call, command: Any, keys: list[Any]) -> str:
    name = shown(command)
    server = call.arguments[0].server
    host, port = server[:2] if isinstance(server, tuple) else (server, None)
    describe(call.span, "memcached", name, host, port)
    call.span.attributes["db.query.text"] = f"{name} {shown(keys[0])}" if keys else name
    if len(keys) > 1:
        call.span.attributes["db.operation.batch.size"] = len(keys)
    return name
