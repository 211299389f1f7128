"""Node.js functions with nothing but the built layer, under otel-xray-local and the real runtime client."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import layer_zip
import local_lambda
import pytest
import servers
import stand_ins
from installed import tool

FUNCTIONS = layer_zip.ROOT / "tests" / "functions"
EVENTS = [local_lambda.EVENT, local_lambda.EVENT_ERROR]
VERSIONS = [int(version) for version in os.environ.get("NODE_VERSIONS", "18 20 22 24").split()]


def documents(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The last document of each id, whatever it is nested in: what takes long is sent while it is open too."""

    def walk(document: dict[str, Any]) -> list[dict[str, Any]]:
        return [document, *(found for part in document.get("subsegments", []) for found in walk(part))]

    return list({found["id"]: found for document in result["documents"] for found in walk(document)}.values())


def nodejs_command(
    layer: Path,
    variables: dict[str, str],
    events: list[Path],
    function: Path,
    scratch: Path,
    version: int = 22,
    client: Path | None = None,
) -> list[str]:
    modules = tool("node-test") / "node_modules"
    node = local_lambda.managed_node(version, client or modules / "aws-lambda-ric" / "index.mjs")
    return local_lambda.nodejs_command(layer, variables, events, function, scratch, modules, node)


def invoke(function: Path, scratch: Path, version: int, events: list[Path], **variables: str) -> dict[str, Any]:
    layer = layer_zip.zip_for(layer_zip.HOST_ARCH)
    command = nodejs_command(layer, variables, events, function, scratch, version)
    return local_lambda.invoke_json([*command, "--timeout", "60"])


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


MEETING = """
const { threadId } = require("node:worker_threads");
const http = require("node:http");
const call = (n) => new Promise((go, fail) => {
  http.get(`${process.env.MEETING}/call/${n}`, (response) => response.resume().on("end", go)).on("error", fail);
});
exports.handler = async ({ n }) => {
  await call(n);
  if (n === 3) throw new RangeError("three");
  return { n, threadId };
};
"""


@pytest.mark.parametrize("version", [version for version in VERSIONS if version >= 22])
def test_l_8_27_on_a_managed_instance_each_of_many_at_once_has_its_own_trace(version: int, tmp_path: Path) -> None:
    together, rounds = 4, 3
    waiting = threading.Barrier(together)

    class Meeting(servers.Handler):
        """Answers when so many ask: they are in their handlers at once."""

        def do_GET(self) -> None:
            waiting.wait(servers.BOUND_S)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

    function, scratch = tmp_path / "function", tmp_path / "scratch"
    function.mkdir()
    scratch.mkdir()
    (function / "app.js").write_text(MEETING)
    events = [tmp_path / f"{n}.json" for n in range(together * (rounds + 1))]
    for n, event in enumerate(events):
        event.write_text(json.dumps({"n": n}))
    layer = layer_zip.zip_for(layer_zip.HOST_ARCH)
    with servers.serving(Meeting) as address:
        variables = {"MEETING": f"http://{address}", "AWS_LAMBDA_NODEJS_WORKER_COUNT": "2"}
        command = nodejs_command(layer, variables, events, function, scratch, version)
        result = local_lambda.invoke_json([*command, "--instances", str(together), "--freeze-ms", "100"])
    assert len({one["payload"].get("threadId") for one in result["invocations"]} - {None}) <= 2
    [account] = result["accounting"]
    assert account["received"] == account["sent"] == 2 * len(events)
    found = documents(result)
    calls = {int(url.rpartition("/")[2]): call for call in found if "/call/" in (url := url_of(call))}
    assert sorted(calls) == list(range(len(events)))
    handlers = {document["id"]: document for document in found if document["name"] == "app.handler"}
    # The instance ends as soon as the last answers are out: what their handlers still write may be cut off.
    own = {n: handlers.pop(call["parent_id"]) for n, call in calls.items() if n < together * rounds}
    assert all(own[n]["trace_id"] == calls[n]["trace_id"] for n in own)
    assert len({handler["trace_id"] for handler in own.values()}) == len(own)
    assert [n for n, handler in own.items() if handler.get("fault")] == [3]
    assert len(handlers) == together


def url_of(document: dict[str, Any]) -> str:
    return str(document.get("http", {}).get("request", {}).get("url", ""))


