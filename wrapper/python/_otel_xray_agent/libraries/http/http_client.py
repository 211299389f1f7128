"""HTTP calls through the standard library: http.client, and urllib.request on top of it.

Called by the import hook. Requests come in and go out with the trace's headers, spans go to the recorder.
"""

from __future__ import annotations

import os

from _otel_xray_agent.libraries.calls import Calls
from _otel_xray_agent.libraries.http import answered, describe, follow, full_url, is_told_already

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.libraries.calls import Call
    from _otel_xray_agent.record import Recorder
    from _otel_xray_agent.record.trace import Span

_SENT = "_otel_xray_sent"
"""On a connection: the span of the request whose answer nobody has asked for yet."""


def patch(module: ModuleType, recorder: Recorder) -> None:
    calls = Calls(recorder, "http.client", "an HTTP call")
    runtime_api = os.environ.get("AWS_LAMBDA_RUNTIME_API")
    secure = getattr(module, "HTTPSConnection", ())

    def place(connection: Any) -> tuple[str, str, int]:
        """Scheme, host and port. Behind a proxy, where the tunnel leads."""
        scheme = "https" if secure and isinstance(connection, secure) else "http"
        tunnel = connection._tunnel_host
        return (scheme, tunnel, connection._tunnel_port) if tunnel else (scheme, connection.host, connection.port)

    def request(call: Call) -> str | None:
        connection, method = call.arguments[0], str(call.given(1, "method"))
        # A runtime client's own are in no invocation, whatever runs beside them.
        if f"{connection.host}:{connection.port}" == runtime_api:
            return None
        describe(call.span, method, *place(connection), str(call.given(2, "url")))
        return method

    def carry(call: Call) -> None:
        if call.is_nested and is_told_already(call.span):
            return
        from _otel_xray_agent.libraries.http.propagation import with_trace

        headers, url = call.given(4, "headers"), call.span.attributes.get("url.full")
        if call.is_nested:
            url = full_url(*place(call.arguments[0]), str(call.given(2, "url")))
        call.give(4, "headers", with_trace({} if headers is None else headers, recorder, call.span, url))

    def sent(call: Call, result: Any, error: BaseException | None) -> bool:
        """The request is out, the answer is not here: what follows belongs to the caller again."""
        if error is not None:
            return False
        recorder.set_aside(call.span)
        # Not by the connection's own setattr, which its class may have replaced.
        call.arguments[0].__dict__[_SENT] = call.span
        return True

    def answer(call: Call, response: Any, error: BaseException | None) -> bool:
        return error is None and answered(recorder, call.span, response, getattr(response, "status", None))

    calls.record(module.HTTPConnection, "request", request, sent, carry)
    calls.stand_in(module.HTTPConnection, "getresponse", calls.resumes(_sent), calls.ends(answer))
    follow(module.HTTPResponse, recorder)


def _sent(connection: Any) -> Span | None:
    span: Span | None = connection.__dict__.pop(_SENT, None)
    return span
