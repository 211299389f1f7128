"""What an invocation leaves on the wire, and that the function does not notice: traps of handlers and their loading."""

from __future__ import annotations

import json
import signal
import time

import pytest
from conftest import Start
from servers import BOUND_S
from stage import ARN, HEADER, OLD_CLIENT, PARENT, TRACE, attributes, version
from test_collector import HELD_BACK

RETURNS = "def handler(event, context):\n    return event\n"


def test_frames_of_one_invocation(start: Start) -> None:
    with start(RETURNS) as function:
        assert function.invoke({"a": 1}).json == {"a": 1}
        function.frames.wait_for(5, 1)
        frames = function.frames
        assert [kind for kind, _ in frames.frames] == [1, 2, 3, 4, 5]
        hello = json.loads(frames.of(1)[0])
        assert hello["env"]["_HANDLER"] == "app.handler"
        assert hello["env"]["AWS_EXECUTION_ENV"] == "AWS_Lambda_python3.13"
        assert hello["pid"] == function.process.pid
        assert frames.of(2)[0].endswith(HEADER.encode())
        span = frames.named("app.handler")
        assert (span.trace_id.hex(), span.parent_span_id.hex(), span.flags, span.kind) == (TRACE, PARENT, 0x301, 2)
        assert frames.started()[0].span_id == span.span_id
        assert not frames.started()[0].end_time_unix_nano
        seen = attributes(span)
        assert seen["faas.coldstart"] is True
        assert (seen["cloud.resource_id"], seen["cloud.account.id"]) == (ARN, "123456789012")
        assert (seen["faas.name"], seen["faas.version"]) == ("shop", "7")
        function.invoke()
        function.frames.wait_for(5, 2)
        assert attributes(frames.ended()[1])["faas.coldstart"] is False


@pytest.mark.parametrize(
    ("header", "trace", "parent", "flags"),
    [
        (HEADER, TRACE, PARENT, 0x301),
        (HEADER.replace("Sampled=1", "Sampled=0"), TRACE, PARENT, 0),
        (f"Sampled=1;Lineage=a:1|b:2;Root=1-{TRACE[:8]}-{TRACE[8:]}", TRACE, "", 0x301),
        (f"Root=1-{TRACE[:8]}-{TRACE[8:]}", TRACE, "", 0),
        ("Root=nonsense;Sampled=0", None, "", 0x301),
        (None, None, "", 0x301),
    ],
)
def test_a_21_the_trace_header_is_read_for_each_invocation(
    start: Start, header: str | None, trace: str | None, parent: str, flags: int
) -> None:
    with start(RETURNS) as function:
        function.invoke()
        function.invoke(header=header)
        function.frames.wait_for(5, 2)
        span = function.frames.ended()[1]
        assert (span.parent_span_id.hex(), span.flags) == (parent, flags)
        if trace:
            assert span.trace_id.hex() == trace
        else:
            # ID-7: a fresh id begins with the time.
            assert abs(int.from_bytes(span.trace_id[:4], "big") - time.time()) < 60
            assert span.trace_id.hex() != TRACE


CLASS = """
class Callable:
    def __call__(self, event, context):
        return {"by": "an instance"}
handler = Callable()
"""


