"""Starlette, and FastAPI on top of it: the path of the route that takes a request, and what becomes a 500.

Called by the import hook. The path is as it was written, of each part that is mounted in another one too.
"""

from __future__ import annotations

from _contextvars import ContextVar

from _otel_xray_agent.libraries.web.answers import could_not, note_error, note_route
from _otel_xray_agent.unseen import leave_unseen, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.record import Recorder

_mounted: ContextVar[str] = ContextVar("otel_xray_mounted", default="")
"""The paths of what the request has come through so far."""


def patch(module: ModuleType, recorder: Recorder) -> None:
    original_route, original_mount = module.Route.handle, module.Mount.handle

    async def handle_route(self: Any, scope: Any, receive: Any, send: Any) -> None:
        try:
            note_route(recorder, _mounted.get() + self.path)
        except Exception as error:  # the request comes first
            could_not("Starlette", error)
        try:
            await original_route(self, scope, receive, send)
        except BaseException as error:
            leave_unseen(error)
            raise

    async def handle_mount(self: Any, scope: Any, receive: Any, send: Any) -> None:
        token = _mounted.set(_mounted.get() + str(getattr(self, "path", "")))
        try:
            await original_mount(self, scope, receive, send)
        except BaseException as error:
            leave_unseen(error)
            raise
        finally:
            _mounted.reset(token)

    replace(module.Route, handle=handle_route)
    replace(module.Mount, handle=handle_mount)


def patch_included(module: ModuleType, recorder: Recorder) -> None:
    """FastAPI, from where a router that is included keeps its routes: what they come to is only in the scope."""
    original = vars(module.APIRoute).get("handle")
    if original is None:
        return

    async def handle(self: Any, scope: Any, receive: Any, send: Any) -> None:
        try:
            included = scope.get("fastapi", {}).get("effective_route_context")
            if included is not None and included.original_route is self:
                note_route(recorder, _mounted.get() + included.path)
        except Exception as error:  # the request comes first
            could_not("FastAPI", error)
        try:
            await original(self, scope, receive, send)
        except BaseException as error:
            leave_unseen(error)
            raise

    replace(module.APIRoute, handle=handle)


def patch_errors(module: ModuleType, recorder: Recorder) -> None:
    """It answers with a 500, and raises again for the server to log it."""
    original = module.ServerErrorMiddleware.__call__

    async def __call__(self: Any, scope: Any, receive: Any, send: Any) -> None:
        try:
            await original(self, scope, receive, send)
        except BaseException as error:
            try:
                note_error(recorder, error)
            except Exception as trouble:  # the request comes first
                could_not("Starlette", trouble)
            leave_unseen(error)
            raise

    replace(module.ServerErrorMiddleware, __call__=__call__)
