"""What tests/prepare.sh has installed and built before the tests began."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILT = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
"""Where what is compiled here lies."""


def tool(*name: str) -> Path:
    """What `layer-build/tools.sh` prints for this tool; it has to be installed already."""
    ask = [ROOT / "layer-build" / "tools.sh", "--installed", *name]
    done = subprocess.run(ask, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def built(path: str) -> Path:
    """A file or folder that was compiled into the target folder."""
    found = BUILT / path
    assert found.exists(), f"{found} is missing: run the tests by `make`, or tests/prepare.sh before them"
    return found