@pytest.mark.parametrize(
    ("sources", "handler"),
    [
        ({"src/app.py": RETURNS}, "src/app.handler"),
        ({"a/__init__.py": "", "a/b/__init__.py": "", "a/b/c.py": RETURNS}, "a.b.c.handler"),
        (CLASS, "app.handler"),
        ("def handler(event, context):\n    return None\n", "app.handler"),
        ("def handler(event, context):\n    return object()\n", "app.handler"),
        ("def handler(event, context):\n    raise KeyError('k') from ValueError('v')\n", "app.handler"),
        ("import json\ndef handler(event, context):\n    return json.loads('{')\n", "app.handler"),
        ("import os\ndef handler(event, context):\n    return [os.environ.get('_HANDLER'), __name__]\n", "app.handler"),
        ("import sys\nargv = sys.argv[1:]\ndef handler(event, context):\n    return argv\n", "app.handler"),
        ("import __main__\ndef handler(event, context):\n    return sorted(vars(__main__))\n", "app.handler"),
    ],
)
def test_a_22_a_32_handlers_of_all_kinds_answer_as_without_the_layer(
    start: Start, sources: dict[str, str] | str, handler: str
) -> None:
    answers = []
    for layer in (False, True):
        with start(sources, handler=handler, layer=layer) as function:
            answers.append(function.invoke({"n": 1}).comparable)
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    "source",
    [
        "raise ValueError('at import')\n",
        "raise AttributeError('at import')\n",
        "def broken():\n    return {}['k']\nbroken()\n",
        "import does_not_exist\n",
        "def handler(:\n",
        "other = 1\n",
    ],
)
def test_a_11_a_23_a_module_that_fails_to_load_fails_once_and_reads_the_same(start: Start, source: str) -> None:
    count = "import os\nwith open(os.environ['COUNT'], 'a') as f:\n    f.write('x')\n"
    reports, runs = [], []
    for layer in (False, True):
        counted = f"count-{layer}"
        with start(count + source, layer=layer, variables={"COUNT": counted}) as function:
            reports.append(function.answer().comparable)
            function.process.wait()
            counter = function._folder / "task" / counted
            runs.append(counter.read_text() if counter.exists() else "")
    assert reports[0] == reports[1]
    assert runs[0] == runs[1]
    assert runs[1] in ("", "x")


@pytest.mark.parametrize("raised", ["SystemExit(3)", "BaseException('b')", "KeyboardInterrupt()", "GeneratorExit()"])
def test_a_26_the_spans_are_written_before_anything_else_happens(start: Start, raised: str) -> None:
    source = f"def handler(event, context):\n    raise {raised}\n"
    codes = []
    for layer in (False, True):
        with start(source, layer=layer) as function:
            function.invoke(answered=False)
            codes.append(function.process.wait(timeout=BOUND_S))
            if layer:
                function.frames.wait_for(5, 1)
                span = function.frames.named("app.handler")
                assert span.status.code == 2
                assert attributes(span.events[0])["exception.type"] == raised.split("(")[0]
    assert codes[0] == codes[1]


