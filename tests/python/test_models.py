"""Calls of language models say which it is, its tokens, why it ended and which tools it asks for: tests/models.json."""

from __future__ import annotations

import base64
import gzip
import json
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Start, wait_until
from servers import BOUND_S, Handler, serving
from stage import ROOT, attributes, bundled

TABLE = json.loads((ROOT / "tests" / "models.json").read_text())
START, END, DONE, ANSWERED = 3, 4, 5, 6
CANARY = b"CANARY"

SYNC = """
import {library}
def ask(url, path, headers, body):
    with {library}.Client() as client:
        return client.post(url + path, json=body, headers=headers).text
def ask_streamed(url, path, headers, body):
    with {library}.Client() as client, client.stream("POST", url + path, json=body, headers=headers) as answer:
        return "".join(answer.iter_text())
"""
ASYNC = """
import {library}, asyncio
async def _ask(url, path, headers, body):
    async with {library}.AsyncClient() as client:
        return (await client.post(url + path, json=body, headers=headers)).text
async def _ask_streamed(url, path, headers, body):
    async with {library}.AsyncClient() as client:
        async with client.stream("POST", url + path, json=body, headers=headers) as answer:
            return "".join([part async for part in answer.aiter_text()])
def ask(*given):
    return asyncio.run(_ask(*given))
def ask_streamed(*given):
    return asyncio.run(_ask_streamed(*given))
"""
CLIENTS = {"sync": SYNC, "async": ASYNC}
HANDLER = """
def handler(event, context):
    url, how, cases = event
    return [len(globals()[how](url, *case)) for case in cases]
"""


def written(case: dict[str, Any]) -> bytes:
    """What the server answers to a case of the table."""
    if "answer" in case:
        return json.dumps(case["answer"], separators=(",", ":")).encode()
    events = [event if isinstance(event, str) else json.dumps(event) for event in case["events"]]
    return "".join(f"data: {event}\n\n" for event in events).encode()


class Models:
    def __init__(self) -> None:
        self.url = ""
        self.told: list[str] = []
        self.encoding = ""
        self.go_on = threading.Event()
        self.go_on.set()


@pytest.fixture
def models() -> Iterator[Models]:
    at = Models()

    class Pages(Handler):
        def do_POST(self) -> None:
            self.body()
            at.told.append(self.headers.get("x-amzn-trace-id", ""))
            number = int(self.headers.get("x-case", 0))
            case = TABLE["http"][number]
            body = gzip.compress(written(case)) if at.encoding else written(case)
            self.send_response(case.get("status", 200))
            self.send_header("Content-Type", "text/event-stream" if "events" in case else "application/json")
            if at.encoding:
                self.send_header("Content-Encoding", at.encoding)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            # In pieces, as it comes from far away.
            for part in (body[:20], body[20:]):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                self.wfile.flush()
                at.go_on.wait(BOUND_S)
            self.wfile.write(b"0\r\n\r\n")

    with serving(Pages) as address:
        at.url = f"http://{address}"
        yield at
        at.go_on.set()


@pytest.fixture(scope="session", params=["newest", "oldest"])
def packages(request: pytest.FixtureRequest) -> Path:
    return bundled(f"http-{request.param}")


def source(packages: Path, client: str, library: str = "httpx") -> str:
    paths = f"import sys\nsys.path.insert(1, {str(packages)!r})\n"
    return paths + CLIENTS[client].replace("{library}", library) + HANDLER


def asked(*numbers: int) -> list[Any]:
    cases = [(number, TABLE["http"][number]) for number in numbers]
    return [[case["path"], {**case["headers"], "x-case": str(number)}, case["request"]] for number, case in cases]


def said(call: Any) -> dict[str, Any]:
    return {name: value for name, value in attributes(call).items() if name.startswith("gen_ai.")}


@pytest.mark.parametrize(
    ("how", "encoding"), [("ask", ""), ("ask", "gzip"), ("ask_streamed", ""), ("ask_streamed", "gzip")]
)
@pytest.mark.parametrize("client", CLIENTS)
def test_pl_45_pl_51_what_an_answer_says_of_its_model_and_nothing_of_its_text(
    start: Start, models: Models, packages: Path, client: str, how: str, encoding: str
) -> None:
    models.encoding = encoding
    cases = TABLE["http"]
    with start(source(packages, client)) as function:
        sizes = function.invoke([models.url, how, asked(*range(len(cases)))]).json
        assert sizes == [len(written(case)) for case in cases]
        function.frames.wait_for(DONE, 1)
        *calls, handler = function.frames.ended()
        assert function.output() == ""
        assert all(CANARY not in payload for _, payload in function.frames.frames)
    assert [(case["it"], said(call)) for case, call in zip(cases, calls)] == [(c["it"], c["says"]) for c in cases]
    assert {call.name for call in calls} == {"POST"}
    assert {call.parent_span_id for call in calls} == {handler.span_id}
    # Once, and each with its own call as the parent.
    assert [told.split(";")[1] for told in models.told] == [f"Parent={call.span_id.hex()}" for call in calls]