def test_l_8_28_a_worker_thread_that_ends_takes_its_invocation_with_it(tmp_path: Path) -> None:
    function, scratch = tmp_path / "function", tmp_path / "scratch"
    function.mkdir()
    scratch.mkdir()
    (function / "app.js").write_text(
        "exports.handler = () => new Promise(() => { setTimeout(() => { throw new RangeError('gone'); }, 20); });\n"
    )
    layer = layer_zip.zip_for(layer_zip.HOST_ARCH)
    variables = {"AWS_LAMBDA_NODEJS_WORKER_COUNT": "2"}
    command = nodejs_command(layer, variables, [local_lambda.EVENT], function, scratch)
    # Nobody answers for it: the instance does when the time is up.
    found = documents(local_lambda.invoke_json([*command, "--instances", "2", "--timeout", "10"]))
    [handler] = [document for document in found if document["name"] == "app.handler"]
    [exception] = handler["cause"]["exceptions"]
    assert (exception["type"], exception["message"]) == ("RangeError", "gone")
    assert handler["end_time"] - handler["start_time"] < 9


OWN_SDK = """
const { trace, SpanKind } = require("@opentelemetry/api");
const { NodeTracerProvider, BatchSpanProcessor } = require("@opentelemetry/sdk-trace-node");
const { OTLPTraceExporter } = require("@opentelemetry/exporter-trace-otlp-http");
const provider = new NodeTracerProvider({ spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())] });
provider.register();
const tracer = trace.getTracer("own");
exports.handler = async () => {
  tracer.startActiveSpan("work", (work) => {
    tracer.startSpan("inner", { kind: SpanKind.SERVER }).end();
    work.end();
  });
  await provider.forceFlush();
};
"""


@pytest.mark.parametrize("tracing", ["active", "pass-through"])
def test_p6_spans_of_the_functions_own_sdk_are_subsegments_of_the_functions(tracing: str, tmp_path: Path) -> None:
    function, scratch = tmp_path / "function", tmp_path / "scratch"
    function.mkdir()
    scratch.mkdir()
    (function / "app.js").write_text(OWN_SDK)
    layer = layer_zip.zip_for(layer_zip.HOST_ARCH)
    command = nodejs_command(layer, {}, [local_lambda.EVENT], function, scratch)
    result = local_lambda.invoke_json([*command, "--timeout", "60", "--tracing", tracing])
    found = {span_name(document): document for document in documents(result)}
    handler, work, inner = (found[name] for name in ("app.handler", "work", "inner"))
    assert (work["parent_id"], inner["parent_id"]) == (handler["id"], work["id"])
    segments = [one for one in documents(result) if one.get("type") != "subsegment" and one.get("origin")]
    assert len([one for one in segments if one["origin"] == "AWS::Lambda::Function"]) == 1


STALLING = """
const http = require("node:http");
const asked = (path) => new Promise((go) => http.get(process.env.SITE + path, go));
exports.handler = async () => {
  const unread = await asked("/unread");
  const read = await asked("/read");
  read.resume();
  const later = await asked("/later");
  await new Promise((go) => setTimeout(go, 50));
  later.resume();
  await new Promise((go) => setTimeout(go, 50));
  process.exit(3);
};
"""


@pytest.mark.parametrize("version", VERSIONS)
def test_p5_an_answered_call_is_not_what_a_process_that_ends_was_waiting_for(version: int, tmp_path: Path) -> None:
    ended = threading.Event()

    class Stalling(servers.Handler):
        """Answers, and keeps the body to itself."""

        def do_GET(self) -> None:
            self.send_response(202)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.flush()
            ended.wait(servers.BOUND_S)

    function, scratch = tmp_path / "function", tmp_path / "scratch"
    function.mkdir()
    scratch.mkdir()
    (function / "app.js").write_text(STALLING)
    with servers.serving(Stalling) as address:
        try:
            result = invoke(function, scratch, version, [local_lambda.EVENT], SITE=f"http://{address}")
        finally:
            ended.set()
    calls = {url_of(document).rpartition("/")[2]: document for document in documents(result)}
    assert calls["unread"]["http"]["response"]["status"] == 202
    told = {
        path: (calls[path].get("fault", False), "in_progress" in calls[path]) for path in ("unread", "read", "later")
    }
    assert told == {"unread": (False, False), "read": (True, False), "later": (True, False)}
    # It ended when it was answered, and the others when the process did.
    assert calls["unread"]["end_time"] < min(calls["read"]["end_time"], calls["later"]["end_time"])


