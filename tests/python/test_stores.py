"""Redis, memcached, MongoDB, search engines, Cassandra and Neo4j: what is asked of them, and never with what values."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
import wire_servers
from conftest import Daemon, Start
from real_servers import PASSWORD
from servers import BOUND_S
from stage import ROOT, Function, attributes, bundled, pins

CANARY = "hunter2-canary"
SETS = ("stores-and-messages", "stores-and-messages-oldest")

HEAD = """
import asyncio, sys
from concurrent.futures import ThreadPoolExecutor
sys.path[1:1] = [{path!r}]
CANARY, PASSWORD = {canary!r}, {password!r}
def handler(event, context):
    return globals()[event["do"]](event["port"])
def work(port):
    return asyncio.run(main(port))
def wrong(port):
    return asyncio.run(wrongly(port))
def both(port):
    if "main" not in globals():
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(work, [port, port]))
    async def together():
        return list(await asyncio.gather(main(port), main(port)))
    return asyncio.run(together())
"""


@dataclass(frozen=True)
class Family:
    """One library: how a function uses it, and what is to be recorded of that."""

    distribution: str
    server: Any
    """A real one by its name, or what speaks as one."""
    source: str
    """With ``work`` and ``wrong``, or the coroutines ``main`` and ``wrongly``."""
    answer: Any
    system: str
    spans: list[tuple[str, dict[str, Any]]]
    refused: tuple[str, str]
    """Which call fails, and by which code."""
    hangs: str
    """What is blamed where the server never says a word."""
    disable: str
    variables: dict[str, str] = field(default_factory=dict)
    oldest: dict[str, Any] = field(default_factory=dict)
    """What is otherwise with the oldest version; nothing at all where that has no such thing."""


def _redis(module: str, system: str) -> Family:
    source = f"""
import {module}
def client(port):
    return {module}.{system.capitalize()}(host="127.0.0.1", port=port, password=PASSWORD, socket_timeout=100)
def work(port):
    with client(port) as store:
        store.set("user:1", CANARY)
        return store.get("user:1").decode()
def wrong(port):
    with client(port) as store:
        store.set("user:1", CANARY)
        store.lpush("user:1", CANARY)
"""
    return Family(
        distribution=module,
        server="redis",
        source=source,
        answer=CANARY,
        system=system,
        spans=[
            ("SET", {"db.operation.name": "SET", "db.query.text": "SET user:1 ?", "db.namespace": "0"}),
            ("GET", {"db.operation.name": "GET", "db.query.text": "GET user:1", "db.namespace": "0"}),
        ],
        refused=("LPUSH", "WRONGTYPE"),
        hangs="SET",
        disable=system,
    )


def _redis_async(module: str, system: str) -> Family:
    source = f"""
import {module}.asyncio as {module}
def client(port):
    return {module}.{system.capitalize()}(host="127.0.0.1", port=port, password=PASSWORD)
async def main(port):
    async with client(port) as store:
        await store.set("user:1", CANARY)
        return (await store.get("user:1")).decode()
async def wrongly(port):
    async with client(port) as store:
        await store.set("user:1", CANARY)
        await store.lpush("user:1", CANARY)
"""
    sync = _redis(module, system)
    return Family(**{**vars(sync), "source": source})


MONGO = """
import pymongo
def client(port):
    return pymongo.MongoClient("127.0.0.1", port, connect=False)
def work(port):
    with client(port) as store:
        store.shop.orders.insert_one({"_id": 1, "email": CANARY})
        return len(list(store.shop.orders.find({"email": CANARY})))
def wrong(port):
    with client(port) as store:
        store.shop.orders.insert_one({"_id": 1, "email": "refused"})
"""
MONGO_ASYNC = """
import pymongo
async def main(port):
    async with pymongo.AsyncMongoClient("127.0.0.1", port) as store:
        await store.shop.orders.insert_one({"_id": 1, "email": CANARY})
        return len(await store.shop.orders.find({"email": CANARY}).to_list())
async def wrongly(port):
    async with pymongo.AsyncMongoClient("127.0.0.1", port) as store:
        await store.shop.orders.insert_one({"_id": 1, "email": "refused"})
