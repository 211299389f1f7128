"""HTTP calls through urllib3, which is also what requests uses.

Called by the import hook. Requests come in and go out with the trace's headers, spans go to the recorder.
"""

from __future__ import annotations

from _otel_xray_agent.libraries.calls import Calls
from _otel_xray_agent.libraries.http import answered, describe, full_url, is_told_already

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.libraries.calls import Call
    from _otel_xray_agent.record import Recorder


def patch(module: ModuleType, recorder: Recorder) -> None:
    def urlopen(call: Call) -> str:
        """Retries and redirects come through here again, inside the first call's span."""
        pool, method = call.arguments[0], str(call.given(1, "method"))
        describe(call.span, method, pool.scheme, pool.host, pool.port, str(call.given(2, "url")))
        return method

    def carry(call: Call) -> None:
        if call.is_nested and is_told_already(call.span):
            return
        from _otel_xray_agent.libraries.http.propagation import with_trace

        pool, headers, url = call.arguments[0], call.given(4, "headers"), call.span.attributes.get("url.full")
        if call.is_nested:
            url = full_url(pool.scheme, pool.host, pool.port, str(call.given(2, "url")))
        call.give(4, "headers", with_trace(pool.headers if headers is None else headers, recorder, call.span, url))

    def tell(call: Call, response: Any, error: BaseException | None) -> bool:
        if error is not None:
            return False
        below = getattr(response, "_original_response", None)
        return answered(recorder, call.span, below, getattr(response, "status", None))

    Calls(recorder, "urllib3", "an HTTP call").record(module.HTTPConnectionPool, "urlopen", urlopen, tell, carry)
