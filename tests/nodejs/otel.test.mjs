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

test("a value that cannot be read costs its attribute, and nothing else", () =>
  withFunction(
    `const { trace } = require("@opentelemetry/api");
     const refusing = { get inner() { throw new Error("refused"); } };
     class Refusing { toString() { throw new Error("refused"); } }
     exports.handler = async () => {
       for (const [name, value] of Object.entries({ first: 1, plain: { deep: [refusing] }, object: new Refusing(), early: new Refusing(), last: "a" })) {
         const attributes = name === "early" ? { value, beside: 1 } : { beside: 1 };
         const span = trace.getTracer("t").startSpan(name, { kind: value instanceof Refusing ? 2 : 0, attributes });
         span.setAttribute("value", value);
         span.end();
       }
       return "ran";
     };`,
    {},
    async (run) => {
      assert.equal((await run.invoke()).body, '"ran"');
      await run.frames.done(1);
      const told = run.frames.ended.slice(0, -1).map(({ name, attributes: { value, beside }, droppedAttributes }) => [name, value, beside, droppedAttributes]);
      assert.deepEqual(told, [["first", 1, 1, undefined], ["plain", undefined, 1, 1], ["object", undefined, 1, 1], ["early", undefined, 1, 1], ["last", "a", 1, undefined]]);
      assert.doesNotMatch(run.output(), /refused/, "a message may quote anything");
    },
  ));

test("nothing that a caller hands over raises, and what can be read of it is recorded", () =>
  withFunction(
    `const api = require("@opentelemetry/api"); const { trace, context, propagation, ROOT_CONTEXT } = api;
     const raise = () => { throw new Error("refused"); };
     const stubborn = new Proxy({}, { get: raise, ownKeys: raise, has: raise, getPrototypeOf: raise });
     const broken = Object.create(Error.prototype, { toString: { value: raise } }); for (const name of ["name", "message", "stack", "code", "cause"]) Object.defineProperty(broken, name, { get: raise });
     const ODD = { nothing: undefined, null: null, NaN: NaN, infinite: Infinity, negative: -1, big: 10n, text: "soon", symbol: Symbol("s"), list: [], deep: [[1]], date: new Date(NaN), string: { toString: raise }, function: raise, stubborn, bare: Object.create(null), symbols: [Symbol("a"), Symbol("b")] };
     const steps = (tracer, odd) => ({
       "startSpan by name": () => tracer.startSpan(odd).end(),
       "startSpan by options": () => tracer.startSpan("a", odd).end(),
       "startSpan in a context": () => tracer.startSpan("a", {}, odd).end(),
       ...Object.fromEntries(["kind", "attributes", "links", "startTime", "root"].map((key) => ["startSpan with " + key, () => tracer.startSpan("a", { [key]: odd }).end()])),
       "a link to": () => tracer.startSpan("a", { links: [odd, { context: odd }, { context: { traceId: odd, spanId: odd } }] }).end(),
       "a parent of": () => tracer.startSpan("a", {}, ROOT_CONTEXT.setValue(Symbol.for("OpenTelemetry Context Key SPAN"), odd)).end(),
       "a parent with ids": () => tracer.startSpan("a", {}, trace.setSpan(ROOT_CONTEXT, { spanContext: () => ({ traceId: odd, spanId: odd }) })).end(),
       ...Object.fromEntries([["setAttribute", odd, 1], ["setAttribute", "k", odd], ["setAttributes", odd], ["addEvent", odd], ["addEvent", "e", odd], ["addEvent", "e", {}, odd], ["addLink", odd], ["addLinks", odd], ["setStatus", odd], ["setStatus", { code: 2, message: odd }], ["updateName", odd], ["recordException", odd], ["recordException", broken], ["end", odd]].map(([method, ...given], index) => [method + index, () => { const span = tracer.startSpan("m"); span[method](...given); span.end(); }])),
       "startActiveSpan by options": () => tracer.startActiveSpan("a", odd, (span) => span.end()),
       "startActiveSpan in a context": () => tracer.startActiveSpan("a", {}, odd, (span) => span.end()),
       "with": () => context.with(odd, () => trace.getSpan(context.active())),
       "bind": () => context.bind(odd, () => 1)(),
       "inject": () => propagation.inject(ROOT_CONTEXT.setValue(Symbol.for("OpenTelemetry Context Key SPAN"), odd).setValue(Symbol.for("OpenTelemetry Baggage Key"), odd), {}),
       "inject by": () => propagation.inject(context.active(), {}, { set: raise }),
       "inject into": () => propagation.inject(context.active(), stubborn, { set: (carrier, key, value) => { carrier[key].x = value; } }),
       "inject baggage": () => propagation.inject(propagation.setBaggage(ROOT_CONTEXT, propagation.createBaggage({ ["\\ud800"]: { value: "\\ud800" } })), {}),
       "extract": () => propagation.extract(ROOT_CONTEXT, { traceparent: odd, "x-amzn-trace-id": odd, baggage: odd }),
       "extract by": () => propagation.extract(ROOT_CONTEXT, {}, { get: raise, keys: raise }),
       "getTracer": () => trace.getTracer(odd, odd, odd).startSpan("a").end(),
     });
     exports.handler = async () => {
       const raised = [];
       let ran = 0;
       for (const [what, odd] of Object.entries(ODD))
         for (const [step, run] of Object.entries(steps(trace.getTracer("t"), odd)))
           try { ran++; run(); } catch (error) { raised.push([what, step, error.stack.split("\\n").slice(0, 3)]); }
       const whole = trace.getTracer("t").startSpan("whole");
       whole.setAttributes({ good: 1, get bad() { throw new Error("refused"); }, also: 2 });
       whole.end([Symbol("a")]);
       return { raised, ran };
     };`,
    { },
    async (run) => {
      const { kind, body } = await run.invoke();
      assert.equal(kind, "response", body);
      const { raised, ran } = JSON.parse(body);
      assert.deepEqual(raised, []);
      assert.ok(ran > 300);
      await run.frames.done(1);
      const { attributes, end } = run.frames.named("whole");
      assert.deepEqual([attributes.good, attributes.also], [1, 2]);
      assert.ok(end > 0n);
      for (const span of run.frames.ended) assert.match(`${span.traceId} ${span.spanId} ${span.parentId}`, /^[0-9a-f]{32} [0-9a-f]{16} [0-9a-f]{16}$/);
      assert.equal(run.frames.of(Frame.done)[0].readUInt32LE(1), 0, "no span is lost");
    },
  ));

