"""HTTP calls through the standard library: http.client, and urllib.request on top of it.

Called by the import hook. Requests come in and go out with the trace's headers, spans go to the recorder.
"""

from __future__ import annotations

import os

from _otel_xray_agent.libraries.calls import Calls
from _otel_xray_agent.libraries.http import answered, describe, follow

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

    def request(call: Call) -> str | None:
        connection, method, headers = call.arguments[0], str(call.given(1, "method")), call.given(4, "headers")
        # A runtime client's own are in no invocation, whatever runs beside them.
        if f"{connection.host}:{connection.port}" == runtime_api:
            return None
        from _otel_xray_agent.libraries.http.propagation import with_trace

        scheme = "https" if secure and isinstance(connection, secure) else "http"
        # Behind a proxy, where the tunnel leads.
        tunnel = connection._tunnel_host
        host, port = (tunnel, connection._tunnel_port) if tunnel else (connection.host, connection.port)
        describe(call.span, method, scheme, host, port, str(call.given(2, "url")))
        call.give(4, "headers", with_trace({} if headers is None else headers, recorder, call.span))
        return method

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

    calls.record(module.HTTPConnection, "request", request, sent)
    calls.stand_in(module.HTTPConnection, "getresponse", calls.resumes(_sent), calls.ends(answer))
    follow(module.HTTPResponse, recorder)


def _sent(connection: Any) -> Span | None:
    span: Span | None = connection.__dict__.pop(_SENT, None)
    return span
