// A function's own OpenTelemetry SDK: it works as without the layer, its spans and the agent's are one tree, and no call is there twice.

import assert from "node:assert/strict";
import test from "node:test";
import { beside, HEADER, listen, major, modules, TRACE, withFunction } from "./stage/function.mjs";

const UNSAMPLED = HEADER.replace("Sampled=1", "Sampled=0");
const skip = major < 20 && "the SDK wants Node.js 20";

const SDK = `
  const { trace, context, propagation, ROOT_CONTEXT } = require("@opentelemetry/api");
  const { NodeTracerProvider, SimpleSpanProcessor, BatchSpanProcessor, InMemorySpanExporter, AlwaysOnSampler } = require("@opentelemetry/sdk-trace-node");
  const { suppressTracing } = require("@opentelemetry/core");
  const http = require("node:http"); const get = (url, options = {}) => new Promise((resolve, reject) => http.get(url, options, (answer) => answer.resume().on("end", resolve)).on("error", reject));
  const exporter = new InMemorySpanExporter();
  const told = () => exporter.getFinishedSpans().splice(0).map((s) => ({ name: s.name, kind: s.kind, traceId: s.spanContext().traceId, id: s.spanContext().spanId, parent: s.parentSpanContext?.spanId, remote: s.parentSpanContext?.isRemote }));
  const register = (options) => new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }).register(options);
  const tracer = trace.getTracer("own");`;

/** Runs the function with a server whose requests are collected. */
async function withSdk(body, use, { header = HEADER, ...options } = {}) {
  const seen = [];
  const server = await listen((request, response) => (seen.push(request), request.resume(), response.end("ok")));
  try {
    await withFunction(typeof body === "string" ? `${SDK} ${body}` : body, { packages: beside, ...options }, async (run) => {
      const { kind, body: answer } = await run.invoke({ url: `http://${server.address}/there` }, header);
      assert.equal(kind, "response", answer);
      await run.frames.done(1);
      await use({ run, seen, answer: JSON.parse(answer), url: `http://${server.address}/there` });
    });
  } finally {
    server.close();
  }
}

test("its spans hang on the handler's, and the agent's calls on its current span", { skip }, () =>
  withSdk(
    `register(); exports.handler = async ({ url }) => { await tracer.startActiveSpan("work", async (span) => { await null; await get(url); await fetch(url).then((a) => a.text()); span.end(); }); await get(url); return told(); };`,
    ({ run, answer, seen }) => {
      const root = run.frames.named("app.handler");
      const [work] = answer;
      // Not a remote parent: with one, the function would be there twice (P6).
      assert.deepEqual([work.traceId, work.parent, work.remote ?? false], [TRACE, root.spanId, false]);
      const calls = run.frames.ended.filter(({ name }) => name === "GET");
      assert.deepEqual(calls.map(({ parentId, traceId }) => [parentId, traceId]), [[work.id, TRACE], [work.id, TRACE], [root.spanId, TRACE]]);
      assert.deepEqual(seen.map(({ headers }) => headers.traceparent), calls.map(({ spanId }) => `00-${TRACE}-${spanId}-01`));
      assert.equal(answer.length, 1);
    },
  ));

test("with only a provider of its own the tree is the same", { skip }, () =>
  withSdk(
    `register({ contextManager: null, propagator: null }); exports.handler = async ({ url }) => { await tracer.startActiveSpan("work", async (span) => { await null; await get(url); span.end(); }); return told(); };`,
    ({ run, answer }) => {
      assert.deepEqual([answer[0].traceId, answer[0].parent], [TRACE, run.frames.named("app.handler").spanId]);
      assert.equal(run.frames.named("GET").parentId, answer[0].id);
    },
  ));

test("in a trace that is not sampled its spans begin their own, as without the layer", { skip }, () =>
  withSdk(
    `register(); exports.handler = async ({ url }) => { const outside = trace.getActiveSpan() === undefined; await tracer.startActiveSpan("work", async (span) => { await get(url); span.end(); }); return { outside, told: told() }; };`,
    ({ run, answer }) => {
      assert.equal(answer.outside, true);
      assert.notEqual(answer.told[0].traceId, TRACE);
      assert.equal(answer.told[0].parent, undefined);
      assert.equal(run.frames.named("GET").parentId, run.frames.named("app.handler").spanId);
    },
    { header: UNSAMPLED },
  ));

