"""Writes inputs/rules: the hand-written inputs, one or more for each rule MAP-1 to MAP-69."""

from __future__ import annotations

import otlp
from rules import attributes, cause, facts, http, place


def main() -> None:
    requests = {}
    for module in (place, http, cause, facts, attributes):
        for name, (spans, resource) in module.CASES.items():
            requests[name] = otlp.request(name, spans, resource)
    otlp.write("rules", requests)


if __name__ == "__main__":
    main()