"""
MOTOR = """
from motor.motor_asyncio import AsyncIOMotorClient
async def main(port):
    store = AsyncIOMotorClient("127.0.0.1", port, io_loop=asyncio.get_running_loop())
    await store.shop.orders.insert_one({"_id": 1, "email": CANARY})
    return len(await store.shop.orders.find({"email": CANARY}).to_list(10))
async def wrongly(port):
    store = AsyncIOMotorClient("127.0.0.1", port, io_loop=asyncio.get_running_loop())
    await store.shop.orders.insert_one({"_id": 1, "email": "refused"})
"""


def _mongodb(name: str, source: str, **oldest: Any) -> Family:
    def about(operation: str) -> tuple[str, dict[str, Any]]:
        place = {"db.collection.name": "orders", "db.namespace": "shop"}
        return f"{operation} orders", {"db.operation.name": operation, **place, "db.query.text": None}

    spans = [about("insert"), about("find"), about("getMore")]
    connect = ("connect", {"db.operation.name": "connect", "db.namespace": None})
    return Family(
        distribution=name,
        server=wire_servers.Mongo,
        source=source,
        answer=1,
        system="mongodb",
        spans=spans,
        refused=("insert orders", "11000"),
        hangs="insert",
        disable="pymongo",
        # Its first session waits for a server.
        oldest={"hangs": "connect", "spans": [connect, *spans], **oldest},
    )


def _search(
    distribution: str, system: str, create: str, *, status: int | None = None, is_async: bool = False
) -> Family:
    """Clients that are older than the second generation give the body of an answer alone."""
    source = f"""
from {distribution.replace("-py", "py")} import {create.partition("(")[0]}
def work(port):
    store = {create}
    return store.search(index="orders", body={{"query": {{"term": {{"email": CANARY}}}}}})["hits"]["hits"]
def wrong(port):
    store = {create}
    store.search(index="orders", body={{"query": {{"refused": CANARY}}}})
"""
    if is_async:
        source = source.replace("def work", "async def main").replace("def wrong", "async def wrongly")
        source = source.replace("    return store.search(", "    answer = await store.search(")
        source = source.replace('["hits"]["hits"]', '\n    await store.close()\n    return answer["hits"]["hits"]')
        source = source.replace("    store.search(", "    await store.search(")
    about = {
        "db.operation.name": "search",
        "db.collection.name": "orders",
        "db.query.text": None,
        "http.request.method": "POST",
        "http.response.status_code": status,
    }
    before = {**about, "http.response.status_code": None}
    return Family(
        distribution=distribution,
        server=wire_servers.Search,
        source=source,
        answer=[],
        system=system,
        spans=[("search orders", about)],
        refused=("search orders", "400"),
        hangs="search orders",
        disable=f"{system},urllib3,http.client,aiohttp,aiohttp-client",
        # The runtime of these tests has the OpenTelemetry API.
        variables={"OTEL_PYTHON_INSTRUMENTATION_ELASTICSEARCH_ENABLED": "false"},
        oldest={"spans": [("search orders", before)]},
    )


NEO4J = """
from neo4j import GraphDatabase
def client(port):
    return GraphDatabase.driver(f"bolt://127.0.0.1:{port}", auth=("neo4j", PASSWORD))
def work(port):
    with client(port) as driver, driver.session(database="shop") as session:
        session.run("CREATE (n {name: $name}) RETURN n", name=CANARY).consume()
        session.execute_write(lambda tx: tx.run("MATCH (n) RETURN n").consume())
        return "done"
def wrong(port):
    with client(port) as driver, driver.session(database="shop") as session:
        session.run("CREATE (n {name: 'refused'})").consume()
"""
NEO4J_ASYNC = """
from neo4j import AsyncGraphDatabase
def client(port):
    return AsyncGraphDatabase.driver(f"bolt://127.0.0.1:{port}", auth=("neo4j", PASSWORD))
async def match(tx):
    await (await tx.run("MATCH (n) RETURN n")).consume()