test("what runs in suppressTracing is not recorded and carries nothing, with an SDK and without", { skip }, async () => {
  for (const registered of ["register();", "register({ contextManager: null });", ""])
    await withSdk(
      `${registered} exports.handler = async ({ url }) => { await context.with(suppressTracing(context.active()), async () => { await get(url); await fetch(url).then((a) => a.text()); tracer.startSpan("hidden").end(); }); await get(url); return told(); };`,
      ({ run, answer, seen }) => {
        assert.deepEqual(run.frames.ended.map(({ name }) => name), ["GET", "app.handler"]);
        assert.deepEqual(seen.map(({ headers }) => "traceparent" in headers), [false, false, true]);
        assert.deepEqual(answer, []);
      },
    );
});

test("its exporter's calls are silent", { skip }, () =>
  withSdk(
    `const { OTLPTraceExporter } = require("@opentelemetry/exporter-trace-otlp-http");
     exports.handler = async ({ url }) => { const provider = new NodeTracerProvider({ spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter({ url: url + "/spans" }))] }); provider.register(); tracer.startSpan("sent").end(); await provider.forceFlush(); return 1; };`,
    ({ run, seen }) => {
      assert.equal(seen.length, 1);
      assert.deepEqual(run.frames.ended.map(({ name }) => name), ["app.handler"]);
    },
  ));

for (const [what, by] of [["http", "get(url)"], ["fetch", "fetch(url).then((a) => a.text())"]])
  test(`a call of ${what} that its instrumentation records is there once`, { skip }, () =>
    withSdk(
      `const { registerInstrumentations } = require("@opentelemetry/instrumentation"); const { HttpInstrumentation } = require("@opentelemetry/instrumentation-http"); const { UndiciInstrumentation } = require("@opentelemetry/instrumentation-undici");
       register(); registerInstrumentations({ instrumentations: [new HttpInstrumentation(), new UndiciInstrumentation()] });
       exports.handler = async ({ url }) => { const http = require("node:http"); const get = (url) => new Promise((resolve) => http.get(url, (answer) => answer.resume().on("end", resolve)));
         await ${by}; await tracer.startActiveSpan("work", async (span) => { await ${by}; span.end(); }); return told(); };`,
      ({ run, answer, seen }) => {
        const calls = answer.filter(({ kind }) => kind === 2);
        assert.equal(calls.length, 2);
        assert.deepEqual(run.frames.ended.map(({ name }) => name), ["app.handler"]);
        assert.deepEqual(seen.map(({ headers }) => headers.traceparent), calls.map(({ id }) => `00-${TRACE}-${id}-01`));
        assert.deepEqual(calls.map(({ parent }) => parent), [run.frames.named("app.handler").spanId, answer.find(({ name }) => name === "work").id]);
      },
    ));

test("what is left attached does not reach the next invocation", { skip }, () =>
  withFunction(
    `const { trace, context, propagation, ROOT_CONTEXT } = require("@opentelemetry/api"); const tracer = trace.getTracer("own");
     exports.handler = (event) => {
       const before = trace.getActiveSpan()?.spanContext();
       const followed = {};
       context.attach(trace.setSpan(context.active(), tracer.startSpan("left")));
       const child = tracer.startSpan("child"); child.end();
       context.attach(propagation.extract(ROOT_CONTEXT, { traceparent: "00-" + "1".repeat(32) + "-" + "2".repeat(16) + "-01" }));
       const far = tracer.startSpan("far"); far.end();
       return Promise.resolve({ before });
     };`,
    { packages: beside },
    async (run) => {
      for (const count of [1, 2]) {
        const { before } = JSON.parse((await run.invoke()).body);
        await run.frames.done(count);
        const root = run.frames.ended.filter(({ name }) => name === "app.handler").at(-1);
        assert.equal(before.spanId, root.spanId);
      }
      const far = run.frames.ended.filter(({ name }) => name === "far");
      assert.deepEqual(far.map(({ traceId, parentId }) => [traceId, parentId]), [["1".repeat(32), "2".repeat(16)], ["1".repeat(32), "2".repeat(16)]]);
      const left = run.frames.ended.filter(({ name }) => name === "child");
      assert.notEqual(left[0].parentId, left[1].parentId);
    },
  ));

