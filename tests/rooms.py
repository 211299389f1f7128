"""Which way the arrows between the rooms of a crate run: a room names only those below it.

A room is a file or a folder in one of the folders of ROOMS. `lib` or `mod` is the folder's own file, and what it
gives a name.
What stands behind `#[cfg(test)]` may name anything.
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
    "extension/src": [
        "lib main",
        "conductor",
        "listeners",
        "export",
        "invocation",
        "lambda sampling",
        "receive",
        "received settings ledger",
        "log",
        "shown translate accounts",
    ],
    "extension/src/receive": ["mod", "agent daemon otlp telemetry", "bounds"],
    "extension/src/export": ["mod", "outlets", "xray otlp daemon", "waiting", "client", "answers pacing"],
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
        "derive own_frames accounts function spans statements",
        "trace_header",
    ],
    "local/src": ["lib main", "cli", "view services", "xray lambda"],
    "local/src/lambda": [
        "mod",
        "environment",
        "lifecycle",
        "invocation runtimes",
        "api",
        "state layer",
        "telemetry processes",
        "config",
        "event_log clock scripted_runtime",
    ],
    "local/src/services": ["mod", "server", "event_source invoke sqs_query", "sqs", "resources call", "queue"],
    "local/src/xray": ["mod", "endpoint", "traces", "document"],
}

_TEST = re.compile(r"^#\[cfg\(test\)\]", re.MULTILINE)
_COMMENT = re.compile(r"//.*|pub\(in [^)]*\)")
# A path to what is above, and the braces in which more of them end.
_PATH = re.compile(r"\b(crate|super(?:::super)*)::((?:[A-Za-z_]\w*::)*[A-Za-z_]\w*|)(?:(?:::)?\{([^;]*)\}\s*;)?")
# What a folder's own file is called: of a module, of a crate.
_OWN = ("mod", "lib")


def findings(crate: Path, order: Sequence[str], house: tuple[str, ...] = ()) -> Iterator[str]:
    """What is wrong in a crate's `src`, or in the module `house` of it."""
    folder = crate.joinpath(*house)
    place = {room: floor for floor, line in enumerate(order) for room in line.split()}
    for file in sorted(folder.rglob("*.rs")):
        parts = file.relative_to(crate).with_suffix("").parts
        room = parts[len(house)]
        if "tests" in parts:
            continue
        if room not in place:
            yield f"{file}: `{room}` is in no line of ROOMS in tests/rooms.py; give it a place"
            continue
        for line, named in _named(file, parts, house, place):
            if named in place and named != room and place[named] <= place[room]:
                yield f"{file}:{line}: {room} names {named}, which is not below it; move what is named, or hand it in"
    for hall in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        files = [file.name for file in hall.glob("*.rs") if file.name != "tests.rs"]
        if len(files) > MAX_FILES:
            yield f"{hall}: {len(files)} files; give some of them a room"


def _named(
    file: Path, parts: tuple[str, ...], house: tuple[str, ...], place: dict[str, int]
) -> Iterator[tuple[int, str]]:
    """The rooms that a file names outside of its tests, with the line."""
    text = file.read_text()
    test = _TEST.search(text)
    text = _COMMENT.sub("", text[: test.start()] if test else text)
    # `mod.rs` is its folder; `super` of a file is the folder it is in.
    module = parts[:-1] if parts[-1] in ("mod", "lib") else parts
    for found in _PATH.finditer(text):
        names = [tuple(found.group(2).strip(":").split("::"))]
        if names == [("",)]:
            names = [(name,) for name in _firsts(found.group(3) or "")]
        for below in names:
            start = () if found.group(1) == "crate" else module[: len(module) - found.group(1).count("super")]
            path = (*start, *below)
            if path[: len(house)] == house:
                room = path[len(house)] if len(path) > len(house) else ""
                yield text.count("\n", 0, found.start()) + 1, room if room in place else _OWN[not house]


def _firsts(braces: str) -> Iterator[str]:
    """What stands first in each part of `{a::b, c::{d, e}}`."""
    depth, name = 0, ""
    for character in braces + ",":
        if character == "," and depth == 0:
            yield name.strip().split("::")[0].split(" ")[0]
            name = ""
        elif character in "{}":
            depth += 1 if character == "{" else -1
        else:
            name += character


def main() -> int:
    wrong = []
    for folder, order in ROOMS.items():
        crate, _, house = folder.partition("/src/")
        source = crate if crate.endswith("/src") else f"{crate}/src"
        wrong += findings(ROOT / source, order, tuple(house.split("/")) if house else ())
    for finding in wrong:
        print(finding, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