async def main(port):
    async with client(port) as driver, driver.session(database="shop") as session:
        await (await session.run("CREATE (n {name: $name}) RETURN n", name=CANARY)).consume()
        await session.execute_write(match)
        return "done"
async def wrongly(port):
    async with client(port) as driver, driver.session(database="shop") as session:
        await (await session.run("CREATE (n {name: 'refused'})")).consume()
"""


def _neo4j(source: str) -> Family:
    create = "CREATE (n {name: $name}) RETURN n"
    return Family(
        distribution="neo4j",
        server=wire_servers.Bolt,
        source=source,
        answer="done",
        system="neo4j",
        spans=[
            ("CREATE shop", {"db.operation.name": "CREATE", "db.query.text": create, "db.namespace": "shop"}),
            ("connect shop", {"db.operation.name": "connect", "db.namespace": "shop"}),
            ("MATCH shop", {"db.operation.name": "MATCH", "db.namespace": "shop"}),
        ],
        refused=("CREATE shop", "Neo.ClientError.Schema.ConstraintValidationFailed"),
        hangs="CREATE shop",
        disable="neo4j",
    )


FAMILIES = {
    "redis": _redis("redis", "redis"),
    "redis async": _redis_async("redis", "redis"),
    "valkey": _redis("valkey", "valkey"),
    "valkey async": _redis_async("valkey", "valkey"),
    "pymemcache": Family(
        distribution="pymemcache",
        server="memcached",
        source="""
from pymemcache.client.base import Client
def work(port):
    store = Client(("127.0.0.1", port), default_noreply=False)
    store.set("user:1", CANARY)
    return store.get("user:1").decode()
def wrong(port):
    store = Client(("127.0.0.1", port), default_noreply=False)
    store.set("user:1", CANARY)
    store.incr("user:1", 1)
""",
        answer=CANARY,
        system="memcached",
        spans=[
            ("set", {"db.operation.name": "set", "db.query.text": "set user:1"}),
            ("get", {"db.operation.name": "get", "db.query.text": "get user:1"}),
        ],
        refused=("incr", "MemcacheClientError"),
        hangs="set",
        disable="pymemcache",
    ),
    "pymongo": _mongodb("pymongo", MONGO),
    "pymongo async": _mongodb("pymongo", MONGO_ASYNC, distribution="none"),
    "motor": _mongodb("motor", MOTOR),
    "elasticsearch": _search("elasticsearch", "elasticsearch", 'Elasticsearch(f"http://127.0.0.1:{port}")', status=200),
    "elasticsearch async": _search(
        "elasticsearch", "elasticsearch", 'AsyncElasticsearch(f"http://127.0.0.1:{port}")', status=200, is_async=True
    ),
    "opensearch": _search("opensearch-py", "opensearch", 'OpenSearch([{"host": "127.0.0.1", "port": port}])'),
    "opensearch async": _search(
        "opensearch-py", "opensearch", 'AsyncOpenSearch([{"host": "127.0.0.1", "port": port}])', is_async=True
    ),
    "cassandra": Family(
        distribution="cassandra-driver",
        server=wire_servers.Cassandra,
        source="""
from cassandra.cluster import Cluster
def client(port):
    return Cluster(["127.0.0.1"], port=port, protocol_version=4, schema_metadata_enabled=False,
                   token_metadata_enabled=False, connect_timeout=100)
def work(port):
    with client(port) as cluster:
        session = cluster.connect("shop")
        session.execute("INSERT INTO orders (email) VALUES (%s)", [CANARY])
        return "done"
def wrong(port):
    with client(port) as cluster:
        cluster.connect("shop").execute("SELECT * FROM refused WHERE email = %s", [CANARY])
