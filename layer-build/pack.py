"""Writes a folder as a zip whose bytes depend on nothing but the files' paths, modes and contents."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import plan

TIME = (1980, 1, 1, 0, 0, 0)
UNIX = 3


def pack(tree: Path, archive: Path, wanted: Callable[[str], bool] = lambda _path: True) -> None:
    """Packs the wanted files of a tree, and the folders that hold them, in sorted order."""
    files = sorted(path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file())
    files = [path for path in files if wanted(path)]
    folders = {f"{parent.as_posix()}/" for path in files for parent in Path(path).parents if parent != Path()}
    archive.parent.mkdir(parents=True, exist_ok=True)
    partial = archive.with_name(archive.name + ".partial")
    with zipfile.ZipFile(partial, "w") as target:
        for path in sorted([*files, *folders]):
            content = b"" if path.endswith("/") else (tree / path).read_bytes()
            target.writestr(_info(tree, path), content, compresslevel=9)
    partial.replace(archive)


def _info(tree: Path, path: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(path, TIME)
    # Modes are only kept by entries that say they were made on Unix.
    info.create_system = UNIX
    if path.endswith("/"):
        info.external_attr = (stat.S_IFDIR | plan.DIRECTORY_MODE) << 16 | 0x10
    else:
        info.external_attr = (stat.S_IFREG | stat.S_IMODE((tree / path).stat().st_mode)) << 16
        info.compress_type = zipfile.ZIP_DEFLATED
    return info
