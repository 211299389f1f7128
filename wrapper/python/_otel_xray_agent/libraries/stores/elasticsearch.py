"""Elasticsearch and OpenSearch: one call for a request and its attempts. Neither a query nor a document is recorded.

From its version 8.13 on Elasticsearch's client makes spans of its own where the function has the OpenTelemetry API.
"""

from __future__ import annotations

from _otel_xray_agent.libraries.calls import Calls
from _otel_xray_agent.libraries.stores import describe, fail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.libraries.calls import Call
    from _otel_xray_agent.record import Recorder

_OF_DOCUMENT = {"GET": "get", "HEAD": "exists", "PUT": "index", "POST": "index", "DELETE": "delete"}


def patch(module: ModuleType, recorder: Recorder) -> None:
    """Of the modules that have the base of its clients, or in older versions the transport below them."""
    library = module.__name__.partition(".")[0]
    system = "opensearch" if library == "opensearchpy" else library

    def request(call: Call) -> str | None:
        own, method, path = call.arguments[0], str(call.given(1, "method")), call.given(2, "path")
        path = str(call.given(2, "url") if path is None else path).partition("?")[0]
        if getattr(getattr(own, "_otel", None), "enabled", False):
            return None
        operation, index = call.options.get("endpoint_id") or _operation(method, path), _index(path)
        scheme, host, port = _node(getattr(own, "_transport", own))
        describe(call.span, system, operation, host, port)
        attributes = call.span.attributes
        attributes["db.collection.name"] = index
        attributes["http.request.method"] = method
        if host is not None:
            attributes["url.full"] = f"{scheme}://{host}:{port}{path}"
        return f"{operation} {index}" if index else operation

    def tell(call: Call, response: Any, error: BaseException | None) -> bool:
        meta = getattr(response if error is None else error, "meta", None)
        status = getattr(meta, "status", getattr(error, "status_code", None))
        node = getattr(meta, "node", None)
        if node is not None:
            call.span.attributes["server.address"], call.span.attributes["server.port"] = node.host, node.port
        if isinstance(status, int):
            call.span.attributes["http.response.status_code"] = status
            fail(call.span, status if error is not None else None)
        return False

    calls = Calls(recorder, system, f"an {system.capitalize()} call")
    for name in ("BaseClient", "Transport", "AsyncTransport"):
        if name in vars(module) and vars(module)[name].__module__ == module.__name__:
            calls.record(vars(module)[name], "perform_request", request, tell)


def _operation(method: str, path: str) -> str:
    parts = path.split("/")
    word = next((part[1:] for part in parts if part.startswith("_") and part != "_all"), "")
    return _OF_DOCUMENT.get(method, method) if word == "doc" else word or method


def _index(path: str) -> str | None:
    first = path.lstrip("/").partition("/")[0]
    return first if first and not first.startswith("_") else None


def _node(transport: Any) -> tuple[Any, Any, Any]:
    """Where it goes, if there is one node to choose; of several, the answer says which."""
    pool = getattr(transport, "node_pool", None)
    if pool is not None:
        nodes = [node.config for node in pool.all()]
        return (nodes[0].scheme, nodes[0].host, nodes[0].port) if len(nodes) == 1 else (None, None, None)
    hosts = getattr(transport, "hosts", None) or [{}]
    host = hosts[0]
    is_secure = host.get("use_ssl") or host.get("scheme") == "https"
    if len(hosts) > 1:
        return None, None, None
    return "https" if is_secure else "http", host.get("host", "localhost"), host.get("port", 9200)