""",
        answer="done",
        system="cassandra",
        spans=[
            ("connect shop", {"db.operation.name": "connect", "db.namespace": "shop"}),
            (
                "INSERT shop",
                {
                    "db.operation.name": "INSERT",
                    "db.query.text": "INSERT INTO orders (email) VALUES (%s)",
                    "db.namespace": "shop",
                },
            ),
        ],
        refused=("SELECT shop", "InvalidRequest"),
        hangs="connect shop",
        disable="cassandra",
    ),
    "neo4j": _neo4j(NEO4J),
    "neo4j async": _neo4j(NEO4J_ASYNC),
}


def _cases() -> list[tuple[str, str]]:
    """Each family with the sets of packages that have its library for this version of Python."""
    found = []
    for packages in SETS:
        there = {name.lower() for name in pins(packages)}
        for name, family in FAMILIES.items():
            if {**vars(family), **(family.oldest if "oldest" in packages else {})}["distribution"] in there:
                found.append((packages, name))
    return found


CASES = pytest.mark.parametrize(("packages", "name"), _cases())
Serve = Callable[[Any], int]


@pytest.fixture(scope="module")
def serve(server_port: Callable[[str], int]) -> Iterator[Serve]:
    """The port of a family's server, real or a stand-in."""
    running: dict[Any, int] = {}
    with ExitStack() as stack:

        def port(server: Any) -> int:
            if isinstance(server, str):
                return _with_slots(server_port(server)) if server == "redis" else server_port(server)
            if server not in running:
                running[server] = stack.enter_context(wire_servers.serving(server)).port
            return running[server]

        yield port


def _family(packages: str, name: str) -> tuple[Family, str]:
    family = FAMILIES[name]
    if "oldest" in packages:
        family = Family(**{**vars(family), **family.oldest})
    head = HEAD.format(path=str(bundled(packages)), canary=CANARY, password=PASSWORD)
    return family, head + family.source


def _sent(function: Function) -> bytes:
    return b"".join(payload for _, payload in function.frames.frames)


@CASES
def test_calls_pl_21_22_42_43(start: Start, serve: Serve, packages: str, name: str) -> None:
    family, source = _family(packages, name)
    port = serve(family.server)
    with start(source, variables=family.variables) as function:
        assert function.invoke({"do": "work", "port": port}).json == family.answer
        function.frames.wait_for(5, 1)
        *calls, handler = function.frames.ended()
        assert [call.name for call in calls] == [about[0] for about in family.spans]
        for call, (_, expected) in zip(calls, family.spans):
            assert (call.kind, call.parent_span_id, call.status.code) == (3, handler.span_id, 0)
            seen = attributes(call)
            there = {"db.system.name": family.system, "server.address": "127.0.0.1", "server.port": port}
            assert {key: seen.get(key) for key in (*expected, *there)} == {**expected, **there}
        # PL-51: of values and passwords nothing.
        assert CANARY.encode() not in _sent(function)
        assert PASSWORD.encode() not in _sent(function)
        assert "[otel-xray]" not in function.output()


@CASES
def test_what_is_refused_says_why_and_reads_as_without_the_layer_pl_41_90(
    start: Start, serve: Serve, packages: str, name: str
) -> None:
    family, source = _family(packages, name)
    answers = []
    for layer in (False, True):
        with start(source, layer=layer, variables=family.variables) as function:
            answer = function.invoke({"do": "wrong", "port": serve(family.server)}).json
            assert "errorType" in answer, answer
            frames = answer["stackTrace"]
            if family.system == "mongodb":
                # Where anybody listens pymongo goes by other lines of its own.
                frames = [re.sub(r"line \d+", "line", frame) for frame in frames]
            answers.append((answer["errorType"], answer["errorMessage"], frames))
            if layer:
                function.frames.wait_for(5, 1)
                call = function.frames.named(family.refused[0])
                seen = attributes(call)
                assert call.status.code == 2
                assert (seen["db.response.status_code"], seen["error.type"]) == (family.refused[1], family.refused[1])
                assert CANARY.encode() not in _sent(function)
    assert answers[0] == answers[1]


@CASES
def test_two_at_once_are_both_the_handlers_pl_71_72(start: Start, serve: Serve, packages: str, name: str) -> None:
    family, source = _family(packages, name)
    with start(source, variables=family.variables) as function:
        assert function.invoke({"do": "both", "port": serve(family.server)}).json == [family.answer] * 2
        function.frames.wait_for(5, 1)
        *calls, handler = function.frames.ended()
    assert sorted(call.name for call in calls) == sorted(about[0] for about in family.spans * 2)
    assert {call.parent_span_id for call in calls} == {handler.span_id}