@pytest.mark.parametrize("ending", ["os._exit(1)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_what_was_begun_survives_the_process(start: Start, ending: str) -> None:
    source = f"import os, signal\ndef handler(event, context):\n    {ending}\n"
    with start(source) as function:
        function.invoke(answered=False)
        assert function.process.wait(timeout=BOUND_S) in (1, -signal.SIGKILL)
        function.frames.wait_for(3, 1)
        assert function.frames.started()[0].name == "app.handler"
        assert function.frames.of(5) == []


def test_a_28_an_invocation_writes_no_line(start: Start) -> None:
    with start(RETURNS) as function:
        for _ in range(3):
            function.invoke()
        function.frames.wait_for(5, 3)
        assert function.output() == ""


def test_without_an_extension_the_function_works_untraced_and_silent(start: Start) -> None:
    with start(RETURNS, listening=False) as function:
        assert function.invoke({"a": 1}).json == {"a": 1}
        assert function.invoke({"a": 2}).json == {"a": 2}
        assert function.output() == ""


def test_a_29_random_seed_does_not_repeat_ids(start: Start) -> None:
    source = "import random\ndef handler(event, context):\n    random.seed(1)\n    return 1\n"
    with start(source) as function:
        for _ in range(3):
            function.invoke(header=None)
        function.frames.wait_for(5, 3)
        spans = function.frames.ended()
        assert len({span.span_id for span in spans}) == len({span.trace_id for span in spans}) == 3


def test_a_29_a_lost_connection_is_opened_again(start: Start) -> None:
    source = """
import gc
def handler(event, context):
    if event == "cut":
        from _otel_xray_agent.record.wire import Wire
        wire = next(thing for thing in gc.get_objects() if type(thing) is Wire)
        wire._socket.shutdown(2)
    return 1
"""
    with start(source) as function:
        function.invoke("cut")
        assert function.invoke().json == 1
        function.frames.wait_for(5, 1)
        assert function.frames.connections == 2
        assert len(function.frames.of(1)) == 2, "a new connection begins with hello"
        # The one span that could not be written is counted in the next done frame.
        assert int.from_bytes(function.frames.of(5)[0][1:5], "little") == 1
        assert function.output().count("otel-xray") == 1


def test_a_29_a_connection_is_lost_in_the_middle_of_an_invocation_and_opened_again(start: Start) -> None:
    source = """
import gc
def handler(event, context):
    from _otel_xray_agent.record.wire import Wire
    wire = next(thing for thing in gc.get_objects() if type(thing) is Wire)
    if event == "cut":
        wire._socket.shutdown(2)
    for _ in range(70):
        wire.end(b"", now=False)
    return 1
"""
    with start(source) as function:
        assert function.invoke("cut").json == 1
        function.frames.wait_for(3, 1)
        function.frames.wait_for(5, 1)
        assert function.frames.of_connections == [[1, 2, 3], [1, 2, *[4] * 7, 5]]
        assert int.from_bytes(function.frames.of(5)[0][1:5], "little") == 64


def test_a_29_nothing_is_waited_for_twice_in_an_invocation(start: Start) -> None:
    source = """
import gc, socket
def handler(event, context):
    from _otel_xray_agent.record import wire
    line = next(thing for thing in gc.get_objects() if type(thing) is wire.Wire)
    waits = []
    class Full:
        def __init__(self, *_):
            self.limit = None
        def settimeout(self, seconds):
            self.limit = seconds
        def connect(self, _):
            pass
        def sendall(self, data):
            if len(data) > 4000:
                waits.append(self.limit)
                raise TimeoutError("full")
        def close(self):
            pass
    class Refusing(Full):
        connects = 0
        def connect(self, _):
            Refusing.connects += 1
            raise ConnectionRefusedError("gone")
    real, kept = wire._socket, line._socket
    class Sockets:
        AF_UNIX, SOCK_STREAM, socket = real.AF_UNIX, real.SOCK_STREAM, Full
    wire._socket = Sockets
    line._socket = Full()
    line._socket.settimeout(line._patience)
    for _ in range(3):
        line.start(b"x" * 5000)
    Sockets.socket = Refusing
    for _ in range(3):
        line.start(b"x" * 5000)
    wire._socket, line._socket, line._is_refused = real, kept, False
    return [waits, Refusing.connects]
"""
    with start(source) as function:
        # The limit of each, in seconds: the first waits, the others take what there is room for at once.
        assert function.invoke().json == [[0.05, 0, 0], 1]
        assert function.invoke().json == [[0.05, 0, 0], 1], "another invocation, another wait"


def test_a_30_no_thread_is_started(start: Start) -> None:
    source = "import threading\ndef handler(event, context):\n    return threading.active_count()\n"
    with start(source) as function:
        assert function.invoke().json == 1


PROBE = """
import sys
opened = []
def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and "/opt/" in arguments[0]:
        opened.append(arguments[0])
sys.addaudithook(hook)
"""


def test_budgets_modules_and_files_of_a_function_that_calls_nothing(start: Start) -> None:
    report = "import sys\ndef handler(event, context):\n    return sorted(sys.modules)\n"
    modules = []
    for layer in (False, True):
        with start(report, layer=layer) as function:
            modules.append(set(function.invoke().json))
    added = modules[1] - modules[0]
    parts = ["bootstrap", "record", "record.encoder", "record.trace", "record.wire"]
    # Read because a setting is there: the stage names a socket of its own.
    parts.append("settings")
    own = {"_otel_xray_agent", *(f"_otel_xray_agent.{name}" for name in parts)}
    # The collector, on the versions where it is held back.
    built_in = {"_contextvars", "_socket", "_struct", *({"gc"} if version() in HELD_BACK else ())} - modules[0]
    assert added == own | built_in
    assert len(added) <= 11

    files = "import sys\ndef handler(event, context):\n    return sys.modules['sitecustomize'].opened\n"
    with start({"app.py": files, "sitecustomize.py": PROBE}, variables={"PYTHONPATH": "."}) as function:
        opened = [path for path in function.invoke().json if "/_otel_xray_agent/" in path]
    assert len(opened) == len({*opened}) == len(own), opened
    assert all(path.endswith(".pyc") for path in opened), "compiled files only (A-4)"


@pytest.mark.parametrize(
    ("source", "handler", "kind", "message", "label"),
    [
        ("import does_not_exist\n", "app.handler", "Runtime.ImportModuleError", "does_not_exist", "<module>"),
        ("def handler(:\n", "app.handler", "Runtime.UserCodeSyntaxError", "Syntax error", ""),
        ("x = 1\n", "app.handler", "Runtime.HandlerNotFound", "Handler 'handler' missing", ""),
        ("raise RuntimeError('no settings')\n", "app.handler", "RuntimeError", "no settings", "<module>"),
        ("import sys\nsys.exit(3)\n", "app.handler", "SystemExit", "3", "<module>"),
    ],
)
def test_a_function_that_cannot_be_loaded_says_why(
    start: Start, source: str, handler: str, kind: str, message: str, label: str
) -> None:
    with start(source, handler=handler) as function:
        function.frames.wait_for(4, 1)
        assert [kind for kind, _ in function.frames.frames] == [1, 4]
        span = function.frames.named("load app.handler")
        assert (span.kind, span.flags, span.parent_span_id) == (1, 0x101, b"")
        # ID-7: a fresh id begins with the time.
        assert len(span.trace_id) == 16
        assert abs(int.from_bytes(span.trace_id[:4], "big") - time.time()) < 60
        assert span.status.code == 2
        assert message in span.status.message
        assert span.start_time_unix_nano < span.end_time_unix_nano
        event = attributes(span.events[0])
        assert event["exception.type"] == kind
        assert message in event["exception.message"]
        assert label in event["exception.stacktrace"]
        assert "/_otel_xray_agent/" not in event["exception.stacktrace"]


UNLOADABLE = {
    "an error": "raise ValueError('no config')\n",
    "an error of the import's own": "import nothing_like_it\n",
    "no such handler": "x = 1\n",
    "an attribute": "import os\nos.nothing_like_it\n",
    "a kind of AttributeError": "class Missing(AttributeError):\n    pass\nraise Missing('a')\n",
    "a syntax error": "def handler(event, context)\n",
    "an exit": "import sys\nsys.exit(3)\n",
}


@pytest.mark.parametrize("kind", UNLOADABLE)
def test_a_function_that_old_clients_cannot_load_fails_as_without_the_layer(start: Start, kind: str) -> None:
    seen = []
    for layer in (False, True):
        with start(UNLOADABLE[kind], layer=layer, bootstrap=OLD_CLIENT) as function:
            if kind == "an exit":
                seen.append(function.process.wait(BOUND_S))
            else:
                # At once, or with the first invocation.
                answer = function.invoke()
                seen.append(answer.comparable)
            if layer:
                function.frames.wait_for(4, 1)
                span = function.frames.ended()[0]
                event = attributes(span.events[0])
    assert seen[0] == seen[1]
    assert span.status.code == 2
    if kind != "an exit":
        told = answer.json
        assert event["exception.type"].rpartition(".")[2] == told["errorType"].rpartition(".")[2]
        assert event["exception.message"] == span.status.message == told["errorMessage"]
