// Managed Instances: the runtime client's worker threads, with several invocations at once in each (L-8.26, L-8.27).

import assert from "node:assert/strict";
import test from "node:test";
import { Frame } from "./stage/frames.mjs";
import { span } from "./stage/otlp.mjs";
import { listen, major, withFunction } from "./stage/function.mjs";

const skip = major < 22 && "there are Managed Instances from Node.js 22 on";

const traceOf = (n) => `5759e988${String(n).padStart(24, "0")}`;
const headerOf = (trace) => `Root=1-${trace.slice(0, 8)}-${trace.slice(8)};Parent=53995c3f42cd8ad8;Sampled=1`;

/** A server that answers a path's first part when so many have asked for it, so that those who ask run at once. */
async function withMeeting(count, use) {
  const waiting = new Map();
  const { address, close } = await listen((request, response) => {
    const [, place] = request.url.split("/");
    const here = waiting.get(place) ?? waiting.set(place, []).get(place);
    here.push(response);
    if (here.length === count) for (const each of waiting.get(place).splice(0)) each.end("fine");
  });
  try {
    return await use(`http://${address}`);
  } finally {
    close();
  }
}

/** Two meetings, the second by another client than the first, and a local span around it. */
const HANDLER = `
  const { threadId } = require("node:worker_threads");
  const { trace } = require("@opentelemetry/api");
  const get = (url) => new Promise((go, fail) => require("node:http").get(url, (res) => res.resume().on("end", go)).on("error", fail));
  exports.handler = async ({ url, n }) => {
    await get(url + "/first/" + n);
    await trace.getTracer("shop").startActiveSpan("local-" + n, async (span) => {
      await (await fetch(url + "/second/" + n)).text();
      span.end();
    });
    if (n % 4 === 3) throw new TypeError("three " + n);
    return { n, threadId };
  };`;

/** request id -> its frames, by what PROTOCOL.md says of where a span belongs. */
function byInvocation(frames) {
  const found = new Map();
  const connections = new Map();
  for (const { connection, kind, payload } of frames.all) {
    const running = connections.get(connection) ?? connections.set(connection, []).get(connection);
    if (kind === Frame.invoke) {
      const requestId = payload.subarray(10, 10 + payload.readUInt16LE(8)).toString();
      const invocation = found.get(requestId) ?? { connection, ended: [], done: 0, trace: undefined };
      invocation.trace = /Root=1-(\w+)-(\w+)/.exec(payload.subarray(10 + payload.readUInt16LE(8)).toString()).slice(1).join("");
      found.set(requestId, invocation);
      connections.set(connection, [...running.filter((other) => other !== invocation), invocation]);
    } else if (kind === Frame.end) {
      const ended = span(payload);
      running.findLast((invocation) => invocation.trace === ended.traceId).ended.push(ended);
    } else if (kind === Frame.done) {
      const invocation = found.get(payload.subarray(5).toString());
      invocation.done++;
      invocation.raised = payload[0] === 1;
      connections.set(connection, running.filter((other) => other !== invocation));
    }
  }
  return [...found.values()];
}

/** Exactly its own spans, each below the right one. */
function assertWhole({ ended, done, trace, raised }) {
  assert.equal(done, 1);
  const root = ended.find((each) => each.kind === 2);
  const numbers = new Set(ended.flatMap((each) => /\d+$/.exec(each.attributes["url.full"] ?? (each.name.startsWith("local-") ? each.name : "")) ?? []));
  assert.equal(numbers.size, 1, [...numbers].join());
  const [n] = [...numbers].map(Number);
  assert.deepEqual(ended.map((each) => each.name).sort(), ["GET", "GET", "app.handler", `local-${n}`]);
  assert.ok(ended.every((each) => each.traceId === trace));
  const local = ended.find((each) => each.name === `local-${n}`);
  const parentOf = (place) => ended.find((each) => each.attributes["url.full"]?.includes(place)).parentId;
  assert.equal(parentOf("/first/"), root.spanId);
  assert.equal(local.parentId, root.spanId);
  assert.equal(parentOf("/second/"), local.spanId);
  assert.equal(raised, n % 4 === 3);
  assert.deepEqual(root.events.map((event) => event.attributes["exception.message"]), raised ? [`three ${n}`] : []);
  return n;
}

const managed = (workers, concurrency) => ({ AWS_LAMBDA_MAX_CONCURRENCY: String(concurrency), AWS_LAMBDA_NODEJS_WORKER_COUNT: String(workers) });

