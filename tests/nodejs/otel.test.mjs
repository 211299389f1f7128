// The OpenTelemetry API in the function: manual spans join its trace, and an SDK of the function's own stays its own.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import path from "node:path";
import test from "node:test";
import { listen, modules, TRACE, withFunction } from "./stage/function.mjs";
import { Frame } from "./stage/frames.mjs";

const require = createRequire(path.join(modules, "x.js"));

const SOURCE = `
  const tracer = trace.getTracer("shop", "1.2");
  const handler = async ({ url }) => tracer.startActiveSpan("outer", { attributes: { a: 1, list: ["x", "y"], when: 1.5, big: -3 } }, async (outer) => {
    await new Promise((go) => setTimeout(go, 2));
    const inner = tracer.startSpan("inner", { kind: 4, links: [{ context: { traceId: "1".repeat(32), spanId: "2".repeat(16), traceFlags: 1 }, attributes: { l: true } }] });
    inner.addEvent("event", { e: "v" }); inner.setStatus({ code: 2, message: "bad" }); inner.recordException(new TypeError("inner failed"));
    inner.end();
    const carrier = {};
    const baggage = propagation.createBaggage({ user: { value: "a b" } });
    const back = propagation.extract(ROOT_CONTEXT, await context.with(propagation.setBaggage(context.active(), baggage), async () => {
      await null; propagation.inject(context.active(), carrier); return { ...carrier, baggage: carrier.baggage };
    }));
    if (url) await fetch(url).then((answer) => answer.text());
    outer.setAttribute("late", true);
    outer.end();
    const root = trace.getSpan(ROOT_CONTEXT);
    return { carrier, active: trace.getActiveSpan() === outer, user: propagation.getBaggage(back).getEntry("user").value, back: trace.getSpanContext(back), id: outer.spanContext().spanId, root: root === undefined };
  });`;

async function forms() {
  const esbuild = require("esbuild");
  const imports = 'import { trace, context, propagation, ROOT_CONTEXT } from "@opentelemetry/api";';
  const bundle = async (minify) => {
    const stdin = { contents: `${imports} ${SOURCE} export { handler };`, resolveDir: path.dirname(modules) };
    const built = await esbuild.build({ stdin, bundle: true, platform: "node", format: "cjs", minify, write: false });
    return { "app.js": built.outputFiles[0].text };
  };
  return {
    "CommonJS": { "app.js": `const { trace, context, propagation, ROOT_CONTEXT } = require("@opentelemetry/api"); ${SOURCE} exports.handler = handler;` },
    "ES module": { "app.mjs": `${imports} ${SOURCE} export { handler };` },
    "bundled": await bundle(false),
    "bundled and minified": await bundle(true),
  };
}

for (const [name, sources] of Object.entries(await forms())) {
  test(`${name}: manual spans, context, baggage and propagation`, async () => {
    const { address, close } = await listen((request, response) => response.end(request.headers.traceparent));
    try {
      await withFunction(sources, { packages: !name.includes("bundled") }, async (run) => {
        const answer = JSON.parse((await run.invoke({ url: `http://${address}/` })).body);
        await run.frames.done(1);
        const outer = run.frames.named("outer");
        const inner = run.frames.named("inner");
        const root = run.frames.named("app.handler");
        const call = run.frames.named("GET");
        assert.equal(outer.parentId, root.spanId);
        assert.equal(inner.parentId, outer.spanId);
        assert.equal(call.parentId, outer.spanId);
        assert.equal(outer.traceId, TRACE);
        assert.deepEqual(outer.attributes, { "otel.scope.name": "shop", "otel.scope.version": "1.2", a: 1, list: ["x", "y"], when: 1.5, big: -3, late: true });
        assert.equal(inner.kind, 4 + 1);
        assert.deepEqual(inner.links, [{ traceId: "1".repeat(32), spanId: "2".repeat(16), attributes: { l: true } }]);
        assert.deepEqual(inner.events.map((event) => event.name), ["event", "exception"]);
        assert.equal(inner.events[1].attributes["exception.type"], "TypeError");
        assert.equal(inner.status, 2);
        assert.equal(inner.statusMessage, "bad");
        assert.equal(answer.id, outer.spanId);
        assert.equal(answer.active, true);
        assert.equal(answer.user, "a b");
        assert.equal(answer.root, true);
        assert.equal(answer.carrier.traceparent, `00-${TRACE}-${outer.spanId}-01`);
        assert.equal(answer.carrier.baggage, "user=a%20b");
        assert.equal(answer.back.spanId, outer.spanId);
      });
    } finally {
      close();
    }
  });
}

