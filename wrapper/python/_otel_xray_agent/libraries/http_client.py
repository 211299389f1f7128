"""HTTP calls through the standard library: http.client, and urllib.request on top of it.

Called by the import hook. Requests come in and go out with the trace's headers, spans go to the recorder.
"""

from __future__ import annotations

import os

from _otel_xray_agent.libraries.http_call import answered, describe, follow
from _otel_xray_agent.record.wire import complain, told
from _otel_xray_agent.unseen import leave_unseen, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.record import Recorder

_SENT = "_otel_xray_sent"
"""On a connection: the span of the request whose answer nobody has asked for yet."""


def patch(module: ModuleType, recorder: Recorder) -> None:
    connection = module.HTTPConnection
    original_request = connection.request
    original_getresponse = connection.getresponse
    runtime_api = os.environ.get("AWS_LAMBDA_RUNTIME_API")
    secure = getattr(module, "HTTPSConnection", ())

    def request(
        self: Any, method: Any, url: Any, body: Any = None, headers: Any = None, *arguments: Any, **options: Any
    ) -> Any:
        begun = None
        sent = {} if headers is None else headers
        try:
            # A runtime client's own are in no invocation, whatever runs beside them.
            is_runtimes = f"{self.host}:{self.port}" == runtime_api
            begun = None if is_runtimes else recorder.call(str(method), "http.client")
            if begun is not None:
                from _otel_xray_agent.libraries.propagation import with_trace

                scheme = "https" if secure and isinstance(self, secure) else "http"
                # Behind a proxy, where the tunnel leads.
                host, port = (self._tunnel_host, self._tunnel_port) if self._tunnel_host else (self.host, self.port)
                describe(begun[0], method, scheme, host, port, str(url))
                sent = with_trace(sent, recorder, begun[0])
                recorder.announce(begun[0])
        except Exception as error:  # the call comes first
            complain("http.client", f"an HTTP call could not be recorded: {told(error)}")
        try:
            result = original_request(self, method, url, body, sent, *arguments, **options)
        except BaseException as error:
            if begun is not None:
                recorder.finish(*begun, error)
            leave_unseen(error)
            raise
        if begun is not None:
            # The request is out, the answer is not here: what follows belongs to the caller again.
            span, token = begun
            recorder.disclose(span, token)
            recorder.set_aside(span)
            try:
                # Not by the connection's own setattr, which its class may have replaced.
                self.__dict__[_SENT] = span
            except Exception as error:  # its answer is not seen, and the request is over with the handler
                complain("http.client", f"the answer of an HTTP call could not be recorded: {told(error)}")
        return result

    def getresponse(self: Any, *arguments: Any, **options: Any) -> Any:
        span = None
        try:
            span = self.__dict__.pop(_SENT, None)
            if span is not None:
                recorder.take_up(span)
        except Exception as error:  # the call comes first
            complain("http.client", f"the answer of an HTTP call could not be recorded: {told(error)}")
        try:
            response = original_getresponse(self, *arguments, **options)
        except BaseException as error:
            if span is not None:
                recorder.finish(span, None, error)
            leave_unseen(error)
            raise
        if span is not None:
            answered(recorder, span, response, getattr(response, "status", None))
        return response

    replace(connection, request=request, getresponse=getresponse)
    follow(module.HTTPResponse, recorder)
