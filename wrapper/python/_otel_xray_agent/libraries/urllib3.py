"""HTTP calls through urllib3, which is also what requests uses.

Called by the import hook. Requests come in and go out with the trace's headers, spans go to the recorder.
"""

from __future__ import annotations

from _otel_xray_agent.libraries.http_call import answered, describe
from _otel_xray_agent.record.wire import complain, told
from _otel_xray_agent.unseen import leave_unseen, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.record import Recorder


def patch(module: ModuleType, recorder: Recorder) -> None:
    original = module.HTTPConnectionPool.urlopen

    def urlopen(
        self: Any, method: Any, url: Any, body: Any = None, headers: Any = None, *arguments: Any, **options: Any
    ) -> Any:
        begun = None
        sent = headers
        try:
            # Retries and redirects come through here again, inside the first call's span.
            begun = recorder.call(str(method), "urllib3")
            if begun is not None:
                from _otel_xray_agent.libraries.propagation import with_trace

                describe(begun[0], method, self.scheme, self.host, self.port, str(url))
                sent = with_trace(self.headers if headers is None else headers, recorder, begun[0])
                recorder.announce(begun[0])
        except Exception as error:  # the call comes first
            complain("urllib3", f"an HTTP call could not be recorded: {told(error)}")
            sent = headers
        try:
            response = original(self, method, url, body, sent, *arguments, **options)
        except BaseException as error:
            if begun is not None:
                recorder.finish(*begun, error)
            leave_unseen(error)
            raise
        if begun is not None:
            recorder.disclose(*begun)
            below = getattr(response, "_original_response", None)
            answered(recorder, begun[0], below, getattr(response, "status", None))
        return response

    replace(module.HTTPConnectionPool, urlopen=urlopen)
