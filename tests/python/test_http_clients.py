"""HTTP clients besides urllib3 and the standard library's, sync and async, the oldest and the newest in use."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Daemon, Stalling, Start, Website, wait_until
from servers import BOUND_S
from stage import HEADER, attributes, bundled

START, END, DONE, ANSWERED = 3, 4, 5, 6

SYNC = """
import {library}
def get(url, **options):
    with {library}.Client(timeout={bound}) as client:
        return client.get(url, **options)
def status(url):
    return get(url).status_code
def text(url):
    return get(url).text
def two(one, other):
    from concurrent.futures import ThreadPoolExecutor
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(status, [one, other]))
def left(url):
    kept.append({library}.Client().send({library}.Request("GET", url), stream=True))
def left_early(url):
    with {library}.stream("GET", url) as response:
        for part in response.iter_bytes(1):
            break
def send(url, headers):
    return get(url, headers=headers).status_code
"""
ASYNC = """
import {library}
async def get(url, **options):
    async with {library}.AsyncClient(timeout={bound}) as client:
        return await client.get(url, **options)
def status(url):
    return asyncio.run(get(url)).status_code
def text(url):
    return asyncio.run(get(url)).text
def two(one, other):
    async def run():
        return [answer.status_code for answer in await asyncio.gather(get(one), get(other))]
    return asyncio.run(run())
def left(url):
    async def run():
        kept.append(await {library}.AsyncClient().send({library}.Request("GET", url), stream=True))
    asyncio.run(run())
def left_early(url):
    async def run():
        async with {library}.AsyncClient() as client, client.stream("GET", url) as response:
            async for part in response.aiter_bytes(1):
                break
    asyncio.run(run())
def send(url, headers):
    return asyncio.run(get(url, headers=headers)).status_code
"""
AIOHTTP = """
import aiohttp
async def get(url, **options):
    limit = aiohttp.ClientTimeout(sock_read={bound})
    async with aiohttp.ClientSession(timeout=limit) as session, session.get(url, **options) as response:
        return response.status, await response.text()
def status(url):
    return asyncio.run(get(url))[0]
def text(url):
    return asyncio.run(get(url))[1]
def two(one, other):
    async def run():
        return [answer[0] for answer in await asyncio.gather(get(one), get(other))]
    return asyncio.run(run())
def left(url):
    async def run():
        session = aiohttp.ClientSession()
        kept.extend([session, await session.get(url)])
        await asyncio.sleep(0)
    asyncio.run(run())
def left_early(url):
    async def run():
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            async for part in response.content.iter_chunked(1):
                break
    asyncio.run(run())
def send(url, headers):
    return asyncio.run(get(url, headers=headers))[0]
"""
CLIENTS = {
    "httpx": SYNC.replace("{library}", "httpx"),
    "httpx, async": ASYNC.replace("{library}", "httpx"),
    "httpx2": SYNC.replace("{library}", "httpx2"),
    "httpx2, async": ASYNC.replace("{library}", "httpx2"),
    "aiohttp": AIOHTTP,
}
NAMES = {"aiohttp": "aiohttp-client"}
"""Of OTEL_PYTHON_DISABLED_INSTRUMENTATIONS, where that is not the library's."""


def source(packages: Path, client: str, handler: str) -> str:
    start = f"import sys\nsys.path.insert(1, {str(packages)!r})\nimport asyncio\nkept = []\n"
    return (
        start
        + CLIENTS[client].replace("{bound}", str(BOUND_S))
        + f"def handler(event, context):\n    return {handler}\n"
    )


@pytest.fixture(scope="session", params=["newest", "oldest"])
def packages(request: pytest.FixtureRequest) -> Path:
    return bundled(f"http-{request.param}")


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest, packages: Path) -> str:
    name: str = request.param
    if not (packages / name.partition(",")[0]).exists():
        pytest.skip("there was none yet")
    return name


