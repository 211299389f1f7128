// Every published minor version of the OpenTelemetry API: what the function registers is what it gets, to the letter as without the
// layer, and whoever registers nothing has spans in its trace. However the copy was loaded, and whatever is made of stacks.

import assert from "node:assert/strict";
import test from "node:test";
import { beside, major, withFunction } from "./stage/function.mjs";
import { bundle } from "./stage/bundle.mjs";

const MINORS = ["1.0", "1.1", "1.2", "1.3", "1.4", "1.5", "1.6", "1.7", "1.8", "1.9", "1.10"];
const packageOf = (minor) => (minor === "1.10" ? "@opentelemetry/api" : `api${minor}`);

/** Registers everything, twice, and again after taking it back; answers with what each step told and with what is then used. */
const REGISTERS = (api) => `
  const seen = [];
  const make = (mark) => {
    const current = new (require("node:async_hooks").AsyncLocalStorage)();
    const span = (name) => { seen.push(mark + " " + name); return api.trace.wrapSpanContext({ traceId: "1".repeat(32), spanId: "2".repeat(16), traceFlags: 0 }); };
    return {
      provider: { getTracer: () => ({ startSpan: span, startActiveSpan: (name, ...given) => given.pop()(span(name)) }) },
      manager: { active: () => current.getStore() ?? api.ROOT_CONTEXT, with: (context, run, self, ...given) => current.run(context, () => run.apply(self, given)), bind: (context, run) => run, enable() { return this; }, disable() { return this; } },
      propagator: { fields: () => [mark], inject: (context, carrier, setter) => setter.set(carrier, mark, "in"), extract: (context) => context },
      meters: { getMeter: () => ({ createCounter: () => ({ add: () => seen.push(mark + " counter") }) }) },
      logger: { error: (text) => seen.push(String(text).split("\\n")[0]), warn() {}, info() {}, debug() {}, verbose() {} },
    };
  };
  const registers = ({ provider, manager, propagator, meters }) => [
    api.trace.setGlobalTracerProvider(provider), api.context.setGlobalContextManager(manager), api.propagation.setGlobalPropagator(propagator), api.metrics?.setGlobalMeterProvider(meters)];
  const [first, second] = [make("first"), make("second")];
  const logging = api.diag.setLogger(first.logger, api.DiagLogLevel.ERROR);
  const early = EARLY ? api.trace.getTracer("early") : undefined;
  const told = [logging, registers(first), registers(second)];
  const uses = () => {
    early?.startSpan("early").end();
    api.trace.getTracer("t").startActiveSpan("work", (span) => span.end());
    api.metrics?.getMeter("m").createCounter("c").add(1);
    const carrier = {}, key = api.createContextKey("mine");
    api.propagation.inject(api.context.active(), carrier);
    const inner = api.context.with(api.ROOT_CONTEXT.setValue(key, 7), () => api.context.active().getValue(key));
    return { carrier, fields: api.propagation.fields(), inner, outer: api.context.active().getValue(key) === undefined };
  };
  const handler = async () => {
    const used = uses();
    for (const one of [api.trace, api.context, api.propagation, api.metrics]) one?.disable();
    return { told, used, again: [registers(second), uses()], seen };
  };`.replaceAll("EARLY", String(api));

async function answers(sources, options) {
  const [without, withLayer] = await Promise.all(
    [false, true].map((layer) => withFunction(sources, { layer, ...options }, async (run) => (await run.invoke()).body)),
  );
  return [JSON.parse(without), JSON.parse(withLayer)];
}

for (const minor of MINORS) {
  const forms = {
    "CommonJS": (early) => ({ "app.js": `const api = require("${packageOf(minor)}"); ${REGISTERS(early)} exports.handler = handler;` }),
    "an ES module": (early) => ({ "app.mjs": `import * as api from "${packageOf(minor)}"; import { createRequire } from "node:module"; const require = createRequire(import.meta.url); ${REGISTERS(early)} export { handler };` }),
    "a minified bundle": (early) => bundle(`import * as api from "${packageOf(minor)}"; ${REGISTERS(early)} export { handler };`, { packages: beside }),
  };
  for (const [form, sources] of Object.entries(forms)) {
    for (const early of [false, true])
      test(`${minor}, ${form}${early ? ", asked before" : ""}: all that the function registers is its own`, async () => {
        const [without, withLayer] = await answers(await sources(early), { packages: form === "a minified bundle" ? false : beside });
        assert.deepEqual(without.told[1].slice(0, 3), [true, true, true], "the function registers nothing without the layer either");
        assert.equal(without.used.inner, 7);
        assert.deepEqual(withLayer, without);
      });
  }

  test(`${minor}: without an SDK the function's spans are in its trace`, () =>
    withFunction(
      `const { trace } = require("${packageOf(minor)}"); const tracer = trace.getTracer("shop");
       exports.handler = async () => { const span = tracer.startSpan("work"); span.setAttribute("a", 1); span.end(); };`,
      { packages: beside },
      async (run) => {
        await run.invoke();
        await run.frames.done(1);
        assert.equal(run.frames.named("work").parentId, run.frames.named("app.handler").spanId);
      },
    ));
}