test("what is too large is cut where it is, and what has no room is counted", () =>
  withFunction(
    `const { trace } = require("@opentelemetry/api");
     exports.handler = async () => {
       const list = trace.getTracer("t").startSpan("list", { attributes: { before: 1 } });
       list.setAttribute("rows", Array.from({ length: 100_000 }, (_, index) => "row " + index)); list.setAttribute("after", 2); list.end();
       const texts = trace.getTracer("t").startSpan("texts");
       for (let index = 0; index < 120; index++) texts.setAttribute("t" + index, "\u4e00".repeat(16_384)); texts.setAttribute("small", 3); texts.end();
       const events = trace.getTracer("t").startSpan("events", { attributes: { first: 1 }, links: [{ context: { traceId: "1".repeat(32), spanId: "2".repeat(16) } }] });
       for (let index = 0; index < 100; index++) events.addEvent("e" + index, { text: "\u4e00".repeat(16_384) }); events.end();
     };`,
    {},
    async (run) => {
      assert.equal((await run.invoke()).kind, "response");
      await run.frames.done(1);
      const [list, texts, events] = ["list", "texts", "events"].map((name) => run.frames.named(name));
      assert.deepEqual([list.attributes.before, list.attributes.after, list.attributes.rows[0], list.droppedAttributes], [1, 2, "row 0", undefined]);
      assert.ok(list.attributes.rows.length > 1000 && list.attributes.rows.length < 100_000);
      assert.equal(texts.attributes.small, 3, "what is small has room behind what had none");
      assert.equal(Object.keys(texts.attributes).length + texts.droppedAttributes, 122);
      assert.equal(events.attributes.first, 1);
      assert.ok(events.events.length > 5);
      assert.equal(events.events.length + (events.droppedEvents ?? 0), 100);
      assert.equal(events.links.length, 1);
      assert.equal(run.frames.of(Frame.done)[0].readUInt32LE(1), 0);
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
