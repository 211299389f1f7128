"""The agent stands in for functions and loaders of others unseen: under their names, and in no traceback.

For whoever replaces a library's functions, and where an exception passes through the agent. Loaded with the first one.
"""

from __future__ import annotations

import functools
import sys

from _otel_xray_agent.record.trace import without_own_frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType, TracebackType
    from typing import Any


def replace(owner: Any, **functions: Any) -> None:
    """Puts functions in the place of a class's own: all of them, or none where one is refused."""
    originals = {name: getattr(owner, name) for name in functions}
    done = []
    try:
        for name, function in functions.items():
            setattr(owner, name, named_as(function, originals[name]))
            done.append(name)
    except BaseException:
        for name in done:
            setattr(owner, name, originals[name])
        raise


def named_as(function: Any, original: Any) -> Any:
    """The function under the original's name and signature, for whoever looks at it."""
    for name in ("__module__", "__name__", "__qualname__", "__doc__"):
        value = getattr(original, name, None)
        # A function in C is of no module.
        if value is not None or name in ("__module__", "__doc__"):
            setattr(function, name, value)
    function.__wrapped__ = original
    return function


def unseen(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, without a frame in the tracebacks of what it lets through."""

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        try:
            return function(*arguments, **options)
        except BaseException as error:
            leave_unseen(error)
            raise

    return call


class Loader:
    """Executes the module with its own loader, then patches it. To whoever only looks, it is that loader."""

    def __init__(self, loader: Any, patch: Callable[[ModuleType], None]) -> None:
        self._loader = loader
        self._patch = patch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    @property
    def __class__(self) -> Any:
        return type(self._loader)

    def create_module(self, spec: Any) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # The module must not see that anybody stood in between.
        spec = module.__spec__
        if spec is not None:
            spec.loader = self._loader
        module.__loader__ = self._loader
        try:
            self._loader.exec_module(module)
        except BaseException as error:
            leave_unseen(error)
            raise
        self._patch(module)


def leave_unseen(error: BaseException) -> None:
    """Takes the agent's frames out of the exception that is being handled. The caller raises it again, by a bare raise.

    Nothing is set through the exception's own attributes, which its class may refuse.
    """
    trace = without_own_frames(sys.exc_info()[2])
    BaseException.with_traceback(error, trace)
    if sys.version_info < (3, 11):
        try:
            _set_handled(error, trace)
        except Exception:  # a Python built without ctypes shows one frame more
            return


def _set_handled(error: BaseException, trace: TracebackType | None) -> None:
    """Before Python 3.11 a bare raise puts back the traceback that the exception was caught with."""
    import ctypes

    count_up = ctypes.PYFUNCTYPE(None, ctypes.py_object)(("Py_IncRef", ctypes.pythonapi))
    prototype = ctypes.PYFUNCTYPE(None, ctypes.py_object, ctypes.py_object, ctypes.py_object)
    handled = (type(error), error, trace)
    for one in handled:
        # It takes over a reference to each.
        count_up(one)
    prototype(("PyErr_SetExcInfo", ctypes.pythonapi))(*handled)
