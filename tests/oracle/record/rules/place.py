"""Segment or subsegment, identifiers, times and names: MAP-1 to MAP-21."""

from __future__ import annotations

from otlp import BEGIN_NS, exception, link, span

SHOP = {"service.name": "shop", "cloud.provider": "aws"}
LOCAL_ROOT = {"aws.span.kind": "LOCAL_ROOT", "aws.local.service": "shop-api", "aws.local.operation": "GET /cart"}

CASES = {
    "map-01-internal-with-parent": ([span("price", "internal")], SHOP),
    "map-01-client-with-parent": ([span("call", "client")], SHOP),
    "map-01-producer-with-parent": ([span("orders publish", "producer")], SHOP),
    "map-01-consumer-with-parent": ([span("orders process", "consumer")], SHOP),
    "map-01-unspecified-kind-with-parent": ([span("something", "unspecified")], SHOP),
    "map-02-server-with-parent": ([span("GET /cart", "server")], SHOP),
    "map-02-server-without-parent": ([span("GET /cart", "server", parent=None)], SHOP),
    "map-02-root-internal": ([span("nightly", "internal", parent=None)], SHOP),
    "map-02-root-client": ([span("call", "client", parent=None)], SHOP),
    "map-02-root-producer": ([span("publish", "producer", parent=None)], SHOP),
    "map-02-root-consumer": ([span("process", "consumer", parent=None)], SHOP),
    "map-02-root-without-service-name": ([span("GET /cart", "server", parent=None)], {}),
    "map-02-root-of-unknown-service": (
        [span("GET /cart", "server", parent=None)],
        {"service.name": "unknown_service:python"},
    ),
    "map-03-tree-of-four": (
        [
            span("GET /cart", "server", parent=None),
            span("load", "internal", parent="GET /cart"),
            span("SELECT", "client", {"db.system": "postgresql", "db.name": "shop"}, parent="load"),
            span("render", "internal", parent="GET /cart"),
        ],
        SHOP,
    ),
    "map-03-zero-ids-beside-a-good-span": (
        [
            span("no trace", "server", traceId="0" * 32),
            span("no id", "internal", spanId="0" * 16),
            span("zero parent", "server", parentSpanId="0" * 16),
            span("good", "server"),
        ],
        SHOP,
    ),
    "map-03-ends-before-it-begins": ([span("clock step", "internal", lasting_ns=-2_000_000)], SHOP),
    "map-03-no-end-time": ([span("open", "internal", endTimeUnixNano="0")], SHOP),
    "map-03-no-times": ([span("timeless", "internal", startTimeUnixNano="0", endTimeUnixNano="0")], SHOP),
    "map-03-fractions-of-a-microsecond": (
        [span("short", "internal", begin_ns=BEGIN_NS + 999, lasting_ns=1_501)],
        SHOP,
    ),
    "map-03-same-span-twice": (
        [span("first", "internal", seed="twin"), span("second", "internal", seed="twin")],
        SHOP,
    ),
    "map-04-local-root-server": ([span("GET /cart", "server", LOCAL_ROOT)], SHOP),
    "map-04-local-root-internal": ([span("job", "internal", LOCAL_ROOT)], SHOP),
    "map-04-local-root-internal-of-an-aws-service": (
        [span("job", "internal", {**LOCAL_ROOT, "rpc.system": "aws-api", "aws.service": "S3"})],
        SHOP,
    ),
    "map-05-local-root-client": (
        [
            span(
                "GET",
                "client",
                {
                    **LOCAL_ROOT,
                    "aws.remote.service": "billing",
                    "aws.remote.operation": "GET /bill",
                    "remoteTarget": "bill",
                    "K8s.RemoteNamespace": "pay",
                    "http.method": "GET",
                    "http.url": "https://billing.example.com/bill",
                    "http.status_code": 200,
                    "own": "value",
                },
                links=[link("map-05")],
            )
        ],
        SHOP,
    ),
    "map-05-local-root-aws-client": (
        [
            span(
                "SQS.SendMessage",
                "client",
                {
                    **LOCAL_ROOT,
                    "rpc.system": "aws-api",
                    "rpc.method": "SendMessage",
                    "aws.remote.service": "AWS::SQS",
                    "aws.region": "eu-west-1",
                    "aws.request_id": "r-1",
                    "aws.queue.url": "https://sqs.eu-west-1.amazonaws.com/123456789012/orders",
                    "aws.account_id": "123456789012",
                },
            )
        ],
        SHOP,
    ),
    "map-05-local-root-consumer": (
        [span("orders process", "consumer", {**LOCAL_ROOT, "aws.remote.service": "kafka"}, links=[link("map-05")])],
        SHOP,
    ),
    "map-05-local-root-producer-without-remote-service": (
        [span("orders publish", "producer", LOCAL_ROOT, parent=None)],
        SHOP,
    ),
    "map-05-local-root-client-with-exception": (
        [span("GET", "client", LOCAL_ROOT, status="error", events=[exception("Timeout", "late")])],
        SHOP,
    ),
    "map-06-remote-flag": (
        [
            span("remote parent", "internal", flags=0x301),
            span("local parent", "internal", flags=0x101),
            span("remote parent of a client", "client", flags=0x301),
            span("no flags", "internal"),
        ],
        SHOP,
    ),
    "map-07-in-progress": ([span("half way", "internal", {"aws.xray.inprogress": True})], SHOP),
    "map-09-local-service": ([span("GET /cart", "server", {"aws.local.service": "shop-api"})], SHOP),
    "map-10-remote-service": ([span("GET", "client", {"aws.remote.service": "billing"})], SHOP),
    "map-10-remote-service-of-a-producer": ([span("send", "producer", {"aws.remote.service": "kafka"})], SHOP),
    "map-10-remote-service-of-a-consumer": ([span("process", "consumer", {"aws.remote.service": "kafka"})], SHOP),
    "map-10-remote-service-of-an-internal-span": ([span("work", "internal", {"aws.remote.service": "x"})], SHOP),
    "map-10-remote-aws-service": (
        [
            span("a", "client", {"rpc.system": "aws-api", "aws.remote.service": "AWS.SDK.Kinesis"}),
            span("b", "client", {"rpc.system": "aws-api", "aws.remote.service": "AWS::S3"}),
            span("c", "client", {"aws.remote.service": "AWS::S3"}),
        ],
        SHOP,
    ),
    "map-11-peer-service": ([span("call", "client", {"peer.service": "tax", "rpc.service": "Tax"})], SHOP),
    "map-11-service-peer-name": ([span("call", "client", {"service.peer.name": "tax"})], SHOP),
    "map-11-peer-service-of-a-server": ([span("GET /", "server", {"peer.service": "caller"})], SHOP),
    "map-12-aws-service": (
        [span("DynamoDB.GetItem", "client", {"aws.service": "DynamoDB", "aws.operation": "GetItem"})],
        SHOP,
    ),
    "map-12-aws-service-of-an-internal-span": ([span("wrap", "internal", {"aws.service": "S3"})], SHOP),
    "map-13-db-name": ([span("SELECT shop", "client", {"db.system": "redis", "db.name": "0"})], SHOP),
    "map-13-db-name-and-connection-string": (
        [
            span(
                "SELECT shop",
                "client",
                {
                    "db.system": "mysql",
                    "db.name": "shop",
                    "db.connection_string": "jdbc:mysql://db1.example.com:3306",
                },
            )
        ],
        SHOP,
    ),
    "map-13-db-name-and-strange-connection-string": (
        [span("q", "client", {"db.system": "mssql", "db.name": "shop", "db.connection_string": "%%not a url"})],
        SHOP,
    ),
    "map-13-db-namespace-and-server-address": (
        [
            span(
                "SELECT",
                "client",
                {"db.system.name": "postgresql", "db.namespace": "shop", "server.address": "db1", "server.port": 5432},
            )
        ],
        SHOP,
    ),
    "map-14-service-name-of-a-server": ([span("GET /cart", "server", {"rpc.service": "Cart"})], SHOP),
    "map-15-rpc-service": (
        [
            span("Tax/Of", "client", {"rpc.system": "grpc", "rpc.service": "tax.Tax", "rpc.method": "Of"}),
            span("Tax/Of2", "client", {"rpc.system.name": "grpc", "rpc.method": "tax.Tax/Of", "server.address": "t"}),
        ],
        SHOP,
    ),
    "map-16-http-host": ([span("GET", "client", {"http.method": "GET", "http.host": "a.example:8443"})], SHOP),
    "map-16-server-address": (
        [span("GET", "client", {"http.request.method": "GET", "server.address": "a.example"})],
        SHOP,
    ),
    "map-17-net-peer-name": ([span("connect", "client", {"net.peer.name": "a.example"})], SHOP),
    "map-18-span-name": ([span("resize image", "internal", parent=None)], {}),
    "map-19-rpc-system-of-a-server": ([span("handle", "server", {"rpc.system": "aws-api"})], SHOP),
    "map-19-rpc-system-of-an-internal-span": ([span("wrap", "internal", {"rpc.system": "aws-api"})], SHOP),
    "map-19-rpc-system-name": (
        [
            span(
                "S3/GetObject",
                "client",
                {"rpc.system.name": "aws-api", "rpc.service": "S3", "rpc.method": "S3/GetObject"},
            )
        ],
        SHOP,
    ),
    "map-20-forbidden-characters": (
        [
            span("GET /users/{id}?x=1,2", "internal", seed="1"),
            span("???", "internal", seed="2"),
            span("", "internal", seed="3"),
            span("tab\tnew\nline", "internal", seed="4"),
            span("back\\slash", "internal", seed="5"),
            span("größe 日本語 ١٢٣\u00a0x", "internal", seed="6"),
            span("N" * 10, "internal", seed="7"),
        ],
        SHOP,
    ),
    "map-20-long-names": (
        [span("a" * 300, "internal", seed="1"), span("ä" * 150, "internal", seed="2")],
        SHOP,
    ),
    "map-20-attribute-with-forbidden-characters": (
        [
            span("q", "client", {"db.system": "mssql", "db.name": "what?"}, seed="1"),
            span("q", "client", {"peer.service": "tax (new), old"}, seed="2"),
            span("q", "client", {"peer.service": "s" * 210}, seed="3"),
        ],
        SHOP,
    ),
    "map-20-service-name-with-forbidden-characters": (
        [span("GET /", "server", parent=None)],
        {"service.name": "shop; new {v2}"},
    ),
    "map-21-name-wins-over-span-name": (
        [span("very telling name", "client", {"peer.service": "tax", "own": "kept"})],
        SHOP,
    ),
}