FAILING = """
const { trace, context, propagation, ROOT_CONTEXT } = require("@opentelemetry/api");
const http = require("node:http");
const xray = require("aws-xray-sdk-core");
const tracer = trace.getTracer("own");
const own = process.env.OWN_SDK && (() => {
  const { NodeTracerProvider, SimpleSpanProcessor } = require("@opentelemetry/sdk-trace-node");
  const { OTLPTraceExporter } = require("@opentelemetry/exporter-trace-otlp-http");
  const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(new OTLPTraceExporter())] });
  provider.register({ contextManager: null, propagator: null });
  return provider;
})();
const fail = () => { throw new RangeError("bang", { cause: new TypeError("why") }); };
const said = (span, run) => {
  try {
    run();
  } catch (error) {
    span.recordException(error);
    span.setStatus({ code: 2, message: error.message });
  }
};
const WAYS = {
  within: () => context.with(context.active(), fail),
  bound: () => context.bind(context.active(), fail)(),
  active: () => tracer.startActiveSpan("active", (span) => { span.end(); fail(); }),
  thrice: () => tracer.startActiveSpan("a", () => tracer.startActiveSpan("b", () => context.with(ROOT_CONTEXT, fail))),
  text: () => {
    try {
      context.with(context.active(), fail);
    } catch ({ stack }) {
      throw Object.assign(new Error("m"), { stack });
    }
  },
};
exports.handler = async ({ how }) => {
  for (const [name, run] of Object.entries(WAYS)) {
    const span = tracer.startSpan(name);
    said(span, run);
    span.end();
  }
  const segment = xray.getSegment();
  const below = segment.addNewSubsegment("below");
  try { WAYS.thrice(); } catch (error) { below.close(error); }
  await new Promise((go) => context.with(context.active(), () => http.get("http://127.0.0.1:1/").on("error", go)));
  const call = tracer.startActiveSpan("call", async () => { await fetch("http://127.0.0.1:1/"); });
  const failed = await call.catch((error) => error);
  said(trace.getActiveSpan(), () => { throw failed; });
  if (own) await own.forceFlush();
  if (how === "uncaught") setTimeout(() => tracer.startActiveSpan("late", fail)), await new Promise(() => {});
  if (how === "rejected") await tracer.startActiveSpan("late", async () => fail());
  return tracer.startActiveSpan("late", fail);
};
"""


def stacks(value: Any) -> list[list[dict[str, Any]]]:
    """What is called a stack in a document, wherever it is."""
    if isinstance(value, list):
        return [found for part in value for found in stacks(part)]
    if not isinstance(value, dict):
        return []
    own = [value["stack"]] if isinstance(value.get("stack"), list) else []
    return own + [found for part in value.values() for found in stacks(part)]


@pytest.mark.parametrize("how", ["thrown", "rejected", "uncaught"])
@pytest.mark.parametrize("own_sdk", ["", "1"])
def test_no_stack_in_a_trace_has_a_frame_of_the_agents(how: str, own_sdk: str, tmp_path: Path) -> None:
    function, scratch, event = tmp_path / "function", tmp_path / "scratch", tmp_path / "event.json"
    function.mkdir()
    scratch.mkdir()
    (function / "app.js").write_text(FAILING)
    event.write_text(json.dumps({"how": how}))
    result = invoke(function, scratch, 22, [event], OWN_SDK=own_sdk)
    found = documents(result)
    told = [stack for document in found for stack in stacks(document)]
    assert len(told) > 10
    assert all(stack for stack in told)
    # The function's variables say where the layer is.
    ours = [frame for stack in told for frame in stack if "otel-xray/nodejs" in json.dumps(frame)]
    assert ours == []
    texts = [document["metadata"] for document in found if "metadata" in document]
    assert ".js:" not in json.dumps(texts)


LOOK = """
const { execFileSync } = require("node:child_process");
const fs = require("node:fs");
const path = require("node:path");
const name = process.env.OTEL_XRAY_AGENT_SOCKET;
const own = process.env.TMPDIR;

// Environments of one machine share the real /tmp: there the name of the socket tells what is theirs.
const entries = () => [
  ...fs.readdirSync("/tmp").filter((entry) => entry.includes(name)).map((entry) => path.join("/tmp", entry)),
  ...fs.readdirSync(own).map((entry) => path.join(own, entry)),
];
const kind = (entry) => {
  const stat = fs.lstatSync(entry);
  return stat.isFile() ? "file" : stat.isDirectory() ? "folder" : "something else";
};
const look = () => {
  const found = entries().map((entry) => [path.basename(entry), kind(entry)]);
  for (const entry of entries()) if (!fs.statSync(entry).isDirectory()) fs.readFileSync(entry);
  return found;
};
const linkOf = (file) => {
  try {
    return fs.readlinkSync("/proc/self/fd/" + file);
  } catch {
    return undefined;
  }
};
const atStart = look();

exports.handler = async () => {
  fs.writeFileSync(path.join(own, "own"), "the function's");
  const child = String(execFileSync("sh", ["-c", `cat ${own}/* && ls -l /proc/self/fd`]));
  const links = Array.from({ length: 13 }, (_, index) => linkOf(index + 3));
  const left = links.filter((link) => link?.startsWith("socket:"));
  return { name, atStart, now: look(), left: left.length, inherited: left.filter((link) => child.includes(link)) };
};
"""


