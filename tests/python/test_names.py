"""Names: the function's own modules, and its environment, are as without the layer (P1)."""

from __future__ import annotations

import pytest
from conftest import Start

PARTS = (
    *("bootstrap", "hooks", "settings", "unseen", "libraries", "otel", "xray", "triggers", "record"),
    *("wire", "trace", "encoder", "recorder", "messages", "bridge", "tracer", "sdk", "kept"),
)
MODULES = {
    "a folder": {
        "otel_xray/__init__.py": "X = 5\n",
        "app.py": "import otel_xray\ndef handler(event, context):\n    return otel_xray.X\n",
    },
    "a module": {
        "otel_xray.py": "X = 5\n",
        "app.py": "import otel_xray\ndef handler(event, context):\n    return otel_xray.X\n",
    },
    "the handler's file": {"otel_xray.py": "def handler(event, context):\n    return 5\n"},
    "parts of the agent": {
        **{f"{name}.py": "X = 5\n" for name in PARTS},
        "app.py": f"import {', '.join(PARTS)}\ndef handler(event, context):\n    return wire.X\n",
    },
}


@pytest.mark.parametrize("kind", MODULES)
def test_a_module_of_the_functions_own_is_not_taken_for_the_agents(start: Start, kind: str) -> None:
    handler = "otel_xray.handler" if "app.py" not in MODULES[kind] else "app.handler"
    with start(MODULES[kind], handler=handler) as function:
        assert function.invoke().json == 5
        function.frames.wait_for(5, 1)
        assert [span.name for span in function.frames.ended()] == [handler]
        assert "[otel-xray]" not in function.output()


def test_without_a_module_of_the_name_there_is_none(start: Start) -> None:
    source = """
import importlib.util
def handler(event, context):
    return importlib.util.find_spec("otel_xray") is None
"""
    with start(source) as function:
        assert function.invoke().json is True


ENVIRONMENT = """
import json, os, subprocess, sys
def handler(event, context):
    inherited = subprocess.run([sys.executable, "-c", "import os; print(sorted(os.environ))"], stdout=subprocess.PIPE)
    return [
        os.environ.get("PYTHONPATH"),
        [name for name in os.environ if name.startswith("OTEL_XRAY")],
        inherited.stdout.decode(),
        [path for path in sys.path if path.endswith("/opt/python")],
    ]
"""


@pytest.mark.parametrize("path", [None, "", "/mine", "/mine:/other", ":/mine", "OPT", "/mine:OPT"])
def test_l_2_3_the_function_sees_its_own_pythonpath(start: Start, path: str | None, tmp_path: object) -> None:
    variables = {} if path is None else {"PYTHONPATH": path.replace("OPT", f"{tmp_path}/opt/python")}
    seen = []
    for layer in (False, True):
        with start(ENVIRONMENT, layer=layer, variables=variables) as function:
            seen.append(function.invoke().json)
            if layer:
                function.frames.wait_for(5, 1)
    # The launcher's own variable for another runtime is not among them.
    assert seen[0] == seen[1]
