// The X-Ray SDK for Node.js in the function: its documents and the agent's spans in one trace, each call once.

import assert from "node:assert/strict";
import dgram from "node:dgram";
import test from "node:test";
import { HEADER, TRACE, listen, major, withFunction } from "./stage/function.mjs";

const ROOT = `1-${TRACE.slice(0, 8)}-${TRACE.slice(8)}`;

/** Where the extension would listen for the SDK's documents. */
async function daemon() {
  const socket = dgram.createSocket("udp4");
  const documents = [];
  let waiting = () => {};
  socket.on("message", (message) => {
    documents.push(JSON.parse(message.toString().split("\n")[1]));
    waiting();
  });
  await new Promise((resolve) => socket.bind(0, "127.0.0.1", resolve));
  const until = async (count) => {
    while (documents.length < count) await new Promise((resolve) => (waiting = resolve));
  };
  return { documents, until, address: `127.0.0.1:${socket.address().port}`, close: () => socket.close() };
}

/** Runs the function with a daemon and a server whose requests are collected. */
async function withSdk(body, header, use) {
  const receiver = await daemon();
  const seen = [];
  const server = await listen((request, response) => {
    seen.push(request.headers["x-amzn-trace-id"]);
    request.resume();
    response.end("<ok/>");
  });
  const source = `const AWSXRay = require("aws-xray-sdk-core"); const http = require("http");
    const URL_ = "http://${server.address}/there";
    const get = (module, options = {}) => new Promise((resolve, reject) =>
      module.get(URL_, options, (response) => response.resume().on("end", resolve)).on("error", reject));
    ${body}`;
  const lambdas = { _AWS_XRAY_DAEMON_ADDRESS: "169.254.79.129", _AWS_XRAY_DAEMON_PORT: "2000", AWS_XRAY_DAEMON_ADDRESS: "169.254.79.129:2000" };
  const variables = { ...lambdas, OTEL_XRAY_DAEMON: receiver.address, AWS_URL: `http://${server.address}` };
  try {
    await withFunction(source, { variables }, async (run) => {
      const answer = await run.invoke({}, header);
      await run.frames.done(1);
      await use({ run, answer, seen, ...receiver });
    });
  } finally {
    receiver.close();
    server.close();
  }
}

const UNSAMPLED = HEADER.replace("Sampled=1", "Sampled=0");

const NESTED = `exports.handler = async () => AWSXRay.captureAsyncFunc("outer", async (outer) => {
  outer.addAnnotation("order", "o-1");
  outer.addMetadata("items", ["broken"], "shop");
  await get(http);
  try { AWSXRay.captureFunc("inner", () => { throw new RangeError("too many"); }); } catch {}
  outer.close();
  await get(http);
});`;

test("subsegments and spans nest in one another", () =>
  withSdk(NESTED, HEADER, async ({ run, answer, until, documents, seen }) => {
    assert.equal(answer.kind, "response");
    await until(2);
    const root = run.frames.named("app.handler");
    const [inner, outer] = documents;
    assert.deepEqual([outer.name, outer.type, outer.trace_id, outer.parent_id], ["outer", "subsegment", ROOT, root.spanId]);
    assert.deepEqual([inner.name, inner.trace_id, inner.parent_id], ["inner", ROOT, outer.id]);
    assert.equal(outer.annotations.order, "o-1");
    assert.deepEqual(outer.metadata.shop.items, ["broken"]);
    assert.equal(inner.cause.exceptions[0].message, "too many");
    const [first, second] = run.frames.ended.filter((span) => span.name === "GET");
    assert.deepEqual([first.parentId, second.parentId], [outer.id, root.spanId]);
    assert.deepEqual(seen, [first, second].map((span) => `Root=${ROOT};Parent=${span.spanId};Sampled=1`));
    assert.equal(documents.length, 2);
  }));

