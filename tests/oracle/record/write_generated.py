"""Writes inputs/generated: traces of random shape and random attributes, from a seed."""

from __future__ import annotations

import random
from typing import Any, Callable

import otlp

SEED = 20260910
COUNT = 40
KINDS = [*(["internal"] * 4), *(["client"] * 4), "server", "producer", "consumer", "unspecified"]
WORDS = ["cart", "order", "GET /users/{id}", "größe", "日本", "a b", "x" * 260, "", "Price?", "tab\there", "7", "true"]


def scalar(lot: random.Random) -> Any:
    return lot.choice([lot.choice(WORDS), lot.randrange(-1000, 1000), lot.random() * 1000, lot.random() < 0.5])


def any_value(lot: random.Random, depth: int = 0) -> Any:
    shape = lot.randrange(10) if depth < 3 else 0
    if shape == 8:
        return [any_value(lot, depth + 1) for _ in range(lot.randrange(4))]
    if shape == 9:
        return {f"k{n}": any_value(lot, depth + 1) for n in range(lot.randrange(4))}
    return scalar(lot)


def http(lot: random.Random) -> dict[str, Any]:
    host, path = lot.choice(["a.example", "10.0.0.7", "b.example:8080"]), lot.choice(["/", "/v1/cart?id=7", ""])
    code = lot.choice([200, 204, 301, 400, 404, 429, 500, 503])
    old = {"http.method": "GET", "http.status_code": code, "http.scheme": "https", "http.host": host}
    old.update({"http.target": path or "/", "http.user_agent": "agent/1", "net.peer.ip": "10.0.0.9"})
    new = {"http.request.method": "GET", "http.response.status_code": code, "url.full": f"https://{host}{path}"}
    new.update({"server.address": host, "server.port": 443, "user_agent.original": "agent/1"})
    return lot.choice([old, new, {**old, **new}])


def database(lot: random.Random) -> dict[str, Any]:
    system = lot.choice(["postgresql", "mysql", "redis", "mongodb", "sqlite"])
    old = {"db.system": system, "db.name": "shop", "db.statement": "SELECT 1 WHERE a = ?", "db.user": "app"}
    old.update({"net.peer.name": "db1", "net.peer.port": 5432})
    new = {"db.system.name": system, "db.namespace": "shop", "db.query.text": "SELECT 1 WHERE a = ?"}
    new.update({"server.address": "db1", "server.port": 5432})
    return lot.choice([old, new, {**old, **new}])


def aws(lot: random.Random) -> dict[str, Any]:
    service, operation, resource = lot.choice(
        [
            ("DynamoDB", "GetItem", {"aws.dynamodb.table_names": ["cart"]}),
            ("SQS", "SendMessage", {"aws.queue_url": "https://sqs.eu-west-1.amazonaws.com/123456789012/orders"}),
            ("S3", "PutObject", {"aws.s3.bucket": "bucket"}),
            ("Lambda", "Invoke", {"faas.invoked_name": "tax"}),
        ]
    )
    call = {"rpc.system": "aws-api", "rpc.service": service, "rpc.method": operation, "aws.request_id": "r-1"}
    return {**call, **resource, "http.status_code": lot.choice([200, 400, 500])}


FAMILIES: list[Callable[[random.Random], dict[str, Any]]] = [http, database, aws, lambda lot: {}, lambda lot: {}]


def one_span(lot: random.Random, number: int) -> otlp.Json:
    attrs = lot.choice(FAMILIES)(lot)
    own = {f"own.{n}": any_value(lot) for n in range(lot.randrange(5))}
    attrs.update(own)
    if own and lot.random() < 0.3:
        attrs["aws.xray.annotations"] = lot.sample(sorted(own), lot.randrange(1, len(own) + 1))
    failed = lot.random() < 0.25
    thrown = (
        [otlp.exception(lot.choice(["ValueError", ""]), lot.choice(WORDS))] if failed and lot.random() < 0.6 else []
    )
    told = [otlp.event("note", attrs={"n": lot.randrange(9)})] if lot.random() < 0.2 else []
    return otlp.span(
        lot.choice(WORDS),
        lot.choice(KINDS),
        attrs,
        seed=str(number),
        parent=str(lot.randrange(number)) if number else lot.choice([None, "outside"]),
        status="error" if failed else lot.choice([None, "ok", "unset"]),
        message=lot.choice(["", "it broke"]) if failed else "",
        events=thrown + told,
        links=[otlp.link(f"link {number}", {"n": 1})] if lot.random() < 0.1 else [],
        begin_ns=otlp.BEGIN_NS + lot.randrange(10**9),
        lasting_ns=lot.randrange(10**9),
    )


def one_request(name: str) -> otlp.Json:
    lot = random.Random(f"{SEED}/{name}")
    resource = {"service.name": lot.choice(["shop", "unknown_service:python", "shop; new"]), "team": "cart"}
    resource.update(lot.choice([{}, {"cloud.provider": "aws", "cloud.platform": "aws_lambda"}]))
    return otlp.request(name, [one_span(lot, number) for number in range(lot.randrange(1, 7))], resource)


def main() -> None:
    otlp.write("generated", {name: one_request(name) for name in (f"trace-{n:02}" for n in range(COUNT))})


if __name__ == "__main__":
    main()
