"""Where the X-Ray SDK for Python records a library, the agent leaves it alone: one call, one node."""

from __future__ import annotations

from otel_xray import hooks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from otel_xray.recorder import Recorder


def yield_botocore(module: ModuleType, recorder: Recorder) -> None:
    _yield_when_patched(module, {"botocore"})


def yield_http(module: ModuleType, recorder: Recorder) -> None:
    _yield_when_patched(module, {"http.client", "urllib3"})


def _yield_when_patched(module: ModuleType, names: set[str]) -> None:
    original = module.patch

    def patch(*arguments: Any, **options: Any) -> Any:
        hooks.yielded |= names
        return original(*arguments, **options)

    module.patch = patch
