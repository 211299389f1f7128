"""Writes outlet/spans: what the layer's agents record of an invocation with calls of every kind.

Needs the environment of the agents' tests, which record.sh makes.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import otlp
import stage
from google.protobuf import json_format
from sdk.settle import settle
from servers import Handler, serving

HERE = Path(__file__).resolve().parent
SPANS = HERE.parent / "outlet" / "spans"
CALLER = "00-5759e988bd862e3fe1be46a994272794-53995c3f42cd8ad9-01"
EVENTS = {
    "request": {"order": 42},
    "queue": {
        "Records": [
            {
                "messageId": "m1",
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:orders",
                "awsRegion": "eu-west-1",
                "body": "{}",
                "attributes": {
                    "AWSTraceHeader": "Root=1-5759e988-bd862e3fe1be46a994272794;Parent=53995c3f42cd8ad9;Sampled=1"
                },
                "messageAttributes": {},
            }
        ]
    },
}


# Request ids, and the folders that the function, its packages and its runtime are in.
NOT_THE_SAME_TWICE = re.compile(
    r"(?P<id>[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})|(?P<task>/tmp/[^/\\\"]+/task)|/[^\s\\\"()]*?(?P<rest>/(?:opentelemetry|node_modules)/)"
)


def constant(match: re.Match[str]) -> str:
    if match["id"]:
        return "52fdfc07-2182-454f-963f-5f0f9a621d72"
    return "/var/task" if match["task"] else f"/opt{match['rest']}"


class Website(Handler):
    def do_GET(self) -> None:
        self.body()
        self.answer(503 if self.path == "/busy" else 200, {}, x_amzn_requestid="REQUEST")

    do_POST = do_GET


def python(server: str) -> list[otlp.Json]:
    source = (HERE / "agents" / "app.py").read_text()
    variables = {"SERVER": server, "OPENTELEMETRY_API": os.environ["OPENTELEMETRY_API"]}
    recorded = []
    for event in EVENTS.values():
        with tempfile.TemporaryDirectory() as folder, stage.function(Path(folder), source, variables=variables) as run:
            run.invoke(event)
            run.frames.wait_for(5, 1)
            spans = [json_format.MessageToDict(span) for span in run.frames.ended()]
            recorded.append({"hello": json.loads(run.frames.of(1)[0]), "spans": [readable(span) for span in spans]})
    return recorded


def readable(content: Any, field: str = "") -> Any:
    """OTLP/JSON writes ids in hexadecimal and kinds as numbers, where protobuf's own JSON does not."""
    if isinstance(content, dict):
        return {key: readable(item, key) for key, item in content.items()}
    if isinstance(content, list):
        return [readable(item) for item in content]
    if field in ("traceId", "spanId", "parentSpanId"):
        return base64.b64decode(content).hex()
    if field == "kind":
        return otlp.KINDS[content.removeprefix("SPAN_KIND_").lower()]
    if field == "code":
        return otlp.STATUS[content.removeprefix("STATUS_CODE_").lower()]
    return content


def nodejs(server: str) -> list[otlp.Json]:
    argument = json.dumps({"events": list(EVENTS.values()), "server": server})
    command = [os.environ["NODE"], str(HERE / "agents" / "record.mjs"), argument]
    lines = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=120, text=True).stdout
    return [json.loads(line) for line in lines.splitlines()]


def resource(hello: otlp.Json) -> list[otlp.Json]:
    """As the extension describes an agent."""
    return otlp.attributes(
        {
            "telemetry.sdk.name": hello["agent"],
            "telemetry.sdk.version": hello["agent_version"],
            "telemetry.sdk.language": hello["runtime"],
            "process.runtime.version": hello["runtime_version"].split(".")[0],
        }
    )


def write(name: str, recorded: otlp.Json) -> None:
    recorded = json.loads(NOT_THE_SAME_TWICE.sub(constant, json.dumps(recorded)))
    scope = {"spans": recorded["spans"]}
    request = {"resourceSpans": [{"resource": {"attributes": resource(recorded["hello"])}, "scopeSpans": [scope]}]}
    ports = {
        int(attribute["value"]["intValue"]): 5432 if attribute["key"] == "server.port" else 40000
        for span in recorded["spans"]
        for attribute in span.get("attributes", [])
        if attribute["key"] in ("server.port", "network.peer.port") and int(attribute["value"]["intValue"]) > 10_000
    }
    settled = settle(f"outlet/{name}", request, ports or {0: 0}, {})
    (root,) = (span for span in settled["resourceSpans"][0]["scopeSpans"][0]["spans"] if span["name"] == "app.handler")
    trace = root["traceId"]
    header = f"Root=1-{trace[:8]}-{trace[8:]};Parent={root['parentSpanId']};Sampled=1"
    SPANS.mkdir(parents=True, exist_ok=True)
    (SPANS / f"{name}.json").write_text(otlp.lines({"header": header, "request": settled}) + "\n", encoding="utf-8")


def main() -> None:
    with serving(Website) as server:
        for runtime, record in {"python": python, "nodejs": nodejs}.items():
            for event, recorded in zip(EVENTS, record(server)):
                write(f"{runtime}-{event}", recorded)


if __name__ == "__main__":
    main()
