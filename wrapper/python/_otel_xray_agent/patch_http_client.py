"""HTTP calls through the standard library: http.client, and urllib.request on top of it."""

from __future__ import annotations

from _otel_xray_agent.patch_urllib3 import describe
from _otel_xray_agent.wire import complain, told

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.recorder import Recorder

_SPAN = "_otel_xray_span"


def patch(module: ModuleType, recorder: Recorder) -> None:
    connection = module.HTTPConnection
    original_request = connection.request
    original_getresponse = connection.getresponse
    secure = getattr(module, "HTTPSConnection", ())

    def request(
        self: Any, method: Any, url: Any, body: Any = None, headers: Any = None, *arguments: Any, **options: Any
    ) -> Any:
        begun = None
        sent = {} if headers is None else headers
        try:
            begun = recorder.call(str(method), "http.client")
            if begun is not None:
                from _otel_xray_agent.propagation import with_trace

                scheme = "https" if secure and isinstance(self, secure) else "http"
                # Behind a proxy, where the tunnel leads.
                host, port = (self._tunnel_host, self._tunnel_port) if self._tunnel_host else (self.host, self.port)
                describe(begun[0], method, scheme, host, port, str(url))
                sent = with_trace(sent, recorder, begun[0])
                recorder.announce(begun[0])
        except Exception as error:  # the call comes first
            complain("http.client", f"an HTTP call could not be recorded: {told(error)}")
        if begun is None:
            return original_request(self, method, url, body, sent, *arguments, **options)
        try:
            result = original_request(self, method, url, body, sent, *arguments, **options)
        except BaseException as error:
            recorder.finish(*begun, error)
            # Without this frame; from Python 3.11 on a bare raise adds none.
            error.__traceback__ = error.__traceback__.tb_next if error.__traceback__ else None
            raise
        # The request is out, the answer is not here: what follows belongs to the caller again.
        setattr(self, _SPAN, begun)
        return result

    def getresponse(self: Any, *arguments: Any, **options: Any) -> Any:
        begun = self.__dict__.pop(_SPAN, None)
        if begun is None:
            return original_getresponse(self, *arguments, **options)
        try:
            response = original_getresponse(self, *arguments, **options)
        except BaseException as error:
            recorder.finish(*begun, error)
            error.__traceback__ = error.__traceback__.tb_next if error.__traceback__ else None
            raise
        begun[0].attributes["http.response.status_code"] = response.status
        recorder.finish(*begun)
        return response

    connection.request = request
    connection.getresponse = getresponse