def number_of(it: str) -> int:
    return next(number for number, case in enumerate(TABLE["http"]) if case["it"] == it)


@pytest.mark.parametrize("client", CLIENTS)
def test_pl_68_a_stream_that_stalls_is_waited_for(start: Start, models: Models, packages: Path, client: str) -> None:
    models.go_on.clear()
    with start(source(packages, client)) as function:
        case = asked(number_of("a streamed message"))
        function.invoke([models.url, "ask_streamed", case], answered=False)
        wait_until(lambda: len(function.frames.of(ANSWERED)) == 2)
        kinds = [kind for kind, _ in function.frames.frames]
        assert kinds[-3:] == [START, ANSWERED, ANSWERED]
        assert END not in kinds
        announced = said(function.frames.started()[-1])
        assert announced["gen_ai.request.model"] == "asked-for"
        models.go_on.set()
        function.answer()
        function.frames.wait_for(DONE, 1)
        call, _ = function.frames.ended()
    assert said(call)["gen_ai.usage.output_tokens"] == 42


LEFT = {
    "sync": """
def leave(url, path, headers, body):
    with httpx.Client() as client, client.stream("POST", url + path, json=body, headers=headers) as answer:
        for part in answer.iter_lines():
            return part
""",
    "async": """
async def _leave(url, path, headers, body):
    async with httpx.AsyncClient() as client, client.stream("POST", url + path, json=body, headers=headers) as answer:
        async for part in answer.aiter_lines():
            return part
def leave(*given):
    return asyncio.run(_leave(*given))
""",
}


@pytest.mark.parametrize("client", CLIENTS)
def test_pl_68_a_stream_that_is_left_says_what_has_come(
    start: Start, models: Models, packages: Path, client: str
) -> None:
    with start(source(packages, client) + LEFT[client]) as function:
        function.invoke([models.url, "leave", asked(number_of("a streamed message"))])
        function.frames.wait_for(DONE, 1)
        call, handler = function.frames.ended()
    assert (call.status.code, said(call)["gen_ai.response.model"]) == (0, "claude-x")
    assert call.end_time_unix_nano <= handler.end_time_unix_nano


def test_what_is_too_long_to_be_read_as_a_whole_says_its_model_and_tokens() -> None:
    """The two ends are looked at: nothing that stands between them is taken for the answer's own."""
    from types import SimpleNamespace

    from _otel_xray_agent.libraries.models.over_http import Answer

    def read(answer: dict[str, Any]) -> dict[str, Any]:
        span = SimpleNamespace(attributes={})
        reading = Answer(span, SimpleNamespace(headers={"content-type": "application/json"}))
        body = json.dumps(answer).encode()
        for at in range(0, len(body), 16_384):
            reading.feed(body[at : at + 16_384])
        reading.over()
        return span.attributes

    vectors = [{"embedding": [0.125] * 60_000, "model": "CANARY"}]
    usage = {"prompt_tokens": 8, "total_tokens": 8}
    expected = {"gen_ai.response.model": "embed-1", "gen_ai.usage.input_tokens": 8}
    assert read({"object": "list", "data": vectors, "model": "embed-1", "usage": usage}) == expected
    assert read({"object": "list", "model": "embed-1", "data": vectors, "usage": usage}) == expected
    assert read({"data": vectors, "usage": usage}) == {"gen_ai.usage.input_tokens": 8}


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'"', b"null", b'{"usage":', b"\xff\x00", b'{"choices":[[[{}]]]}' * 2]
)
@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
def test_no_answer_is_too_broken_to_be_read(body: bytes, kind: str) -> None:
    from types import SimpleNamespace

    from _otel_xray_agent.libraries.models.over_http import Answer

    span = SimpleNamespace(attributes={})
    reading = Answer(span, SimpleNamespace(headers={"content-type": kind}))
    reading.feed(b"data: " + body if "event" in kind else body)
    reading.over()
    assert span.attributes == {}


def event(kind: str, payload: dict[str, Any]) -> bytes:
    """A message of AWS's event streams."""
    if kind == "chunk":
        payload = {"bytes": base64.b64encode(json.dumps(payload).encode()).decode()}
    heads = {":message-type": "event", ":event-type": kind, ":content-type": "application/json"}
    head = b"".join(
        struct.pack(f">B{len(name)}sBH{len(value)}s", len(name), name.encode(), 7, len(value), value.encode())
        for name, value in heads.items()
    )
    body = json.dumps(payload).encode()
    prelude = struct.pack(">II", len(head) + len(body) + 16, len(head))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + head + body
    return message + struct.pack(">I", zlib.crc32(message))


PATHS = {
    "Converse": "/converse",
    "ConverseStream": "/converse-stream",
    "InvokeModel": "/invoke",
    "InvokeModelWithResponseStream": "/invoke-with-response-stream",
}