@pytest.mark.parametrize(("path", "status"), [("/v1?a=http://b/", 200), ("/missing", 404)])
def test_pl_10_pl_11_a_call_is_a_span(
    start: Start, website: Website, packages: Path, client: str, path: str, status: int
) -> None:
    with start(source(packages, client, "status(event)")) as function:
        assert function.invoke(website.url + path).json == status
        function.frames.wait_for(DONE, 1)
        call, handler = function.frames.ended()
        assert function.output() == ""
    assert (call.name, call.kind, call.parent_span_id) == ("GET", 3, handler.span_id)
    seen = attributes(call)
    assert (seen["http.request.method"], seen["http.response.status_code"]) == ("GET", status)
    # As it went out: some versions escape more of a query than others.
    sent = website.requests[0][1]
    assert (seen["url.full"], sent.replace("%2F", "/")) == (website.url + sent, path)
    assert (seen["server.address"], seen["server.port"]) == ("127.0.0.1", int(website.url.rsplit(":", 1)[1]))
    assert [span.name for span in function.frames.started()] == ["app.handler", "GET"]
    headers = website.requests[0][2]
    assert headers["x-amzn-trace-id"] == HEADER.replace("53995c3f42cd8ad8", call.span_id.hex())
    assert headers["traceparent"].split("-")[1:3] == [call.trace_id.hex(), call.span_id.hex()]


def test_pl_90_a_refused_connection_reads_as_without_the_layer(start: Start, packages: Path, client: str) -> None:
    answers = []
    for layer in (False, True):
        with start(source(packages, client, "status(event)"), layer=layer) as function:
            answer = function.invoke("http://127.0.0.1:9/x")
            answers.append((answer.comparable[0], answer.json["errorType"], answer.json["stackTrace"]))
            assert "otel_xray" not in answer.comparable[1]
            if layer:
                function.frames.wait_for(DONE, 1)
                call, handler = function.frames.ended()
                assert (call.status.code, handler.status.code) == (2, 2)
                assert attributes(call)["error.type"].endswith(("ConnectError", "ClientConnectorError"))
    assert answers[0] == answers[1]


@pytest.fixture
def silent() -> Iterator[str]:
    """Takes connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_pl_91_a_call_that_hangs_has_been_announced(
    start: Start, silent: str, packages: Path, client: str, scheme: str
) -> None:
    """For the answer, and for the other side's part of the handshake: what then ends the process finds it open."""
    with start(source(packages, client, "status(event)")) as function:
        function.invoke(f"{scheme}://{silent}/x", answered=False)
        function.frames.wait_for(START, 2)
        call = function.frames.started()[1]
        assert END not in [kind for kind, _ in function.frames.frames]
    assert (call.name, attributes(call)["url.full"]) == ("GET", f"{scheme}://{silent}/x")


@pytest.mark.parametrize("path", ["/whole", "/chunks"])
def test_pl_81_a_body_that_stalls_is_waited_for(
    start: Start, stalling: Stalling, packages: Path, client: str, path: str
) -> None:
    with start(source(packages, client, "text(event)")) as function:
        function.invoke(stalling.url + path, answered=False)
        wait_until(lambda: len(function.frames.of(ANSWERED)) == 2)
        kinds = [kind for kind, _ in function.frames.frames]
        assert kinds[-3:] == [START, ANSWERED, ANSWERED]
        assert END not in kinds
        answered, awaited = function.frames.of(ANSWERED)
        assert answered[16:24] == awaited[16:24] == function.frames.started()[-1].span_id
        at = int.from_bytes(answered[24:32], "little")
        assert (at > 0, int.from_bytes(answered[32:], "little")) == (True, 200)
        assert awaited[24:] == bytes(10)
        stalling.go_on.set()
        assert function.answer().json == "halfhalf"
        function.frames.wait_for(DONE, 1)
        call, handler = function.frames.ended()
    assert (call.status.code, attributes(call)["http.response.status_code"]) == (0, 200)
    assert at < call.end_time_unix_nano <= handler.end_time_unix_nano


def test_pl_81_a_body_that_breaks_off_is_the_calls_fault(
    start: Start, stalling: Stalling, packages: Path, client: str
) -> None:
    answers = []
    for layer in (False, True):
        with start(source(packages, client, "text(event)"), layer=layer) as function:
            answer = function.invoke(stalling.url + "/broken")
            answers.append((answer.comparable[0], answer.json["errorType"], answer.json["stackTrace"]))
            if layer:
                function.frames.wait_for(DONE, 1)
                call, _ = function.frames.ended()
                assert (call.status.code, attributes(call)["http.response.status_code"]) == (2, 200)
                assert attributes(call)["error.type"].endswith(("RemoteProtocolError", "ClientPayloadError"))
                assert function.output().count("[otel-xray]") == 0
    assert answers[0] == answers[1]


