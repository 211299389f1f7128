"""Node.js functions with nothing but the built layer, under otel-xray-local and the real runtime client."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import layer_zip
import local_lambda
import pytest
import stand_ins

FUNCTIONS = layer_zip.ROOT / "tests" / "functions"
EVENTS = [local_lambda.EVENT, local_lambda.EVENT_ERROR]
VERSIONS = [int(version) for version in os.environ.get("NODE_VERSIONS", "18 20 22 24").split()]


def documents(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The last document of each id, whatever it is nested in: what takes long is sent while it is open too."""

    def walk(document: dict[str, Any]) -> list[dict[str, Any]]:
        return [document, *(found for part in document.get("subsegments", []) for found in walk(part))]

    return list({found["id"]: found for document in result["documents"] for found in walk(document)}.values())


def invoke(function: Path, scratch: Path, version: int, events: list[Path], **variables: str) -> dict[str, Any]:
    layer = layer_zip.zip_for(layer_zip.HOST_ARCH)
    command = local_lambda.nodejs_command(layer, variables, events, function, scratch, version)
    return local_lambda.invoke_json([*command, "--timeout", "5"])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["nodejs-demo", "nodejs-esm-demo"])
def test_the_demo_leaves_its_calls_in_two_traces(name: str, version: int, tmp_path: Path) -> None:
    if version == 18:
        pytest.skip("the AWS SDK that is installed does not start on this version")
    with stand_ins.moto() as moto_url, stand_ins.sample_world(moto_url) as variables:
        result = invoke(FUNCTIONS / name, tmp_path, version, EVENTS, **variables)
    accounting = result["accounting"][-1]
    assert accounting["received"] == accounting["sent"] > 0
    found = documents(result)
    names = [document["name"] for document in found]
    assert names.count("app.handler") == 2
    assert names.count("S3") == 2
    assert names.count("SQS") == 1
    failed = [document for document in found if document["name"] == "app.handler" and document.get("fault")]
    assert len(failed) == 1
    assert "OutOfStock" in json.dumps([document.get("cause") for document in found])


@pytest.mark.parametrize("version", VERSIONS)
def test_what_was_open_when_the_process_ended_is_in_the_trace(version: int, tmp_path: Path) -> None:
    function = tmp_path / "function"
    function.mkdir()
    (function / "app.js").write_text(
        "exports.handler = async () => {\n"
        "  require('http').get('http://127.0.0.1:' + process.env.PORT + '/waits').on('error', () => {});\n"
        "  await new Promise((go) => setTimeout(go, 50));\n"
        "  process.exit(3);\n"
        "};\n"
    )
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        event = [local_lambda.EVENT]
        result = invoke(function, scratch, version, event, PORT=str(listener.getsockname()[1]))
    found = documents(result)
    handlers = [document for document in found if document["name"] == "app.handler"]
    assert len(handlers) == 1
    assert handlers[0].get("fault") is True
    waiting = [document for document in found if "/waits" in json.dumps(document.get("http", {}))]
    assert len(waiting) == 1
    assert waiting[0]["fault"] is True


@pytest.mark.parametrize("version", VERSIONS)
def test_an_error_that_express_answers_with_a_page_is_on_its_route(version: int, tmp_path: Path) -> None:
    function = tmp_path / "function"
    function.mkdir()
    (function / "app.js").write_text(
        "const app = require('express')();\n"
        "app.get('/items/:id', async () => { throw new RangeError('out of stock'); });\n"
        "app.use((error, request, response, next) => response.status(500).send(error.message));\n"
        "exports.handler = require('serverless-http')(app);\n"
    )
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    event = tmp_path / "event.json"
    http = {"method": "GET", "path": "/items/7", "sourceIp": "192.0.2.1"}
    request = {"rawPath": "/items/7", "rawQueryString": "", "headers": {}, "requestContext": {"http": http}}
    event.write_text(json.dumps({"version": "2.0", "routeKey": "$default", **request}))
    found = documents(invoke(function, scratch, version, [event]))
    handlers = [document for document in found if document["name"] == "app.handler"]
    assert len(handlers) == 1
    assert handlers[0]["fault"] is True
    assert handlers[0]["metadata"]["default"]["http.route"] == "/items/:id"
    routes = [document for document in found if document["name"] == "request handler - /items/:id"]
    assert [route["cause"]["exceptions"][0]["type"] for route in routes] == ["RangeError"]
