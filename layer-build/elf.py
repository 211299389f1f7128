"""Reads from an ELF file what decides whether Lambda can start it."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
DT_STRTAB, DT_VERNEED, DT_VERNEEDNUM = 5, 0x6FFFFFFE, 0x6FFFFFFF


class NotElf(ValueError):
    """The bytes are no 64-bit little-endian ELF file."""


@dataclass(frozen=True)
class Elf:
    machine: int
    interpreter: str | None
    dynamic: bool
    glibc: tuple[int, ...] | None
    """The highest GLIBC version any symbol asks for; None where none does."""


@dataclass(frozen=True)
class _Segment:
    kind: int
    offset: int
    address: int
    size: int


def read(data: bytes) -> Elf:
    """Parses the headers; raises NotElf for anything that is cut short or of another kind."""
    try:
        return _read(data)
    except struct.error as error:
        raise NotElf(f"ELF headers are cut short: {error}") from error


def _read(data: bytes) -> Elf:
    if data[:6] != b"\x7fELF\x02\x01":
        raise NotElf("not a 64-bit little-endian ELF file")
    (machine,) = struct.unpack_from("<H", data, 18)
    (table,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    segments = []
    for index in range(count):
        kind, _, offset, address, _, file_size = struct.unpack_from("<IIQQQQ", data, table + index * size)
        segments.append(_Segment(kind, offset, address, file_size))
    interpreter = None
    glibc = None
    for segment in segments:
        if segment.kind == PT_INTERP:
            interpreter = data[segment.offset : segment.offset + segment.size].rstrip(b"\0").decode()
        if segment.kind == PT_DYNAMIC:
            glibc = _glibc(data, segment, segments)
    return Elf(machine, interpreter, any(segment.kind == PT_DYNAMIC for segment in segments), glibc)


def _glibc(data: bytes, dynamic: _Segment, segments: list[_Segment]) -> tuple[int, ...] | None:
    tags = dict(struct.iter_unpack("<QQ", data[dynamic.offset : dynamic.offset + dynamic.size]))
    if DT_VERNEED not in tags:
        return None
    strings = _offset(tags[DT_STRTAB], segments)
    need = _offset(tags[DT_VERNEED], segments)
    versions = []
    for _ in range(tags[DT_VERNEEDNUM]):
        _, count, _, first, following = struct.unpack_from("<HHIII", data, need)
        auxiliary = need + first
        for _ in range(count):
            _, _, _, name, step = struct.unpack_from("<IHHII", data, auxiliary)
            text = data[strings + name : data.index(b"\0", strings + name)].decode()
            if match := re.fullmatch(r"GLIBC_([0-9.]+)", text):
                versions.append(tuple(int(part) for part in match.group(1).split(".")))
            auxiliary += step
        need += following
    return max(versions, default=None)


def _offset(address: int, segments: list[_Segment]) -> int:
    for segment in segments:
        if segment.kind == PT_LOAD and segment.address <= address < segment.address + segment.size:
            return address - segment.address + segment.offset
    raise NotElf(f"address {address:#x} is in no loaded segment")
