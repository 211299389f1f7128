"""Which way the arrows between the rooms of a crate run: a room names only those below it.

A room is a file or a folder of a crate's `src`. What stands behind `#[cfg(test)]` may name anything.
Run alone, it prints each arrow that runs up, each room that has no place, and each folder that has become a hall.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAX_FILES = 12
# From above to below. Rooms of one line do not know each other.
ROOMS: dict[str, list[str]] = {
    "extension/translate/src": [
        "lib",
        "late named",
        "fit",
        "compose",
        "plan",
        "document attributes",
        "masks",
        "flush",
        "sdk",
        "derive own_frames accounts function spans",
        "trace_header",
    ],
}

_TEST = re.compile(r"^#\[cfg\(test\)\]", re.MULTILINE)
_COMMENT = re.compile(r"//.*")
_ABOVE = r"\b(crate|super(?:::super)*)"
_BRACES = re.compile(_ABOVE + r"::\{([^;]*)\}\s*;")
_PATH = re.compile(_ABOVE + r"((?:::[a-z_][a-z0-9_]*)+)")


def findings(crate: Path, order: Sequence[str]) -> Iterator[str]:
    """What is wrong in a crate's `src`."""
    place = {room: floor for floor, line in enumerate(order) for room in line.split()}
    for file in sorted(crate.rglob("*.rs")):
        parts = file.relative_to(crate).with_suffix("").parts
        room = parts[0]
        if "tests" in parts:
            continue
        if room not in place:
            yield f"{file}: `{room}` is in no line of ROOMS in layer-build/rooms.py; give it a place"
            continue
        for line, named in _named(file, parts):
            if named in place and named != room and place[named] <= place[room]:
                yield f"{file}:{line}: {room} names {named}, which is not below it; move what is named, or hand it in"
    for folder in [crate, *(path for path in crate.rglob("*") if path.is_dir())]:
        files = [file.name for file in folder.glob("*.rs") if file.name != "tests.rs"]
        if len(files) > MAX_FILES:
            yield f"{folder}: {len(files)} files; give some of them a room"


def _named(file: Path, parts: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """The rooms that a file names outside of its tests, with the line."""
    text = file.read_text()
    test = _TEST.search(text)
    text = _COMMENT.sub("", text[: test.start()] if test else text)
    # `mod.rs` is its folder; `super` of a file is the folder it is in.
    module = parts[:-1] if parts[-1] in ("mod", "lib") else parts
    for found in _PATH.finditer(text):
        above, below = found.group(1), tuple(found.group(2).strip(":").split("::"))
        if room := _room(module, above, below):
            yield text.count("\n", 0, found.start()) + 1, room
    for found in _BRACES.finditer(text):
        for name in re.split(r"[,{}]", found.group(2)):
            if room := _room(module, found.group(1), (name.strip().split("::")[0],)):
                yield text.count("\n", 0, found.start()) + 1, room


def _room(module: tuple[str, ...], above: str, below: tuple[str, ...]) -> str | None:
    """The room that a path leads to, none where it leads to the crate itself."""
    start = () if above == "crate" else module[: len(module) - above.count("super")]
    path = [name for name in (*start, *below) if name]
    return path[0] if path else None


def main() -> int:
    wrong = [finding for crate, order in ROOMS.items() for finding in findings(ROOT / crate, order)]
    for finding in wrong:
        print(finding, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
