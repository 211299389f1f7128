"""The entry point of the managed Python runtime, with this machine's paths."""

from __future__ import annotations

import os
import site
import sys

OPT = "{{OPT}}"


def set_module_path() -> None:
    """Task root first; the layer's Python folders only while PYTHONPATH is unset."""
    task_root = os.environ["LAMBDA_TASK_ROOT"]
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    layer_folders = [f"{OPT}/python/lib/{version}/site-packages", f"{OPT}/python"]
    folders = [task_root]
    if "PYTHONPATH" not in os.environ:
        folders += layer_folders
        os.environ["PYTHONPATH"] = os.environ["LAMBDA_RUNTIME_DIR"]
    sys.path[:0] = folders
    for folder in folders:
        site.addsitedir(folder)


def main() -> None:
    # The task root and the layer are read-only on Lambda: no byte code is ever written there.
    sys.dont_write_bytecode = True
    set_module_path()
    from awslambdaric import __main__ as client

    client.main([sys.argv[0], os.environ["_HANDLER"]])


if __name__ == "__main__":
    main()