for (const [what, runtime, workers] of [
  ["worker threads of the runtime client", "native", 3],
  ["one worker thread with several invocations", "native", 1],
  ["a runtime client that asks for several over HTTP", "http", 1],
]) {
  for (const oneTrace of [false, true]) {
    test(`${what}: ${oneTrace ? "of one trace, " : ""}each invocation has exactly its own spans`, { skip }, () =>
      withMeeting(8, (url) =>
        withFunction(HANDLER, { runtime, variables: managed(workers, 8) }, async (run) => {
          for (let round = 0; round < 2; round++) {
            for (let n = 8 * round; n < 8 * round + 8; n++) run.put({ url, n }, headerOf(traceOf(oneTrace ? 1 : n + 1)));
            const answers = await Promise.all(Array.from({ length: 8 }, () => run.answer()));
            assert.equal(answers.filter(({ kind }) => kind === "error").length, 2);
          }
          await run.frames.done(16);
          const invocations = byInvocation(run.frames);
          assert.deepEqual(invocations.map(assertWhole).sort((a, b) => a - b), Array.from({ length: 16 }, (_, n) => n));
          // One for each that has something to say, and none connects twice.
          assert.equal(run.frames.connections, run.frames.of(Frame.hello).length);
          assert.ok(run.frames.connections <= workers);
          const connections = new Set(invocations.map((invocation) => invocation.connection));
          assert.ok(connections.size <= workers);
          assert.ok(!run.output().includes("[otel-xray]"), run.output());
        }),
      ));
  }
}

test("a worker thread that ends in an invocation is not taken for a lost connection", { skip }, () =>
  withFunction(
    "exports.handler = async ({ ends }) => { if (ends) setImmediate(() => { throw new RangeError('gone'); }); await new Promise(() => {}); };",
    { variables: managed(1, 2) },
    async (run) => {
      run.put({}, headerOf(traceOf(1)));
      await run.frames.until(() => run.frames.started.length === 1, "the first handler");
      run.put({ ends: true }, headerOf(traceOf(2)));
      await run.frames.until(() => run.frames.closed === 1, "the end of the connection");
      const kinds = run.frames.all.map((frame) => frame.kind);
      const { hello, invoke, start, end } = Frame;
      assert.deepEqual(kinds, [hello, invoke, start, invoke, start, end, hello, invoke, invoke]);
      const [gone] = run.frames.ended;
      assert.deepEqual([gone.traceId, gone.status, gone.events[0].attributes["exception.message"]], [traceOf(2), 2, "gone"]);
      const [first, last] = run.frames.of(hello).map((payload) => JSON.parse(payload.toString()).pid);
      assert.equal(first, run.child.pid);
      assert.equal(last, 0, "no process whose life could be asked for");
      const invoked = run.frames.of(invoke).map(String);
      assert.deepEqual(invoked.slice(2), invoked.slice(0, 2));
    },
  ));

test("the function's own worker threads and processes are not the runtime client's", { skip }, () =>
  withFunction(
    {
      "app.js": `
        const { Worker } = require("node:worker_threads");
        const { fork } = require("node:child_process");
        exports.handler = async () => {
          const seen = "({ argv: process.execArgv, mark: Object.keys(process.env).filter((name) => name.startsWith('OTEL_XRAY_RUNTIME')) })";
          const worker = new Worker("require('worker_threads').parentPort.postMessage(" + seen + ")", { eval: true });
          // Both may come at once.
          const ended = new Promise((go) => worker.once("exit", go));
          const inWorker = await new Promise((go) => worker.once("message", go));
          await ended;
          const inChild = await new Promise((go) => fork(__dirname + "/child.js").once("message", go));
          return { own: eval(seen), inWorker, inChild };
        };`,
      "child.js": "process.send({ argv: process.execArgv, mark: Object.keys(process.env).filter((name) => name.startsWith('OTEL_XRAY_RUNTIME')) });",
    },
    { variables: managed(1, 1) },
    async (run) => {
      const nothing = { argv: [], mark: [] };
      assert.deepEqual(JSON.parse((await run.invoke()).body), { own: nothing, inWorker: nothing, inChild: nothing });
      await run.frames.done(1);
      assert.equal(run.frames.connections, 1);
      assert.equal(run.frames.ended.length, 1);
    },
  ));

test("a streamed answer that fails is its own invocation's", { skip }, () =>
  withFunction(
    `exports.handler = awslambda.streamifyResponse(async ({ fails, wait }, stream) => {
       stream.write("some");
       await new Promise((go) => setTimeout(go, wait));
       if (fails) throw new RangeError("half way");
       stream.end();
     });`,
    { variables: managed(1, 2) },
    async (run) => {
      run.put({ fails: false, wait: 200 }, headerOf(traceOf(1)));
      run.put({ fails: true, wait: 50 }, headerOf(traceOf(2)));
      await run.frames.done(2);
      const [fine, failed] = [1, 2].map((n) => run.frames.ended.find(({ traceId }) => traceId === traceOf(n)));
      assert.deepEqual([failed.status, fine.status], [2, 0]);
      assert.deepEqual(failed.events.map((event) => event.attributes["exception.message"]), ["half way"]);
      assert.ok(fine.end - fine.start >= 190_000_000n);
    },
  ));

test("without an extension the function works, and nothing is said", { skip }, () =>
  withFunction("exports.handler = async (event) => event;", { listening: false, variables: managed(2, 2) }, async (run) => {
    assert.equal((await run.invoke({ a: 1 })).body, '{"a":1}');
    assert.ok(!run.output().includes("[otel-xray]"), run.output());
  }));
