"""AWS's own Runtime Interface Emulator with a layer, a function and an X-Ray endpoint, in namespaces of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import layer_zip
import local_lambda
from installed import tool
from servers import BOUND_S

TRACE_HEADER = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
INSIDE = Path(__file__).with_name("inside.py")
ENDINGS = str(Path(__file__).with_name("endings"))
"""A function that ends as its event says."""


@dataclass
class Run:
    """What to run. `layer` is a folder that becomes /opt; without one /opt is empty."""

    layer: str = ""
    wrapper: str = ""
    events: list[Any] = field(default_factory=list)
    function: str = str(local_lambda.DEMO)
    trace_header: str = TRACE_HEADER
    timeout_s: int = 30
    managed: int = 0
    """As a managed instance with so many invocations at once, which needs root. 0: the standard mode."""
    variables: dict[str, str] = field(default_factory=dict)
    """More of the function's environment."""


def emulate(run: Run) -> dict[str, Any]:
    """Runs it from cold start to shutdown; see inside.py for what comes back."""
    said = {**asdict(run), "emulator": str(tool("rie")), "python": local_lambda.runtime_python()}
    lab = Path(local_lambda.__file__).parent
    done = subprocess.run(
        # Managed instances run as another user, whom only root can become.
        ["unshare", "-mn" if run.managed else "-rmn", sys.executable, INSIDE],
        input=json.dumps(said),
        env={**os.environ, "PYTHONPATH": f"{lab}:{layer_zip.ROOT / 'layer-build'}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=5 * BOUND_S,
    )
    assert done.returncode == 0, f"exit {done.returncode}: {done.stdout}{done.stderr}"
    return json.loads(done.stdout)
