"""gRPC: calls and streams, sync and async. The trace is in their metadata, and a stream ends with its status."""

from __future__ import annotations

import pytest
import wire_servers
from conftest import Start
from stage import Function, attributes, bundled, pins

CANARY = "hunter2-canary"
SETS = ("stores-and-messages", "stores-and-messages-oldest")

SOURCE = """
import asyncio, gc, sys, threading
gc.disable()
sys.path[1:1] = [{path!r}]
import grpc
from concurrent import futures
seen = []
def check(request, context):
    seen.append([[name, value] for name, value in context.invocation_metadata() if name in NAMES])
    if request.startswith(b"missing"):
        context.abort(grpc.StatusCode.NOT_FOUND, "no such order")
NAMES = ("mine", "traceparent", "x-amzn-trace-id")
def one(request, context):
    check(request, context)
    return request
def many(request, context):
    check(request, context)
    for part in (b"a", b"b", b"c"):
        yield request + part
def joined(requests, context):
    parts = list(requests)
    check(parts[0], context)
    return b"".join(parts)
def each(requests, context):
    for number, request in enumerate(requests):
        if number == 0:
            check(request, context)
        yield request
gone = threading.Event()
def wait(request, context):
    check(request, context)
    context.add_callback(gone.set)
    yield request
    gone.wait(60)
class Orders(grpc.GenericRpcHandler):
    def service(self, details):
        return {{
            "/shop.Orders/Get": grpc.unary_unary_rpc_method_handler(one),
            "/shop.Orders/List": grpc.unary_stream_rpc_method_handler(many),
            "/shop.Orders/Wait": grpc.unary_stream_rpc_method_handler(wait),
            "/shop.Orders/Put": grpc.stream_unary_rpc_method_handler(joined),
            "/shop.Orders/Each": grpc.stream_stream_rpc_method_handler(each),
        }}[details.method]
server = grpc.server(futures.ThreadPoolExecutor(4))
server.add_generic_rpc_handlers((Orders(),))
own = server.add_insecure_port("127.0.0.1:0")
server.start()
MINE = (("mine", "kept"),)

def unary(channel, request):
    return channel.unary_unary("/shop.Orders/Get")(request, metadata=MINE)
def by_place(channel, request):
    return channel.unary_unary("/shop.Orders/Get")(request, 60, MINE)
def with_call(channel, request):
    return channel.unary_unary("/shop.Orders/Get").with_call(request, metadata=MINE)[0]
def future(channel, request):
    return channel.unary_unary("/shop.Orders/Get").future(request, metadata=MINE).result()
def listed(channel, request):
    return b"".join(channel.unary_stream("/shop.Orders/List")(request, metadata=MINE))
def put(channel, request):
    return channel.stream_unary("/shop.Orders/Put")(iter([request, b"!"]), metadata=MINE)
def put_future(channel, request):
    return channel.stream_unary("/shop.Orders/Put").future(iter([request, b"!"]), metadata=MINE).result()
def each_of(channel, request):
    return b"".join(channel.stream_stream("/shop.Orders/Each")(iter([request, b"!"]), metadata=MINE))
def broken_off(channel, request):
    stream = channel.unary_stream("/shop.Orders/List")(request, metadata=MINE)
    first = next(stream)
    stream.cancel()
    return first

def dropped(channel, request):
    return next(channel.unary_stream("/shop.Orders/Wait")(request, metadata=MINE))
def awaited(channel, request):
    # What the server sees of a stream that nobody holds any more.
    first = dropped(channel, request)
    return first + (b" cancelled" if gone.wait(60) else b" held")

async def aio_unary(channel, request):
    return await channel.unary_unary("/shop.Orders/Get")(request, metadata=MINE)
async def aio_listed(channel, request):
    return b"".join([part async for part in channel.unary_stream("/shop.Orders/List")(request, metadata=MINE)])
async def aio_put(channel, request):
    return await channel.stream_unary("/shop.Orders/Put")(iter([request, b"!"]), metadata=MINE)
async def aio_each_of(channel, request):
    stream = channel.stream_stream("/shop.Orders/Each")(iter([request, b"!"]), metadata=MINE)
    return b"".join([part async for part in stream])
async def in_aio(call, port, request):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{{port}}") as channel:
        return await call(channel, request)

def handler(event, context):
    call, request, port = globals()[event["call"]], event["request"].encode(), event.get("port") or own
    seen.clear()
    if event["call"].startswith("aio"):
        answer = asyncio.run(in_aio(call, port, request))
    else:
        with grpc.insecure_channel(f"127.0.0.1:{{port}}") as channel:
            answer = call(channel, request)
    return [answer.decode(), seen, port]
"""
CALLS = {
    "unary": ("Get", "{}"),
    "by_place": ("Get", "{}"),
    "with_call": ("Get", "{}"),
    "future": ("Get", "{}"),
    "listed": ("List", "{0}a{0}b{0}c"),
    "put": ("Put", "{}!"),
    "put_future": ("Put", "{}!"),
    "each_of": ("Each", "{}!"),
    "aio_unary": ("Get", "{}"),
    "aio_listed": ("List", "{0}a{0}b{0}c"),
    "aio_put": ("Put", "{}!"),
    "aio_each_of": ("Each", "{}!"),
}
PACKAGES = pytest.mark.parametrize("packages", [packages for packages in SETS if "grpcio" in pins(packages)])
NAMED = pytest.mark.parametrize("call", CALLS)


