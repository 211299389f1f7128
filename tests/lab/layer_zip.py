"""The built layer: where its zips are, and what Lambda makes of one below /opt."""

from __future__ import annotations

import os
import platform
import zipfile
from pathlib import Path

import check

ROOT = Path(__file__).resolve().parents[2]
HOST_ARCH = {"x86_64": "x86_64", "aarch64": "arm64"}[platform.machine()]
"""This machine's architecture, by its name on Lambda."""


def zip_for(arch: str) -> Path:
    """The layer's zip for an architecture; OTEL_XRAY_DIST names another folder than dist/."""
    archive = Path(os.environ.get("OTEL_XRAY_DIST", ROOT / "dist")) / f"otel-xray-{arch}.zip"
    assert archive.is_file(), f"{archive} is missing: run `make layers`"
    return archive


def unpack(archive: Path, opt: Path) -> Path:
    """Unpacks a zip as Lambda does: with the modes that its entries carry."""
    with zipfile.ZipFile(archive) as source:
        infos = source.infolist()
        check.unpack(infos, {info.filename: source.read(info) for info in infos}, opt)
    return opt