test("spans outside of an invocation do nothing", () =>
  withFunction(
    `const { trace } = require("@opentelemetry/api"); const early = trace.getTracer("t").startSpan("early"); early.setAttribute("a", 1); early.end();
     exports.handler = async () => ({ recording: early.isRecording(), now: trace.getTracer("t").startSpan("now").isRecording() });`,
    {},
    async (run) => {
      assert.deepEqual(JSON.parse((await run.invoke()).body), { recording: false, now: true });
      await run.frames.done(1);
      assert.deepEqual(run.frames.ended.map((span) => span.name), ["app.handler"]);
    },
  ));

test("a value that cannot be read costs its span, and nothing else", () =>
  withFunction(
    `const { trace } = require("@opentelemetry/api");
     const refusing = { get inner() { throw new Error("refused"); } };
     class Refusing { toString() { throw new Error("refused"); } }
     exports.handler = async () => {
       for (const [name, value] of Object.entries({ first: 1, plain: { deep: [refusing] }, object: new Refusing(), early: new Refusing(), last: "a" })) {
         const attributes = name === "early" ? { value } : {};
         const span = trace.getTracer("t").startSpan(name, { kind: value instanceof Refusing ? 2 : 0, attributes });
         span.setAttribute("value", value);
         span.end();
       }
       return "ran";
     };`,
    {},
    async (run) => {
      for (const count of [1, 2]) {
        assert.equal((await run.invoke()).body, '"ran"');
        await run.frames.done(count);
        // Counted, behind the outcome.
        assert.equal(run.frames.all.filter(({ kind }) => kind === Frame.done).at(-1).payload.readUInt32LE(1), 3);
      }
      assert.deepEqual(run.frames.ended.map((span) => span.name), ["first", "last", "app.handler", "first", "last", "app.handler"]);
      assert.equal(run.output().match(/\[otel-xray\].*a span could not be recorded: Error at /g).length, 1);
      assert.doesNotMatch(run.output(), /refused/, "a message may quote anything");
    },
  ));

for (const bundled of [false, true]) {
  test(`an SDK that the function registers gets its spans${bundled ? ", from a minified bundle too" : ""}`, async () => {
    const source = `import { trace } from "@opentelemetry/api";
       import { NodeTracerProvider, SimpleSpanProcessor, InMemorySpanExporter } from "@opentelemetry/sdk-trace-node";
       const early = trace.getTracer("early");
       const exporter = new InMemorySpanExporter();
       new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }).register();
       export const handler = async () => { early.startSpan("theirs").end(); trace.getTracer("t").startActiveSpan("theirs too", (span) => span.end());
         return exporter.getFinishedSpans().map((span) => span.name); };`;
    const esbuild = require("esbuild");
    const built = await esbuild.build({
      stdin: { contents: source, resolveDir: path.dirname(modules) },
      bundle: true,
      platform: "node",
      format: "cjs",
      minify: bundled,
      external: bundled ? [] : ["@opentelemetry/*"],
      write: false,
    });
    await withFunction({ "app.js": built.outputFiles[0].text }, { packages: !bundled }, async (run) => {
      assert.deepEqual(JSON.parse((await run.invoke()).body), ["theirs", "theirs too"]);
      await run.frames.done(1);
      assert.deepEqual(run.frames.ended.map((span) => span.name), ["app.handler"]);
    });
  });
}