def _source(packages: str) -> str:
    return SOURCE.format(path=str(bundled(packages)))


def _sent(function: Function) -> bytes:
    return b"".join(payload for _, payload in function.frames.frames)


@PACKAGES
@NAMED
def test_a_call_carries_the_trace_and_ends_with_its_status_pl_27_46(start: Start, packages: str, call: str) -> None:
    method, answer = CALLS[call]
    with start(_source(packages)) as function:
        said, metadata, port = function.invoke({"call": call, "request": CANARY}).json
        function.frames.wait_for(5, 1)
        span, handler = function.frames.ended()
        assert said == answer.format(CANARY)
        name = f"shop.Orders/{method}"
        assert (span.name, span.kind, span.parent_span_id, span.status.code) == (name, 3, handler.span_id, 0)
        expected = {
            "rpc.system.name": "grpc",
            "rpc.method": name,
            "rpc.response.status_code": "OK",
            "server.address": "127.0.0.1",
            "server.port": port,
        }
        assert attributes(span) == expected
        assert CANARY.encode() not in _sent(function)
        assert "[otel-xray]" not in function.output()
    (pairs,) = metadata
    found = dict(pairs)
    assert found["mine"] == "kept"
    assert found["traceparent"] == f"00-{span.trace_id.hex()}-{span.span_id.hex()}-01"
    assert f"Parent={span.span_id.hex()};" in found["x-amzn-trace-id"]


@PACKAGES
@NAMED
def test_a_call_that_fails_says_why_and_reads_as_without_the_layer_pl_41_90(
    start: Start, packages: str, call: str
) -> None:
    answers = []
    for layer in (False, True):
        with start(_source(packages), layer=layer) as function:
            answer = function.invoke({"call": call, "request": "missing"}).json
            answers.append((answer["errorType"], answer["stackTrace"]))
            if layer:
                function.frames.wait_for(5, 1)
                span, handler = function.frames.ended()
                seen = attributes(span)
                assert (span.status.code, handler.status.code) == (2, 2)
                assert (seen["rpc.response.status_code"], seen["error.type"]) == ("NOT_FOUND", "NOT_FOUND")
                assert "no such order" in span.status.message
    assert answers[0] == answers[1]


@PACKAGES
def test_a_stream_that_the_function_breaks_off_has_not_failed(start: Start, packages: str) -> None:
    with start(_source(packages)) as function:
        assert function.invoke({"call": "broken_off", "request": "x"}).json[0] == "xa"
        function.frames.wait_for(5, 1)
        span, _ = function.frames.ended()
    assert (span.status.code, attributes(span)["rpc.response.status_code"]) == (0, "CANCELLED")


@PACKAGES
def test_a_stream_that_is_dropped_is_cancelled_as_without_the_layer(start: Start, packages: str) -> None:
    with start(_source(packages)) as function:
        assert function.invoke({"call": "awaited", "request": "x"}).json[0] == "x cancelled"


@PACKAGES
def test_nobody_is_told_where_the_setting_says_none(start: Start, packages: str) -> None:
    with start(_source(packages), variables={"OTEL_XRAY_PROPAGATE": "none"}) as function:
        for call in ("unary", "aio_unary"):
            assert function.invoke({"call": call, "request": "x"}).json[1] == [[["mine", "kept"]]]


@PACKAGES
def test_grpc_disabled_by_name(start: Start, packages: str) -> None:
    variables = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "grpc_client,grpc_aio_client"}
    with start(_source(packages), variables=variables) as function:
        for call in ("unary", "aio_unary"):
            assert function.invoke({"call": call, "request": "x"}).json[1] == [[["mine", "kept"]]]
        function.frames.wait_for(5, 2)
        assert [span.name for span in function.frames.ended()] == ["app.handler"] * 2


@PACKAGES
@pytest.mark.parametrize("call", ["unary", "listed", "aio_unary"])
def test_a_server_that_hangs_is_blamed_pl_32(start: Start, packages: str, call: str) -> None:
    with wire_servers.serving(wire_servers.Silent) as silent, start(_source(packages)) as function:
        function.invoke({"call": call, "request": "x", "port": silent.port}, answered=False)
        function.frames.wait_for(3, 2)
        blamed = function.frames.started()[1]
        assert blamed.name == f"shop.Orders/{CALLS[call][0]}"
        assert attributes(blamed)["server.port"] == silent.port
        assert function.frames.ended() == []


ADDRESSES = [
    ("shop:50051", "shop", 50051),
    ("dns:///shop.example:443", "shop.example", 443),
    ("dns:shop:443", "shop", 443),
    ("dns://10.0.0.1/shop:443", "shop", 443),
    ("ipv4:10.0.0.1:443", "10.0.0.1", 443),
    ("ipv6:[::1]:443", "::1", 443),
    ("[::1]:443", "::1", 443),
    ("unix:/run/shop.sock", "/run/shop.sock", None),
    ("shop", "shop", None),
    ("", "", None),
]


@pytest.mark.parametrize(("target", "host", "port"), ADDRESSES)
def test_addresses_of_targets(target: str, host: str, port: int | None) -> None:
    from _otel_xray_agent.libraries.rpc.grpc import _address

    assert _address(target) == (host, port)