const REWRITTEN = {
  "--enable-source-maps": { variables: { NODE_OPTIONS: "--enable-source-maps" } },
  "--stack-trace-limit=0": { nodeArguments: ["--stack-trace-limit=0"] },
  "--stack-trace-limit=1": { variables: { NODE_OPTIONS: "--stack-trace-limit=1" } },
  "Error.stackTraceLimit = 0": { before: "Error.stackTraceLimit = 0;" },
  "Error.prepareStackTrace": { before: 'Error.prepareStackTrace = (error) => String(error) + "\\n    at elsewhere (/src/elsewhere.ts:1:1)";' },
  "source-map-support": { before: 'require("source-map-support").install({ environment: "node", hookRequire: true });' },
  "hooks around require": { before: 'const { Hook } = require("require-in-the-middle"); new Hook(null, { internals: true }, (exports) => exports);' },
};

for (const [what, { before = "", variables = {}, nodeArguments = [] }] of Object.entries(REWRITTEN))
  for (const minor of MINORS)
    test(`${minor} and ${what}: who registers is known without a stack`, async () => {
      const source = `${before} const api = require("${packageOf(minor)}"); ${REGISTERS(false)} exports.handler = handler;`;
      const [without, withLayer] = await answers(source, { packages: beside, variables, nodeArguments });
      assert.deepEqual(without.told[1].slice(0, 3), [true, true, true]);
      assert.deepEqual(withLayer, without);
    });

// Node.js 18 has no `register`.
for (const early of [false, true])
  test(`hooks around import${early ? ", asked before" : ""}: who registers is known without a stack`, { skip: major < 20 }, async () => {
    const sources = {
      "hooks.mjs": `import { register } from "node:module"; register("@opentelemetry/instrumentation/hook.mjs", import.meta.url);
        import { Hook } from "import-in-the-middle"; new Hook((exports, name) => void /./.test(name));`,
      "app.mjs": `import * as api from "@opentelemetry/api"; import { createRequire } from "node:module"; const require = createRequire(import.meta.url); ${REGISTERS(early)} export { handler };`,
    };
    const [without, withLayer] = await answers(sources, { packages: beside, variables: { NODE_OPTIONS: "--import ./hooks.mjs" } });
    assert.deepEqual(without.told[1], [true, true, true, true]);
    assert.deepEqual(withLayer, without);
  });

for (const [older, newer] of [["1.4", "1.9"], ["1.9", "1.4"], ["1.9", "1.10"], ["1.10", "1.0"]])
  test(`${newer} beside ${older}: the second copy is told what it is told without the layer`, async () => {
    const source = `const api = require("${packageOf(older)}"); ${REGISTERS(false)}
      const other = require("${packageOf(newer)}");
      exports.handler = async () => {
        const answer = await handler();
        const { provider, manager } = make("third");
        return [answer, other.trace.setGlobalTracerProvider(provider), other.context.setGlobalContextManager(manager), seen];
      };`;
    const [without, withLayer] = await answers(source, { packages: beside });
    assert.deepEqual(withLayer, without);
  });

test("what NODE_OPTIONS has loaded before the agent stays registered", async () => {
  const sources = {
    "before.js": `const api = require("@opentelemetry/api"); ${REGISTERS(false)} globalThis.handler = handler;`,
    "app.js": `exports.handler = globalThis.handler;`,
  };
  const variables = { NODE_OPTIONS: "--require ./before.js" };
  const [without, withLayer] = await answers(sources, { packages: beside, variables });
  assert.deepEqual(without.told[1], [true, true, true, true]);
  assert.deepEqual(withLayer, without);
});

test("what NODE_OPTIONS has loaded before the agent may register later", async () => {
  const sources = {
    "before.js": `globalThis.api = require("api1.9");`,
    "app.js": `const api = globalThis.api; ${REGISTERS(true)} exports.handler = handler;`,
  };
  const [without, withLayer] = await answers(sources, { packages: beside, variables: { NODE_OPTIONS: "--require ./before.js" } });
  assert.deepEqual(without.told[1], [true, true, true, true]);
  assert.deepEqual(withLayer, without);
});

test("the symbol itself is the one that everybody knows", () =>
  withFunction(
    `const before = Symbol.for("opentelemetry.js.api.1"); require("@opentelemetry/api"); "x".match(/x/);
     exports.handler = async () => [before === Symbol.for("opentelemetry.js.api.1"), Symbol.for("a") === Symbol.for("a"), Symbol.keyFor(Symbol.for("a")), Symbol.for.name, Symbol.for.length];`,
    { packages: beside },
    async (run) => assert.deepEqual(JSON.parse((await run.invoke()).body), [true, true, "a", "for", 1]),
  ));
