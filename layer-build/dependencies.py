"""Fails when the extension's dependencies hold a second TLS or HTTP stack, or one with a slow start (B-1).

cargo tree --edges normal --target all --prefix none --package otel-xray | python3 layer-build/dependencies.py
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable

UNWANTED = {
    r"aws-lc-(rs|sys|fips-sys) v.*": "its first random byte costs 22 ms of CPU, and it adds 2 MB",
    r"hyper v0\.14\..*": "the AWS SDK's legacy HTTP stack, beside hyper 1",
    r"h2 v0\.3\..*": "the AWS SDK's legacy HTTP stack, beside hyper 1",
    r"rustls v0\.21\..*": "the AWS SDK's legacy TLS stack, beside rustls 0.23",
}


def unwanted(tree: Iterable[str]) -> list[str]:
    """A sentence for each dependency that must not be there."""
    packages = sorted({line.strip() for line in tree if line.strip()})
    return [
        f"{package} is in the extension: {reason}; turn off the default features that bring it"
        for package in packages
        for pattern, reason in UNWANTED.items()
        if re.fullmatch(pattern, package)
    ]


def main() -> int:
    tree = sys.stdin.read().splitlines()
    if not any(line.startswith("otel-xray v") for line in tree):
        print("dependencies: standard input is not the extension's cargo tree", file=sys.stderr)
        return 1
    found = unwanted(tree)
    for line in found:
        print(f"dependencies: {line}", file=sys.stderr)
    if not found:
        print(f"dependencies: ok, {len(set(tree))} packages")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
