"""Flask: the rule that a request has matched, and what it answers with a 500. Called by the import hook."""

from __future__ import annotations

from _otel_xray_agent.libraries.web.answers import could_not, note_error, note_route
from _otel_xray_agent.unseen import replace, unseen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.record import Recorder


def patch(module: ModuleType, recorder: Recorder) -> None:
    original_dispatch, original_handle = module.Flask.dispatch_request, module.Flask.handle_exception

    def dispatch_request(self: Any, *context: Any) -> Any:
        try:
            # Newer ones hand over the context that older ones look up.
            request = context[0].request if context else module.request
            note_route(recorder, getattr(request.url_rule, "rule", None))
        except Exception as error:  # the request comes first
            could_not("Flask", error)
        return original_dispatch(self, *context)

    def handle_exception(self: Any, *given: Any) -> Any:
        try:
            note_error(recorder, given[-1])
        except Exception as error:  # the request comes first
            could_not("Flask", error)
        return original_handle(self, *given)

    replace(module.Flask, dispatch_request=unseen(dispatch_request), handle_exception=unseen(handle_exception))
