"""The resolvers of AWS Lambda Powertools: the rule of a request's route, and an error that a handler of the function's
own makes a 500. Called by the import hook."""

from __future__ import annotations

from _otel_xray_agent.libraries.web.answers import could_not, note_error, note_route
from _otel_xray_agent.unseen import leave_unseen, replace, unseen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.record import Recorder


def patch(module: ModuleType, recorder: Recorder) -> None:
    resolver = module.ApiGatewayResolver
    original_call, original_answer = resolver._call_route, resolver._call_exception_handler

    def note(self: Any, route: Any) -> None:
        try:
            # For what no route takes it makes one up, of the request's own path.
            if any(one is route for one in (*self._static_routes, *self._dynamic_routes)):
                note_route(recorder, route.path)
        except Exception as error:  # the request comes first
            could_not("Powertools", error)

    def _call_route(self: Any, route: Any, *arguments: Any, **options: Any) -> Any:
        note(self, route)
        return original_call(self, route, *arguments, **options)

    def _call_exception_handler(self: Any, exp: Any, *arguments: Any, **options: Any) -> Any:
        answer = original_answer(self, exp, *arguments, **options)
        try:
            if answer is not None and answer.response.status_code >= 500:
                note_error(recorder, exp)
        except Exception as error:  # the request comes first
            could_not("Powertools", error)
        return answer

    replace(resolver, _call_route=unseen(_call_route), _call_exception_handler=unseen(_call_exception_handler))
    original_async = getattr(resolver, "_call_route_async", None)
    if original_async is None:
        return

    async def _call_route_async(self: Any, route: Any, *arguments: Any, **options: Any) -> Any:
        note(self, route)
        try:
            return await original_async(self, route, *arguments, **options)
        except BaseException as error:
            leave_unseen(error)
            raise

    replace(resolver, _call_route_async=_call_route_async)