class Bedrock(Models):
    pass


@pytest.fixture
def bedrock() -> Iterator[Bedrock]:
    at = Bedrock()

    class Pages(Handler):
        def do_POST(self) -> None:
            self.body()
            at.told.append(self.headers.get("x-amzn-trace-id", ""))
            case = next(case for case in TABLE["bedrock"] if self.path.endswith(PATHS[case["operation"]]))
            is_stream = "events" in case
            parts = [event(*one) for one in case["events"]] if is_stream else [json.dumps(case["answer"]).encode()]
            self.send_response(200)
            self.send_header("Content-Type", "application/vnd.amazon.eventstream" if is_stream else "application/json")
            for name, value in case.get("headers", {}).items():
                self.send_header(name, value)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for part in parts:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                self.wfile.flush()
                at.go_on.wait(BOUND_S)
            self.wfile.write(b"0\r\n\r\n")

    with serving(Pages) as address:
        at.url = f"http://{address}"
        yield at
        at.go_on.set()


BOTO3 = """
import boto3, re
from botocore.config import Config
def handler(event, context):
    url, leaves, cases = event
    client = boto3.client("bedrock-runtime", endpoint_url=url, config=Config(retries={"max_attempts": 0}))
    counts = []
    for operation, parameters in cases:
        answer = getattr(client, re.sub("(?<!^)([A-Z])", r"_\\1", operation).lower())(**parameters)
        count = 0
        for stream in (answer.get("stream"), answer.get("body")):
            for one in stream or ():
                count += 1
                if leaves:
                    break
        counts.append(count)
    return counts
"""
AIOBOTOCORE = """
import asyncio, re
from aiobotocore.session import get_session
def handler(event, context):
    return asyncio.run(run(*event))
async def run(url, leaves, cases):
    counts = []
    async with get_session().create_client("bedrock-runtime", endpoint_url=url) as client:
        for operation, parameters in cases:
            answer = await getattr(client, re.sub("(?<!^)([A-Z])", r"_\\1", operation).lower())(**parameters)
            count = 0
            if operation == "InvokeModel":
                await answer["body"].read()
                count = 1
            else:
                for stream in (answer.get("stream"), answer.get("body")):
                    if stream is not None:
                        async for one in stream:
                            count += 1
                            if leaves:
                                break
            counts.append(count)
    return counts
"""


@pytest.fixture(params=["boto3", "aiobotocore"])
def client(request: pytest.FixtureRequest) -> str:
    if request.param == "boto3":
        return BOTO3
    return f"import sys\nsys.path.insert(1, {str(bundled('http-newest'))!r})\n" + AIOBOTOCORE


CASES = [[case["operation"], case["parameters"]] for case in TABLE["bedrock"]]


def test_pl_25_what_a_model_of_bedrocks_says(start: Start, bedrock: Bedrock, client: str) -> None:
    cases = TABLE["bedrock"]
    with start(client) as function:
        counts = function.invoke([bedrock.url, False, CASES]).json
        assert counts == [len(c.get("events", [0] if c["operation"] == "InvokeModel" else [])) for c in cases]
        function.frames.wait_for(DONE, 1)
        *calls, _ = function.frames.ended()
        assert "[otel-xray]" not in function.output()
        assert all(CANARY not in payload for _, payload in function.frames.frames)
    expected = [(f"Bedrock Runtime.{c['operation']}", 0, c["says"]) for c in cases]
    assert [(call.name, call.status.code, said(call)) for call in calls] == expected
    assert [told.split(";")[1] for told in bedrock.told] == [f"Parent={call.span_id.hex()}" for call in calls]


def test_pl_68_a_stream_of_bedrocks_that_stalls_is_waited_for(start: Start, bedrock: Bedrock, client: str) -> None:
    bedrock.go_on.clear()
    with start(client) as function:
        function.invoke([bedrock.url, False, [CASES[1]]], answered=False)
        wait_until(lambda: len(function.frames.of(ANSWERED)) == 2)
        kinds = [kind for kind, _ in function.frames.frames]
        assert kinds[-3:] == [START, ANSWERED, ANSWERED]
        assert END not in kinds
        bedrock.go_on.set()
        assert function.answer().json == [5]
        function.frames.wait_for(DONE, 1)
        call, _ = function.frames.ended()
    assert said(call) == TABLE["bedrock"][1]["says"]


def test_pl_68_a_stream_of_bedrocks_that_is_left_is_no_fault(start: Start, bedrock: Bedrock, client: str) -> None:
    with start(client) as function:
        assert function.invoke([bedrock.url, True, [CASES[1]]]).json == [1]
        function.frames.wait_for(DONE, 1)
        call, handler = function.frames.ended()
    assert (call.status.code, said(call)["gen_ai.request.model"]) == (0, "asked-for")
    assert call.end_time_unix_nano <= handler.end_time_unix_nano
