"""Django: the pattern that a request has matched, and what becomes a 500. Called by the import hook."""

from __future__ import annotations

from _otel_xray_agent.libraries.web.answers import could_not, note_error, note_route
from _otel_xray_agent.unseen import named_as, replace, unseen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.record import Recorder


def patch(module: ModuleType, recorder: Recorder) -> None:
    original = module.BaseHandler.resolve_request

    def resolve_request(self: Any, request: Any) -> Any:
        match = original(self, request)
        try:
            route = getattr(match, "route", None)
            if isinstance(route, str):
                note_route(recorder, "/" + route.lstrip("/"))
        except Exception as error:  # the request comes first
            could_not("Django", error)
        return match

    replace(module.BaseHandler, resolve_request=unseen(resolve_request))


def patch_errors(module: ModuleType, recorder: Recorder) -> None:
    original = module.response_for_exception

    def response_for_exception(request: Any, exc: Any) -> Any:
        response = original(request, exc)
        try:
            if response.status_code >= 500:
                note_error(recorder, exc)
        except Exception as error:  # the request comes first
            could_not("Django", error)
        return response

    module.response_for_exception = named_as(unseen(response_for_exception), original)
