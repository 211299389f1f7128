"""What the agent says of its own troubles."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

AGENT = Path(__file__).resolve().parents[2] / "wrapper/python/_otel_xray_agent"


def told() -> Callable[[BaseException], str]:
    spec = importlib.util.spec_from_file_location("wire", AGENT / "record" / "wire.py")
    assert spec and spec.loader
    wire = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(wire)
    return wire.told  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "fails",
    [lambda: int("SECRET"), lambda: {}["SECRET"], lambda: "SECRET\ud800".encode(), lambda: json.loads('"SECRET')],
)
def test_a_message_that_may_quote_the_functions_values_is_not_said(fails: Callable[[], Any]) -> None:
    try:
        fails()
    except Exception as error:
        said = told()(error)
        assert said.startswith(f"{type(error).__name__} in "), said
        assert "SECRET" not in said
    else:
        pytest.fail("it has to fail")


def test_what_quotes_nothing_is_said_whole() -> None:
    assert told()(AttributeError("module has no attribute 'x'")) == "AttributeError(\"module has no attribute 'x'\")"
    assert told()(ValueError("never raised")) == "ValueError"