@CASES
def test_a_store_that_hangs_is_blamed_pl_32(start: Start, packages: str, name: str) -> None:
    family, source = _family(packages, name)
    with wire_servers.serving(wire_servers.Silent) as silent, start(source, variables=family.variables) as function:
        function.invoke({"do": "work", "port": silent.port}, answered=False)
        function.frames.wait_for(3, 2)
        handler, call = function.frames.started()[:2]
        assert (call.name, call.parent_span_id) == (family.hangs, handler.span_id)
        assert function.frames.ended() == []


@CASES
def test_disabled_by_name(start: Start, serve: Serve, packages: str, name: str) -> None:
    family, source = _family(packages, name)
    with start(
        source, variables={**family.variables, "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": family.disable}
    ) as function:
        assert function.invoke({"do": "work", "port": serve(family.server)}).json == family.answer
        function.frames.wait_for(5, 1)
        assert [span.name for span in function.frames.ended()] == ["app.handler"]


@CASES
def test_outside_of_an_invocation_a_call_is_made_all_the_same(
    start: Start, serve: Serve, packages: str, name: str
) -> None:
    family, source = _family(packages, name)
    with start(
        f"{source}\nFOUND = work({serve(family.server)})\ndef found(port):\n    return FOUND\n",
        variables=family.variables,
    ) as function:
        assert function.invoke({"do": "found", "port": 0}).json == family.answer
        function.frames.wait_for(5, 1)
        assert function.frames.ended()[-1].name == "app.handler"
        assert "[otel-xray]" not in function.output()


COMMANDS = json.loads((ROOT / "tests" / "redis.json").read_text())["commands"]


@pytest.mark.parametrize("case", COMMANDS, ids=lambda case: " ".join(case["words"])[:30])
def test_commands_of_redis_without_values_pl_42_51(case: dict[str, Any]) -> None:
    from _otel_xray_agent.libraries.stores.redis import _words

    for given in (case["words"], [word.encode() for word in case["words"]]):
        assert _words(given) == (case["name"], case["text"])


PIPELINES = """
import MODULE.cluster, MODULE.asyncio as later
from MODULE import SYSTEM
from MODULE.cluster import SYSTEMCluster as Cluster
def options(port):
    return dict(host="127.0.0.1", port=port, password=PASSWORD)
def fill(pipeline):
    pipeline.set("user:1", CANARY)
    pipeline.get("user:1")
    return pipeline
def sync(port):
    with SYSTEM(**options(port)) as store:
        return [store.pipeline().execute(), len(fill(store.pipeline()).execute()),
                len(store.pipeline(transaction=False).get("user:1").get("user:1").execute())]
def clustered(port):
    with Cluster(**options(port)) as store:
        return [store.pipeline().execute(), len(fill(store.pipeline()).execute()), store.get("user:1").decode()]
async def later_sync(port):
    async with later.SYSTEM(**options(port)) as store:
        return [await store.pipeline().execute(), len(await fill(store.pipeline()).execute()),
                len(await store.pipeline(transaction=False).get("user:1").get("user:1").execute())]
async def later_clustered(port):
    from MODULE.asyncio.cluster import SYSTEMCluster as LaterCluster
    async with LaterCluster(**options(port)) as store:
        return [await store.pipeline().execute(), len(await fill(store.pipeline()).execute()),
                (await store.get("user:1")).decode()]
def watching(port):
    with SYSTEM(**options(port)) as store, store.pipeline() as pipeline:
        pipeline.watch("user:1")
        pipeline.multi()
        pipeline.set("user:1", CANARY)
        return len(pipeline.execute())
def wrong_pipeline(port):
    with SYSTEM(**options(port)) as store:
        store.pipeline().set("user:1", CANARY).lpush("user:1", CANARY).execute()
def asynchronously(name):
    return lambda port: asyncio.run(globals()[name](port))
async_one, async_cluster = asynchronously("later_sync"), asynchronously("later_clustered")
"""
TWO = [("MULTI", "SET; GET", 2), ("PIPELINE GET", "GET; GET", 2)]
BATCHES = {
    "sync": (TWO, [[], 2, 2]),
    "async_one": (TWO, [[], 2, 2]),
    "clustered": ([("PIPELINE", "SET; GET", 2), ("GET", "GET user:1", None)], [[], 2, CANARY]),
    "async_cluster": ([("PIPELINE", "SET; GET", 2), ("GET", "GET user:1", None)], [[], 2, CANARY]),
    "watching": ([("WATCH", "WATCH user:1", None), ("MULTI SET", "SET", 1)], 1),
}
OF_REDIS = pytest.mark.parametrize(
    ("packages", "library"),
    [(packages, name) for packages in SETS for name in ("redis", "valkey") if name in pins(packages)],
)