test("in a trace that is not sampled the agent records what the function has opened", () =>
  withSdk(NESTED, UNSAMPLED, async ({ run, documents, seen }) => {
    const root = run.frames.named("app.handler");
    const [outer, inner] = ["outer", "inner"].map((name) => run.frames.named(name));
    assert.deepEqual([outer.parentId, inner.parentId], [root.spanId, outer.spanId]);
    assert.equal(outer.attributes.order, "o-1");
    assert.deepEqual(outer.attributes["aws.xray.annotations"], ["order"]);
    assert.equal(outer.attributes["aws.xray.metadata.shop"], '{"items":["broken"]}');
    assert.equal(inner.status, 2);
    assert.equal(inner.events[0].attributes["exception.message"], "too many");
    const calls = run.frames.ended.filter((span) => span.name === "GET");
    assert.deepEqual(calls.map((span) => span.parentId), [outer.spanId, root.spanId]);
    assert.ok(seen.every((header) => header.endsWith(";Sampled=0")));
    assert.equal(documents.length, 0);
  }));

test("a subsegment that is too large for a datagram is recorded by the agent", () =>
  withSdk(
    `exports.handler = async () => AWSXRay.captureAsyncFunc("large", async (large) => {
       large.addAnnotation("order", "o-1");
       large.addMetadata("items", "x".repeat(100_000), "shop");
       AWSXRay.captureFunc("small", () => 1);
       large.close();
     });`,
    HEADER,
    async ({ run, until, documents }) => {
      await until(1);
      const large = run.frames.named("large");
      assert.equal(large.parentId, run.frames.named("app.handler").spanId);
      assert.equal(large.attributes.order, "o-1");
      assert.match(large.attributes["aws.xray.metadata.shop"], /^\{"items":"xxx/);
      assert.deepEqual(documents.map(({ name, parent_id }) => [name, parent_id]), [["small", large.spanId]]);
    },
  ));

test("a subsegment inside of a span of the OpenTelemetry API hangs below it", () =>
  withSdk(
    `const { trace } = require("@opentelemetry/api");
     exports.handler = async () => trace.getTracer("t").startActiveSpan("own", async (span) => {
       await AWSXRay.captureAsyncFunc("below", async (below) => {
         await trace.getTracer("t").startActiveSpan("deep", async (deep) => { await get(http); deep.end(); });
         below.close();
       });
       span.end();
     });`,
    HEADER,
    async ({ run, until, documents }) => {
      await until(1);
      const [own, deep, call] = ["own", "deep", "GET"].map((name) => run.frames.named(name));
      assert.equal(documents[0].parent_id, own.spanId);
      assert.equal(deep.parentId, documents[0].id);
      assert.equal(call.parentId, deep.spanId);
    },
  ));

for (const [header, sampled] of [[HEADER, true], [UNSAMPLED, false]]) {
  test(`captureHTTPsGlobal: one record of each call, ${sampled ? "the SDK's" : "the agent's where the SDK has none"}`, () =>
    withSdk(
      "AWSXRay.captureHTTPsGlobal(http); exports.handler = () => get(http);",
      header,
      async ({ run, until, documents, seen }) => {
        const calls = run.frames.ended.filter((span) => span.name === "GET");
        const root = run.frames.named("app.handler");
        if (sampled) await until(1);
        assert.deepEqual([documents.length, calls.length], sampled ? [1, 0] : [0, 1]);
        const id = sampled ? documents[0].id : calls[0].spanId;
        assert.equal(sampled ? documents[0].parent_id : calls[0].parentId, root.spanId);
        assert.deepEqual(seen, [`Root=${ROOT};Parent=${id};Sampled=${sampled ? 1 : 0}`]);
      },
    ));

  const old = major === 18 && "the AWS SDK that is installed does not start on this version";
  test(`captureAWSv3Client: the agent's record alone, sampled: ${sampled}`, { skip: old }, () =>
    withSdk(
      `const { S3Client, GetObjectCommand } = require("@aws-sdk/client-s3"); AWSXRay.captureHTTPsGlobal(http);
       const s3 = AWSXRay.captureAWSv3Client(new S3Client({ endpoint: process.env.AWS_URL, forcePathStyle: true }));
       exports.handler = () => AWSXRay.captureAsyncFunc("load", async (load) => {
         await (await s3.send(new GetObjectCommand({ Bucket: "b", Key: "k" }))).Body.transformToString();
         load.close();
       });`,
      header,
      async ({ run, until, documents, seen }) => {
        const call = run.frames.named("S3.GetObject");
        if (sampled) await until(1);
        assert.deepEqual(documents.map((document) => document.name), sampled ? ["load"] : []);
        const load = sampled ? documents[0].id : run.frames.named("load").spanId;
        assert.equal(call.parentId, load);
        assert.equal(run.frames.ended.length, sampled ? 2 : 3);
        assert.deepEqual(seen, [`Root=${ROOT};Parent=${call.spanId};Sampled=${sampled ? 1 : 0}`]);
      },
    ));
}

for (const [header, sampled] of [[HEADER, true], [UNSAMPLED, false]])
  test(`a subsegment that is added to one in hand is below that, sampled: ${sampled}`, () =>
    withSdk(
      `exports.handler = async () => {
         const a = AWSXRay.getSegment().addNewSubsegment("A");
         const b = a.addNewSubsegment("B");
         const c = b.addNewSubsegment("C");
         const beside = AWSXRay.getSegment().addNewSubsegment("beside");
         await get(http);
         for (const one of [c, b, beside]) one.close();
         a.close(new Error("bad"));
         AWSXRay.captureFunc("sync", (sync) => sync.addNewSubsegment("inner").close());
       };`,
      header,
      async ({ run, until, documents }) => {
        if (sampled) await until(6);
        const root = run.frames.named("app.handler").spanId;
        const found = sampled
          ? documents.map(({ name, id, parent_id: parent }) => [name, id, parent])
          : run.frames.ended.map(({ name, spanId, parentId }) => [name, spanId, parentId]);
        const ids = new Map(found.map(([name, id]) => [name, id]));
        const parents = Object.fromEntries(found.map(([name, , parent]) => [name, parent]));
        const wanted = { A: root, B: ids.get("A"), C: ids.get("B"), beside: root, sync: root, inner: ids.get("sync") };
        for (const [name, parent] of Object.entries(wanted)) assert.equal(parents[name], parent, name);
        assert.equal(run.frames.named("GET").parentId, root);
      },
    ));

test("calls inside of a subsegment of another service are below it, and carry the trace", () =>
  withSdk(
    `exports.handler = () => AWSXRay.captureAsyncFunc("shop", async (shop) => {
       shop.namespace = "remote";
       await get(http);
       await fetch(URL_).then((answer) => answer.text());
       shop.close();
     });`,
    HEADER,
    async ({ run, until, documents, seen }) => {
      await until(1);
      const calls = run.frames.ended.filter((span) => span.name === "GET");
      assert.deepEqual(calls.map((span) => span.parentId), [documents[0].id, documents[0].id]);
      assert.deepEqual(seen, calls.map((span) => `Root=${ROOT};Parent=${span.spanId};Sampled=1`));
      assert.equal(documents[0].namespace, "remote");
    },
  ));

test("documents of a warm invocation belong to it", () =>
  withSdk(NESTED, HEADER, async ({ run, until, documents }) => {
    await run.invoke({}, HEADER.replace("Root=1-5", "Root=1-6"));
    await until(4);
    const traces = documents.map((document) => document.trace_id.slice(0, 3));
    assert.deepEqual(traces, ["1-5", "1-5", "1-6", "1-6"]);
    await run.frames.done(2);
    const roots = run.frames.ended.filter((span) => span.name === "app.handler");
    assert.deepEqual([documents[1].parent_id, documents[3].parent_id], roots.map((root) => root.spanId));
  }));

test("an address that the function has chosen stays its own", async () => {
  const chosen = await daemon();
  try {
    const source = `process.env.AWS_XRAY_DAEMON_ADDRESS = "${chosen.address}"; ${"const AWSXRay = require('aws-xray-sdk-core');"}
      exports.handler = () => AWSXRay.captureFunc("mine", () => 1);`;
    await withFunction(source, {}, async (run) => {
      await run.invoke();
      await run.frames.done(1);
      await chosen.until(1);
      assert.equal(chosen.documents[0].name, "mine");
    });
  } finally {
    chosen.close();
  }
});