@pytest.mark.parametrize("how", ["left", "left_early"])
def test_pl_81_what_is_not_read_to_its_end_is_no_fault(
    start: Start, stalling: Stalling, packages: Path, client: str, how: str
) -> None:
    with start(source(packages, client, f"{how}(event)")) as function:
        assert function.invoke(stalling.url + "/whole").json is None
        function.frames.wait_for(DONE, 1)
        call, handler = function.frames.ended()
        assert (call.status.code, attributes(call)["http.response.status_code"]) == (0, 200)
        assert call.end_time_unix_nano < handler.end_time_unix_nano


def test_pl_71_two_at_once_have_their_own_spans(start: Start, website: Website, packages: Path, client: str) -> None:
    with start(source(packages, client, "two(event + '/one', event + '/other')")) as function:
        assert function.invoke(website.url).json == [200, 200]
        function.frames.wait_for(DONE, 1)
        *calls, handler = function.frames.ended()
    assert {call.parent_span_id for call in calls} == {handler.span_id}
    by_path = {attributes(call)["url.full"].rpartition("/")[2]: call.span_id.hex() for call in calls}
    told = {path[1:]: headers["x-amzn-trace-id"].split(";")[1][7:] for _, path, headers in website.requests}
    assert told == by_path
    assert set(told) == {"one", "other"}


CANARY = "hunter2-canary"


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {CANARY}", "X-Key": CANARY, "Cookie": f"session={CANARY}"},
        {"X-Amzn-Trace-Id": "mine", "traceparent": "mine"},
        {"authorization": "AWS4-HMAC-SHA256 Credential=x, SignedHeaders=host, Signature=y"},
    ],
    ids=["secret", "own", "signed"],
)
def test_pl_51_pl_62_headers_are_neither_recorded_nor_replaced(
    start: Start, website: Website, packages: Path, client: str, headers: dict[str, str]
) -> None:
    text = source(packages, client, f"[send(event, given), given == {headers!r}]") + f"given = {headers!r}\n"
    with start(text) as function:
        assert function.invoke(website.url + "/x").json == [200, True]
        function.frames.wait_for(DONE, 1)
        assert all(CANARY.encode() not in payload for _, payload in function.frames.frames)
        call, _ = function.frames.ended()
    sent = website.requests[0][2]
    assert {name.lower(): value for name, value in headers.items()}.items() <= sent.items()
    told = HEADER.replace("53995c3f42cd8ad8", call.span_id.hex())
    expected = {"own": "mine", "signed": None, "secret": told}
    kind = "own" if "traceparent" in headers else "signed" if "authorization" in headers else "secret"
    assert sent.get("x-amzn-trace-id") == expected[kind]
    assert ("traceparent" in sent) == (kind != "signed")


@pytest.mark.parametrize(("setting", "is_told"), [("none", False), ("*.example.com", False), ("127.0.0.1", True)])
def test_pl_63_otel_xray_propagate_is_heeded(
    start: Start, website: Website, packages: Path, client: str, setting: str, is_told: bool
) -> None:
    with start(source(packages, client, "status(event)"), variables={"OTEL_XRAY_PROPAGATE": setting}) as function:
        assert function.invoke(website.url).json == 200
        function.frames.wait_for(DONE, 1)
        assert len(function.frames.ended()) == 2
    assert ("x-amzn-trace-id" in website.requests[0][2]) == is_told


def test_disabled_by_name_it_is_left_alone(start: Start, website: Website, packages: Path, client: str) -> None:
    library = client.partition(",")[0]
    variables = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": f"redis, {NAMES.get(library, library)}"}
    with start(source(packages, client, "status(event)"), variables=variables) as function:
        assert function.invoke(website.url).json == 200
        function.frames.wait_for(DONE, 1)
        assert [span.name for span in function.frames.ended()] == ["app.handler"]
    assert "x-amzn-trace-id" not in website.requests[0][2]


AIOHTTP_ONLY = """
import sys
sys.path.insert(1, {packages!r})
import asyncio, aiohttp
defaults = {{"X-Mine": "default"}}
async def run(url):
    async with aiohttp.ClientSession(headers=defaults) as session:
        async with session.get(url + "/moved") as response:
            first = response.status
        async with session.get(url + "/search", params={{"q": "lamp"}}) as response:
            return [first, response.status, defaults, dict(session.headers)]
def handler(event, context):
    return asyncio.run(run(event))
"""