def _with_slots(port: int) -> int:
    """Makes Redis a cluster of one, which has all slots."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        lines = connection.makefile("rwb", buffering=0)
        for command in (f"AUTH {PASSWORD}", "CLUSTER ADDSLOTSRANGE 0 16383"):
            lines.write(command.encode() + b"\r\n")
            lines.readline()
        while True:
            lines.write(b"CLUSTER INFO\r\n")
            size = int(lines.readline()[1:])
            info = b""
            while len(info) < size + 2:
                info += lines.readline()
            if b"cluster_state:ok" in info:
                return port


def _of_redis(packages: str, library: str) -> str:
    head = HEAD.format(path=str(bundled(packages)), canary=CANARY, password=PASSWORD)
    return head + PIPELINES.replace("MODULE", library).replace("SYSTEM", library.capitalize())


@OF_REDIS
@pytest.mark.parametrize("do", BATCHES)
def test_pipelines_and_clusters_pl_42_64(start: Start, serve: Serve, packages: str, library: str, do: str) -> None:
    expected, answer = BATCHES[do]
    if do == "async_cluster" and pins(packages)[library].startswith("4.2."):
        pytest.skip("they came with redis 4.3")
    with start(_of_redis(packages, library)) as function:
        assert function.invoke({"do": do, "port": serve("redis")}).json == answer
        function.frames.wait_for(5, 1)
        *calls, handler = function.frames.ended()
        # What a cluster's client asks first is where the slots are.
        calls = [call for call in calls if call.name.partition(" ")[0] not in ("CLUSTER", "COMMAND", "INFO")]
        seen = [attributes(call) for call in calls]
        names = ("db.operation.name", "db.query.text", "db.operation.batch.size")
        assert [tuple(one.get(name) for name in names) for one in seen] == expected
        assert [call.name for call in calls] == [about[0] for about in expected]
        for call, one in zip(calls, seen):
            assert call.parent_span_id == handler.span_id
            assert (one["db.system.name"], one["server.address"], one["server.port"]) == (
                library,
                "127.0.0.1",
                serve("redis"),
            )
        assert CANARY.encode() not in _sent(function)
        assert "[otel-xray]" not in function.output()


@OF_REDIS
def test_a_pipeline_that_fails_shows_no_values_pl_51(start: Start, serve: Serve, packages: str, library: str) -> None:
    with start(_of_redis(packages, library)) as function:
        assert "WRONGTYPE" in function.invoke({"do": "wrong_pipeline", "port": serve("redis")}).json["errorMessage"]
        function.frames.wait_for(5, 1)
        call = function.frames.named("MULTI")
        assert (call.status.code, attributes(call)["db.response.status_code"]) == (2, "WRONGTYPE")
        assert CANARY.encode() not in call.SerializeToString()


def test_what_the_x_ray_sdk_records_of_mongodb_comes_once_pl_66(start: Start, serve: Serve, daemon: Daemon) -> None:
    _, source = _family(SETS[0], "pymongo")
    sdk = f"import sys\nsys.path[1:1] = [{str(bundled('aws-xray-sdk-2.15.0'))!r}]\n"
    patched = f"{sdk}{source}\nfrom aws_xray_sdk.core import patch\npatch(['pymongo'])\n"
    with start(patched, variables=daemon.variables()) as function:
        assert function.invoke({"do": "work", "port": serve(wire_servers.Mongo)}).json == 1
        function.frames.wait_for(5, 1)
        assert [span.name for span in function.frames.ended()] == ["app.handler"]
    names = [daemon.documents.get(timeout=BOUND_S)["name"] for _ in range(3)]
    assert {name.rpartition(":")[0] for name in names} == {"shop@127.0.0.1"}


@pytest.mark.parametrize(
    ("name", "method"), [("elasticsearch", "POST"), ("redis", "")], ids=["a library with spans of its own", "without"]
)
def test_a_librarys_own_spans_stay_and_are_not_doubled_pl_49(
    start: Start, serve: Serve, name: str, method: str
) -> None:
    family, source = _family(SETS[0], name)
    api = f"import sys\nsys.path[1:1] = [{str(bundled('opentelemetry-api-newest'))!r}]\n"
    with start(f"{api}from opentelemetry import trace\n{source}") as function:
        assert function.invoke({"do": "work", "port": serve(family.server)}).json == family.answer
        function.frames.wait_for(5, 1)
        *spans, handler = function.frames.ended()
    if not method:
        assert [span.name for span in spans] == ["SET", "GET"]
        return
    call, own = spans
    # What the library says is around the one request.
    assert (own.name, own.kind, own.parent_span_id) == ("search", 1, handler.span_id)
    assert (call.name, call.kind, call.parent_span_id) == (method, 3, own.span_id)


SEAMS = {
    "redis": [
        "redis.client:Redis.execute_command",
        "redis.client:Pipeline.execute",
        "redis.asyncio:Redis.execute_command",
    ],
    "pymemcache": ["pymemcache.client.base:Client._fetch_cmd", "pymemcache.client.base:Client._misc_cmd"],
    "pymongo": ["pymongo.mongo_client:MongoClient._retryable_read", "pymongo.mongo_client:MongoClient._retry_internal"],
    "opensearch-py": ["opensearchpy.transport:Transport.perform_request"],
    "cassandra-driver": ["cassandra.cluster:Session.execute_async", "cassandra.cluster:Cluster.connect"],
    "neo4j": ["neo4j._sync.work.session:Session.run", "neo4j._async.work.session:AsyncSession.run"],
    "kafka-python": ["kafka.producer.kafka:KafkaProducer.send", "kafka.producer.kafka:KafkaProducer.__init__"],
    "aiokafka": ["aiokafka.producer.producer:AIOKafkaProducer.send"],
    "confluent-kafka": ["confluent_kafka:Producer.produce", "confluent_kafka:Producer.__init__"],
    "pika": ["pika.channel:Channel.basic_publish", "pika.adapters.blocking_connection:BlockingChannel.basic_consume"],
    "grpcio": [
        "grpc._channel:_UnaryUnaryMultiCallable.__call__",
        "grpc.aio._channel:UnaryStreamMultiCallable.__call__",
    ],
}
LOOKS = """
import importlib, inspect, re
def look(names):
    found = []
    for name in names:
        module, _, path = name.partition(":")
        it = importlib.import_module(module)
        for part in path.split("."):
            it = getattr(it, part)
        try:
            signature = re.sub("0x[0-9a-f]+", "", str(inspect.signature(it)))
        except ValueError:
            signature = None
        about = [getattr(it, part, None) for part in ("__name__", "__qualname__", "__module__", "__doc__")]
        found.append([signature, inspect.iscoroutinefunction(it), *about])
    return found
"""


@pytest.mark.parametrize("packages", [packages for packages in SETS if pins(packages)])
def test_what_stands_in_looks_like_what_it_stands_for_pl_33(start: Start, packages: str) -> None:
    names = [name for library, seams in SEAMS.items() if library in pins(packages) for name in seams]
    assert len(names) > 10
    source = HEAD.format(path=str(bundled(packages)), canary=CANARY, password=PASSWORD) + LOOKS
    looks = []
    for layer in (False, True):
        with start(source, layer=layer) as function:
            looks.append(function.invoke({"do": "look", "port": names}).json)
    assert looks[0] == looks[1]
