"""Builds a layer of small, known content."""

from __future__ import annotations

import struct
from pathlib import Path

import assemble
import elf


def elf_file(machine: int = 62, interpreter: str = "", glibc: str = "", pie: bool = False, padding: int = 0) -> bytes:
    """An ELF file of headers only; with a glibc version, its dynamic section asks for that version."""
    strings = b"\0libc.so.6\0" + glibc.encode() + b"\0"
    interp = interpreter.encode() + b"\0"
    base = 64 + 56 * 3
    interp_at, strings_at = base, base + len(interp)
    need_at = strings_at + len(strings)
    need = struct.pack("<HHIII", 1, 1, 1, 16, 0) + struct.pack("<IHHII", 0, 0, 2, 11, 0)
    dynamic_at = need_at + len(need)
    tags = [(elf.DT_STRTAB, strings_at), (elf.DT_VERNEED, need_at), (elf.DT_VERNEEDNUM, 1)] if glibc else []
    dynamic = b"".join(struct.pack("<QQ", *tag) for tag in [*tags, (0, 0)])
    total = dynamic_at + len(dynamic)
    headers = [struct.pack("<IIQQQQQQ", elf.PT_LOAD, 5, 0, 0, 0, total, total, 4096)]
    if interpreter:
        at, size = interp_at, len(interp)
        headers.append(struct.pack("<IIQQQQQQ", elf.PT_INTERP, 4, at, at, at, size, size, 1))
    if glibc or pie:
        at, size = dynamic_at, len(dynamic)
        headers.append(struct.pack("<IIQQQQQQ", elf.PT_DYNAMIC, 6, at, at, at, size, size, 8))
    head = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    head += struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, 0, 64, 0, 0, 64, 56, len(headers), 0, 0, 0)
    return (head + b"".join(headers)).ljust(base, b"\0") + interp + strings + need + dynamic + bytes(padding)


def lay_out(sources: Path, stage: Path, interpreters: dict[str, Path]) -> Path:
    built = assemble.Built(sources / "extension", sources / "launcher", sources / "nodejs")
    assemble.lay_out(built, sources / "wrapper", sources / "LICENSE", stage, interpreters)
    return stage