def test_pl_11_redirects_are_one_call_whose_url_has_its_parameters(
    start: Start, website: Website, packages: Path
) -> None:
    with start(AIOHTTP_ONLY.format(packages=str(packages))) as function:
        defaults = {"X-Mine": "default"}
        assert function.invoke(website.url).json == [200, 200, defaults, defaults]
        function.frames.wait_for(DONE, 1)
        moved, search, _ = function.frames.ended()
    assert attributes(moved)["url.full"] == website.url + "/moved"
    assert attributes(moved)["http.response.status_code"] == 200
    assert attributes(search)["url.full"] == website.url + "/search?q=lamp"
    parents = [headers["x-amzn-trace-id"].split(";")[1][7:] for _, _, headers in website.requests]
    assert parents == [moved.span_id.hex(), moved.span_id.hex(), search.span_id.hex()]


TWICE = """
import sys
sys.path.insert(1, {packages!r})
import {library}
def handler(event, context):
    request = {library}.Request("GET", event, headers={{"X-Mine": "1"}})
    before = [request.headers.raw, request.headers]
    with {library}.Client() as client:
        answers = [client.send(request) for _ in range(2)]
    same = [request.headers.raw == before[0], request.headers is before[1]]
    return same + [answer.request is request for answer in answers]
"""


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
def test_pl_61_a_request_that_is_sent_again_carries_its_own_parent(
    start: Start, website: Website, packages: Path, library: str
) -> None:
    if not (packages / library).exists():
        pytest.skip("there was none yet")
    with start(TWICE.format(packages=str(packages), library=library)) as function:
        assert function.invoke(website.url).json == [True] * 4
        function.frames.wait_for(DONE, 1)
        *calls, _ = function.frames.ended()
    parents = [headers["x-amzn-trace-id"].split(";")[1][7:] for _, _, headers in website.requests]
    assert parents == [call.span_id.hex() for call in calls]
    assert len({*parents}) == 2


IN_PROCESS = """
import sys
sys.path.insert(1, {packages!r})
import httpx
def handler(event, context):
    transport = httpx.MockTransport(lambda request: httpx.Response(200, text=str(sorted(request.headers))))
    with httpx.Client(transport=transport) as client:
        return client.get("http://example.com").text
"""


def test_pl_10_what_answers_in_the_process_is_no_call(start: Start, packages: Path) -> None:
    with start(IN_PROCESS.format(packages=str(packages))) as function:
        assert "trace" not in function.invoke().json
        function.frames.wait_for(DONE, 1)
        assert [span.name for span in function.frames.ended()] == ["app.handler"]


SEEN = {
    "httpx": "httpx.HTTPTransport.handle_request, httpx.AsyncHTTPTransport.handle_async_request, "
    "httpx._transports.default.ResponseStream.__iter__, httpx._transports.default.AsyncResponseStream.__aiter__",
    "aiohttp": "aiohttp.ClientSession._request, aiohttp.ClientRequest.send, aiohttp.ClientResponse.close, "
    "aiohttp.StreamReader._wait",
    "aiobotocore": "aiobotocore.client.AioBaseClient._make_api_call, aiobotocore.endpoint.AioEndpoint.create_request",
}


@pytest.mark.parametrize("library", SEEN)
def test_pl_33_pl_90_what_stands_in_looks_like_what_was_there(start: Start, packages: Path, library: str) -> None:
    text = f"""
import sys
sys.path.insert(1, {str(packages)!r})
import inspect, re, {library}
if {library!r} == "aiobotocore":
    import aiobotocore.client, aiobotocore.endpoint
if {library!r} == "httpx":
    import httpx._transports.default
def handler(event, context):
    kinds = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    signature = lambda f: re.sub(" at 0x[0-9a-f]+", "", str(inspect.signature(f)))
    return [[f.__module__, f.__name__, f.__qualname__, f.__doc__, signature(f), [is_(f) for is_ in kinds]]
            for f in ({SEEN[library]},)]
"""
    answers = []
    for layer in (False, True):
        with start(text, layer=layer) as function:
            answers.append(function.invoke().json)
    assert answers[0] == answers[1]
    assert len(answers[0]) > 1


