"""Redis and Valkey: commands and pipelines, of clients and of clusters. A value is never looked at.

Called by the import hook with the modules of either: one has been made of the other.
"""

from __future__ import annotations

from _otel_xray_agent.libraries.calls import Calls
from _otel_xray_agent.libraries.stores import describe, fail, shown
from _otel_xray_agent.record import trace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.libraries.calls import Call
    from _otel_xray_agent.record import Recorder

_CLIENTS = ("Redis", "Valkey", "RedisCluster", "ValkeyCluster")
_PIPELINES = ("Pipeline", "ClusterPipeline")

_WITHOUT_KEY = frozenset(
    (
        *("ACL", "AUTH", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DEBUG", "ECHO", "EVAL", "EVALSHA", "EVALSHA_RO"),
        *("EVAL_RO", "FUNCTION", "HELLO", "INFO", "LATENCY", "MIGRATE", "MODULE", "PING", "REPLICAOF", "SCRIPT"),
        *("SELECT", "SENTINEL", "SLAVEOF", "SLOWLOG"),
    )
)
"""What follows them is no key, and may be a secret."""
_OF_TWO_WORDS = frozenset(
    (
        *("ACL", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DEBUG", "FUNCTION", "LATENCY", "MEMORY", "MODULE"),
        *("OBJECT", "PUBSUB", "SCRIPT", "SENTINEL", "SLOWLOG", "XGROUP", "XINFO"),
    )
)
MAX_MARKS, MAX_COMMANDS = 16, 64
_OF_PIPELINE = " of pipeline caused error: "


def patch(module: ModuleType, recorder: Recorder) -> None:
    system = module.__name__.partition(".")[0]
    calls = Calls(recorder, system, f"a {system.capitalize()} call")

    def command(call: Call) -> str:
        name, text = _words(call.arguments[1:])
        describe(call.span, system, name, *_where(call.arguments[0]))
        call.span.attributes["db.query.text"] = text
        return name

    def pipeline(call: Call) -> str | None:
        own = call.arguments[0]
        strategy = getattr(own, "_execution_strategy", own)
        names = [_words(one)[0] for one in _queued(strategy)]
        if not names and not getattr(own, "watching", False):
            return None
        is_transaction = getattr(own, "transaction", False) is True or getattr(own, "is_transaction", False)
        is_transaction = is_transaction or getattr(own, "explicit_transaction", False)
        name = "MULTI" if is_transaction or type(strategy).__name__ == "TransactionStrategy" else "PIPELINE"
        if len(set(names)) == 1:
            name = f"{name} {names[0]}"
        describe(call.span, system, name, *_where(own))
        call.span.attributes["db.query.text"] = "; ".join(names[:MAX_COMMANDS])
        call.span.attributes["db.operation.batch.size"] = len(names)
        return name

    def tell(call: Call, result: Any, error: BaseException | None) -> bool:
        if error is None:
            return False
        message = str(error)
        _, of_pipeline, said = message.rpartition(_OF_PIPELINE)
        if any(kind.__name__ == "ResponseError" for kind in type(error).__mro__):
            word = said.partition(" ")[0]
            is_named = word.isupper() and word.isalpha()
            fail(call.span, word if is_named else "ERR" if type(error).__name__ == "ResponseError" else None)
        if not of_pipeline:
            return False
        _finish(recorder, call, error, message, f"A command{of_pipeline}{said}")
        return True

    for name in _CLIENTS:
        if name in vars(module):
            calls.record(vars(module)[name], "execute_command", command, tell)
    for name in _PIPELINES:
        if name in vars(module):
            calls.record(vars(module)[name], "execute", pipeline, tell)
            calls.record(vars(module)[name], "immediate_execute_command", command, tell)


def _words(arguments: Any) -> tuple[str, str]:
    """A command's name, and with its first key and a mark for each argument after that.

    What the caller writes as one word may be several, up to all of it.
    """
    if not arguments:
        return "", ""
    first, *rest = arguments
    words: list[Any] = [*shown(first).split(), *rest] or [""]
    name = str(words[0]).upper()
    keys = words[1:]
    if name in _WITHOUT_KEY or not keys:
        if name in _OF_TWO_WORDS and keys:
            name = f"{name} {shown(keys[0]).upper()}"
        return name, name
    if name in _OF_TWO_WORDS:
        name, keys = f"{name} {shown(keys[0]).upper()}", keys[1:]
        if not keys:
            return name, name
    return name, f"{name} {shown(keys[0])}{' ?' * min(len(keys) - 1, MAX_MARKS)}"


def _queued(strategy: Any) -> list[Any]:
    """The words of the commands that a pipeline holds."""
    for name in ("command_queue", "_command_queue", "command_stack", "_command_stack"):
        queued = getattr(strategy, name, None)
        if isinstance(queued, list):
            return [one[0] if isinstance(one, tuple) else one.args for one in queued]
    return []


def _finish(recorder: Recorder, call: Call, error: BaseException, message: str, shown: str) -> None:
    """With another message than the error's, which writes out the command and its values."""
    span = call.span
    trace.record_exception(span, error, {"exception.message": shown})
    for _, _, event in span.events or ():
        stack = event["exception.stacktrace"]
        event["exception.stacktrace"] = stack.replace(message, shown) if message in stack else shown
    trace.fail(span, error)
    span.status_message = shown
    span.attributes.setdefault("error.type", trace.type_name(error))
    recorder.finish(span, call.token)


def _where(client: Any) -> tuple[Any, Any, Any]:
    """Host, port and the number of the database, as far as they lie in the client."""
    pool = getattr(client, "connection_pool", None)
    if pool is not None:
        options = pool.connection_kwargs
        if hasattr(pool, "service_name"):
            return None, None, options.get("db", 0)
        if "path" in options:
            return options["path"], None, options.get("db", 0)
        return options.get("host", "localhost"), options.get("port", 6379), options.get("db", 0)
    # The pipeline of an asynchronous cluster holds the client.
    cluster = getattr(client, "cluster_client", None) or getattr(client, "_client", None) or client
    nodes = cluster.nodes_manager
    node = nodes.default_node or next(iter(nodes.startup_nodes.values()), None)
    return (None, None, None) if node is None else (node.host, node.port, None)