for (const [what, registered] of [["no SDK", ""], ["only a provider", "register({ contextManager: null, propagator: null });"], ["an SDK", "register();"]])
  test(`calls in an extracted context belong to the trace that it names, and to the invocation where that is its own, with ${what}`, { skip }, () =>
    withSdk(
      `${registered} const far = (trace) => propagation.extract(ROOT_CONTEXT, { traceparent: "00-" + trace + "-" + "2".repeat(16) + "-01" });
       exports.handler = async ({ url }) => {
         await context.with(far("1".repeat(32)), async () => { await null; await get(url); await fetch(url).then((a) => a.text()); });
         await context.with(far("${TRACE}"), async () => { await get(url); tracer.startSpan("mine").end(); });
         await get(url); return told(); };`,
      ({ run, seen }) => {
        const root = run.frames.named("app.handler");
        const calls = run.frames.ended.filter(({ name }) => name === "GET");
        const theirs = ["1".repeat(32), "2".repeat(16), 0x301];
        const own = [TRACE, root.spanId, 0x101];
        assert.deepEqual(calls.map(({ traceId, parentId, flags }) => [traceId, parentId, flags]), [theirs, theirs, own, own]);
        assert.deepEqual(seen.map(({ headers }) => headers.traceparent), calls.map(({ traceId, spanId }) => `00-${traceId}-${spanId}-01`));
        if (registered !== "") return;
        const mine = run.frames.named("mine");
        assert.deepEqual([mine.traceId, mine.parentId, mine.flags], own);
      },
    ));

test("a context of suppressTracing that is left attached does not keep the next invocation silent", { skip }, () =>
  withFunction(
    `${SDK} exports.handler = async ({ url }) => { await get(url); context.attach(suppressTracing(context.active())); await get(url); return 1; };`,
    { packages: beside },
    async (run) => {
      const server = await listen((request, response) => (request.resume(), response.end("ok")));
      try {
        for (const count of [1, 2]) {
          await run.invoke({ url: `http://${server.address}` });
          await run.frames.done(count);
        }
        assert.deepEqual(run.frames.ended.map(({ name }) => name), ["GET", "app.handler", "GET", "app.handler"]);
      } finally {
        server.close();
      }
    },
  ));

test("isolation scopes of concurrent requests stay apart", { skip }, () =>
  withSdk(
    `register(); const SCOPES = Symbol.for("sentry_scopes");
     exports.handler = async () => Promise.all([1, 2, 3].map((request) => context.with(context.active().setValue(SCOPES, { request }), async () => { await new Promise((go) => setTimeout(go, 4 - request)); return context.active().getValue(SCOPES).request; })));`,
    ({ answer }) => assert.deepEqual(answer, [1, 2, 3]),
  ));

test("a call of AWS SDK 3 that its instrumentation records is there once", { skip }, () =>
  withSdk(
    `const { registerInstrumentations } = require("@opentelemetry/instrumentation"); const { AwsInstrumentation } = require("@opentelemetry/instrumentation-aws-sdk"); const { HttpInstrumentation } = require("@opentelemetry/instrumentation-http");
     const instrumentations = [new AwsInstrumentation({ suppressInternalInstrumentation: true }), new HttpInstrumentation()]; register(); registerInstrumentations({ instrumentations });
     const { S3Client, GetObjectCommand } = require("@aws-sdk/client-s3");
     exports.handler = async ({ url }) => { const s3 = new S3Client({ region: "eu-west-1", endpoint: new URL(url).origin, forcePathStyle: true, credentials: { accessKeyId: "a", secretAccessKey: "b" } });
       await (await s3.send(new GetObjectCommand({ Bucket: "b", Key: "k" }))).Body.transformToString(); return told(); };`,
    ({ run, answer }) => {
      const root = run.frames.named("app.handler");
      assert.deepEqual(answer.map(({ kind, parent }) => [kind, parent]), [[2, root.spanId]]);
      assert.deepEqual(run.frames.ended.map(({ name }) => name), ["app.handler"]);
    },
    { packages: modules },
  ));
