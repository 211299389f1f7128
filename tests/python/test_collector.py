"""The garbage collector is held back while the function loads, and the function sees none of it."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import Start
from stage import version

SETTING = "OTEL_XRAY_PYTHON_GC_FREEZE"
HELD_BACK = {"3.9", "3.11", "3.12", "3.13"}
HANDLER = "\ndef handler(event, context):\n    return look()\n"


def answered(start: Start, source: str, setting: str | None, *, layer: bool = True) -> Any:
    variables = {} if setting is None else {SETTING: setting}
    with start(source + HANDLER, variables=variables, layer=layer) as function:
        answer = function.invoke().json
        assert "[otel-xray]" not in function.output()
    return answer


# In 50,000 objects that live, any version looks.
LOADS = """
import gc
before = sum(one["collections"] for one in gc.get_stats())
kept = [[] for _ in range(50_000)]
while_loading = sum(one["collections"] for one in gc.get_stats()) - before
def look():
    return while_loading
"""


@pytest.mark.parametrize("setting", [None, "auto", "true", "false"])
def test_it_is_held_back_where_that_saves(start: Start, setting: str | None) -> None:
    is_held_back = setting == "true" or (setting != "false" and version() in HELD_BACK)
    assert answered(start, LOADS, "false", layer=False) > 0
    assert (answered(start, LOADS, setting) == 0) is is_held_back


SAME = {
    "as it is": "import gc\nseen = [gc.isenabled(), gc.get_threshold(), gc.get_debug(), len(gc.callbacks)]\n",
    "thresholds from those that are there": (
        "import gc\nallocations, one, two = gc.get_threshold()\ngc.set_threshold(allocations * 10, one * 5, two * 2)\n"
        "seen = [gc.isenabled(), gc.get_threshold()]\n"
    ),
    "one threshold": "import gc\ngc.set_threshold(50_000)\nseen = gc.get_threshold()\n",
    "no threshold": "import gc\ngc.set_threshold(0)\nseen = gc.get_threshold()\n",
    "disabled": "import gc\ngc.disable()\nseen = gc.isenabled()\n",
    "disabled for a while": (
        "import gc\nwas = gc.isenabled()\ngc.disable()\nseen = [was, gc.isenabled()]\nif was:\n    gc.enable()\n"
    ),
    "enabled": "import gc\ngc.enable()\nseen = gc.isenabled()\n",
    "taken along": (
        "from gc import get_threshold, set_threshold\nimport gc\nset_threshold(900, 8, 7)\nseen = get_threshold()\n"
        "set_threshold(901)\n"
    ),
    "taken along for later": "from gc import get_threshold, set_threshold\nimport gc\nseen = get_threshold()\n",
    "refused": (
        "import gc, traceback\n"
        "try:\n    gc.set_threshold('many')\nexcept TypeError:\n    seen = traceback.format_exc()\n"
    ),
    "whose it is": (
        "import gc\nseen = [(f.__name__, f.__qualname__, f.__module__, bool(f.__doc__))"
        " for f in (gc.get_threshold, gc.set_threshold)]\n"
    ),
    "frozen": "import gc\ngc.collect()\ngc.freeze()\nseen = gc.get_freeze_count() > 1000\n",
    "fails": "import gc\nseen = 0\n1 / 0\n",
}
LATER = """
if "get_threshold" in globals():
    later = lambda: (get_threshold(), set_threshold(902, 5, 4), get_threshold(), gc.get_threshold())
else:
    later = lambda: None
def look():
    builtin = type(len) is type(gc.set_threshold) is type(gc.get_threshold)
    return [seen, gc.isenabled(), gc.get_threshold(), gc.get_freeze_count() > 1000, builtin, later()]
"""


@pytest.mark.parametrize("case", SAME)
@pytest.mark.parametrize("setting", [None, "auto", "false"])
def test_a_function_sees_what_it_would_without_the_layer(start: Start, case: str, setting: str | None) -> None:
    answers = []
    for layer in (False, True):
        variables = {} if setting is None else {SETTING: setting}
        with start(SAME[case] + LATER + HANDLER, variables=variables, layer=layer) as function:
            answers.append(function.answer().comparable if case == "fails" else function.invoke().comparable)
    assert answers[0] == answers[1]


GARBAGE = """
import gc, weakref
ended = []
class Node:
    pass
class Finalized(Node):
    def __del__(self):
        ended.append("finalizer")
for kind in (Node, Finalized):
    one, other = kind(), kind()
    one.other, other.other = other, one
    if kind is Node:
        seen = weakref.ref(one, lambda _: ended.append("weak reference"))
    else:
        weakref.finalize(one, ended.append, "finalize")
del one, other
kept = [Node() for _ in range(10)]
def look():
    counted = sum(type(found) is Node for found in gc.get_objects())
    gc.collect()
    return [counted, seen() is None, sorted(ended), sum(type(found) is Node for found in gc.get_objects())]
"""


@pytest.mark.parametrize("setting", [None, "auto", "false"])
def test_what_was_loaded_is_collected_and_found_as_ever(start: Start, setting: str | None) -> None:
    for layer in (False, True):
        before, *after = answered(start, GARBAGE, setting, layer=layer)
        # The collector may have come by itself.
        assert before in (10, 12)
        assert after == [True, ["finalize", "finalizer", "finalizer", "weak reference"], 10]


MUCH = """
import gc, weakref
class Node:
    pass
alive = weakref.WeakSet()
most = 0
for number in range(400_000):
    node = Node()
    node.node = node
    if number % 100 == 0:
        alive.add(node)
        most = max(most, len(alive))
def look():
    return most * 100
"""


@pytest.mark.parametrize("setting", [None, "true"])
def test_a_module_that_makes_garbage_is_not_left_alone_with_it(start: Start, setting: str | None) -> None:
    # Two objects each, and what the weak references take.
    assert answered(start, MUCH, setting) <= 110_000


AGAIN = """
import gc, weakref
class Node:
    pass
alive = weakref.WeakSet()
kept = [[] for _ in range(20_000)]
def handler(event, context):
    for _ in range(100):
        node = Node()
        node.node = node
        alive.add(node)
    return len(alive)
"""


@pytest.mark.parametrize("setting", [None, "true"])
def test_memory_after_a_thousand_invocations(start: Start, setting: str | None) -> None:
    most = []
    for layer in (False, True):
        with start(AGAIN, variables={} if setting is None else {SETTING: setting}, layer=layer) as function:
            most.append(max(function.invoke().json for _ in range(1_000)))
    # Of the 100,000 that have been made.
    assert most[1] <= most[0] + 5_000 <= 50_000


def test_true_leaves_it_frozen(start: Start) -> None:
    source = "import gc\nkept = [[] for _ in range(5_000)]\ndef look():\n    return gc.get_freeze_count()\n"
    assert answered(start, source, "true") > 5_000


def test_nonsense_is_one_line_and_the_default(start: Start) -> None:
    with start(LOADS + HANDLER, variables={SETTING: "automatic"}) as function:
        assert (function.invoke().json == 0) is (version() in HELD_BACK)
        lines = [line for line in function.output().splitlines() if "[otel-xray]" in line]
    assert len(lines) == 1
    assert f"{SETTING}='automatic' is not understood: set it to auto, true or false" in lines[0]