NESTED = {
    "httpx": "import httpx\ndef get(url):\n    httpx.get(url)\n",
    "aiohttp": (
        "import aiohttp, asyncio\nasync def run(url):\n"
        "    async with aiohttp.ClientSession() as session, session.get(url) as answer:\n        await answer.read()\n"
        "def get(url):\n    asyncio.run(run(url))\n"
    ),
    "requests": "import requests\ndef get(url):\n    requests.get(url)\n",
    "http.client": (
        "import http.client\ndef get(url):\n    one = http.client.HTTPConnection(url.split('/')[2])\n"
        "    one.request('GET', '/')\n    one.getresponse().read()\n"
    ),
}


@pytest.mark.parametrize("library", NESTED)
def test_pl_63_what_a_call_is_made_of_gives_no_span_and_carries_the_trace(
    start: Start, website: Website, library: str
) -> None:
    paths = [str(bundled("http-newest")), str(bundled("opentelemetry-api-newest"))]
    text = f"import sys\nsys.path[1:1] = {paths!r}\n" + NESTED[library]
    text += """
from opentelemetry import trace
def handler(event, context):
    about = {"db.system.name": "elasticsearch", "db.operation.name": "search"}
    with trace.get_tracer("mine").start_as_current_span("search", kind=trace.SpanKind.CLIENT, attributes=about):
        get(event)
"""
    with start(text) as function:
        assert function.invoke(website.url + "/").json is None
        function.frames.wait_for(DONE, 1)
        assert [span.name for span in function.frames.ended()] == ["search", "app.handler"]
    headers = website.requests[0][2]
    assert headers["x-amzn-trace-id"] == HEADER.replace(
        "53995c3f42cd8ad8", function.frames.named("search").span_id.hex()
    )


INSTRUMENTED = """
import sys
sys.path[1:1] = {paths!r}
import aiohttp, asyncio
from aws_xray_sdk.core import xray_recorder
from aws_xray_sdk.ext.aiohttp.client import aws_xray_trace_config
async def run(url):
    async with aiohttp.ClientSession(trace_configs=[aws_xray_trace_config()]) as session:
        async with session.get(url) as answer:
            await answer.read()
def handler(event, context):
    asyncio.run(run(event))
"""
PATCHED = """
import sys
sys.path[1:1] = {paths!r}
import httpx
from aws_xray_sdk.core import patch
patch(["httpx"])
def handler(event, context):
    httpx.get(event)
"""


@pytest.mark.parametrize("text", [INSTRUMENTED, PATCHED], ids=["aiohttp", "httpx"])
@pytest.mark.parametrize("sampled", [1, 0])
def test_pl_66_what_the_x_ray_sdk_records_comes_once(
    start: Start, website: Website, daemon: Daemon, text: str, sampled: int
) -> None:
    paths = [str(bundled("http-newest")), str(bundled("aws-xray-sdk-2.15.0"))]
    with start(text.format(paths=paths), variables=daemon.variables()) as function:
        function.invoke(website.url, HEADER.replace("Sampled=1", f"Sampled={sampled}"))
        function.frames.wait_for(DONE, 1)
        names = [span.name for span in function.frames.ended()]
        if sampled:
            document = daemon.take(1)["127.0.0.1"]
            assert (names, document["namespace"]) == (["app.handler"], "remote")
            assert f"Parent={document['id']}" in website.requests[0][2]["x-amzn-trace-id"]
        else:
            assert names == ["GET", "app.handler"]


OPENTELEMETRYS = """
import sys
sys.path[1:1] = {paths!r}
import asyncio, aiohttp, httpx
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
AioHttpClientInstrumentor().instrument()
HTTPXClientInstrumentor().instrument()
async def run(url):
    async with httpx.AsyncClient() as client:
        await client.get(url)
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        await answer.read()
def handler(event, context):
    httpx.get(event)
    asyncio.run(run(event))
"""


def test_instrumentations_of_the_functions_own_record_each_call_once(start: Start, website: Website) -> None:
    paths = [str(bundled("http-newest")), str(bundled("opentelemetry-sdk"))]
    with start(OPENTELEMETRYS.format(paths=paths)) as function:
        assert function.invoke(website.url).json is None
        function.frames.wait_for(DONE, 1)
        *calls, handler = function.frames.ended()
    scopes = [attributes(call)["otel.scope.name"].rpartition(".")[2] for call in calls]
    assert scopes == ["httpx", "httpx", "aiohttp_client"]
    assert {call.parent_span_id for call in calls} == {handler.span_id}
    told = [headers["traceparent"].split("-")[2] for _, _, headers in website.requests]
    assert told == [call.span_id.hex() for call in calls]