@pytest.mark.parametrize(
    ("version", "managed"),
    [(version, managed) for version in VERSIONS for managed in (False, True) if version >= 22 or not managed],
)
def test_p1_a_function_that_reads_all_of_tmp_finds_its_own_files_and_nothing_else(
    version: int, managed: bool, tmp_path: Path
) -> None:
    function, scratch = tmp_path / "function", tmp_path / "scratch"
    function.mkdir()
    scratch.mkdir()
    (function / "app.js").write_text(LOOK)
    layer = layer_zip.zip_for(layer_zip.HOST_ARCH)
    variables = {"AWS_LAMBDA_NODEJS_WORKER_COUNT": "2"} if managed else {}
    command = nodejs_command(layer, variables, [local_lambda.EVENT] * 3, function, scratch, version)
    result = local_lambda.invoke_json([*command, "--timeout", "60", *(["--instances", "1"] if managed else [])])
    for one in result["invocations"]:
        seen = one["payload"]
        name = seen.pop("name")
        # The second worker of an instance starts when the first has had an invocation.
        assert [entry for entry in seen.pop("atStart") if entry != ["own", "file"]] == []
        # What the launcher has left is the function's process's alone; worker threads connect by themselves.
        assert seen == {"now": [["own", "file"]], "left": 0 if managed else 1, "inherited": []}
        assert list(Path("/tmp").glob(f"*{name}*")) == []
    accounting = result["accounting"][-1]
    assert accounting["received"] == accounting["sent"] == 3


def span_name(document: dict[str, Any]) -> str:
    """What a span is called whose document has the function's name."""
    return document.get("metadata", {}).get("otel", {}).get("span_name", document["name"])


FAILS = "throw new RangeError('config DB_URL is missing');\n"
MISTAKES = {
    "app.js": (f"exports.handler = () => 1;\n{FAILS}", "RangeError", "config DB_URL is missing"),
    "app.mjs": (f"export const handler = () => 1;\n{FAILS}", "RangeError", "config DB_URL is missing"),
    "app.cjs": ("exports.handler = (;\n", "Runtime.UserCodeSyntaxError", "Unexpected token ';'"),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("file", MISTAKES)
def test_a_function_that_cannot_be_loaded_says_why(file: str, version: int, tmp_path: Path) -> None:
    source, kind, message = MISTAKES[file]
    function, scratch = tmp_path / "function", tmp_path / "scratch"
    function.mkdir()
    scratch.mkdir()
    (function / file).write_text(source)
    layer = layer_zip.zip_for(layer_zip.HOST_ARCH)
    client = None
    if version < 24:
        # The managed runtimes before have the client of before, which they start so.
        client = tmp_path / "client.mjs"
        before = tool("node-test") / "node_modules" / "aws-lambda-ric3" / "dist" / "index.mjs"
        start = "run(process.env.LAMBDA_TASK_ROOT, process.env._HANDLER)"
        client.write_text(f'import {{ run }} from "{before}";\nawait {start};\n')
    command = nodejs_command(layer, {}, [local_lambda.EVENT], function, scratch, version, client)
    result, said = local_lambda.run(command)
    assert result["invocations"][0]["errorType"] == kind
    told = [document for document in documents(result) if "load app.handler" in span_name(document)]
    assert len(told) == 2, "the initialisation, and its second try within the invocation"
    for document in told:
        [exception] = document["cause"]["exceptions"]
        assert document["fault"] is True
        assert exception["type"] == kind
        assert message in exception["message"]
        assert "SIGTERM" not in json.dumps(document)
    [explanation] = [line for line in said.splitlines() if line.startswith("error: ")]
    assert file in explanation
    assert message in explanation
    assert ".py" not in explanation
