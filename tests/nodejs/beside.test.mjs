// Other tools beside the agent: the function answers as without it, they record what they record without it, and each call is there once.

import assert from "node:assert/strict";
import dgram from "node:dgram";
import test from "node:test";
import { beside, HEADER, listen, major, withFunction } from "./stage/function.mjs";

const WORK = `await Promise.all([1, 2].map(async (n) => { const answer = await fetch(url + "/" + n); await answer.text(); }));
  await new Promise((resolve, reject) => http.get(url + "/http", (answer) => answer.resume().on("end", resolve)).on("error", reject));`;

/** The answers, the calls that the server saw, the agent's spans and the X-Ray SDK's documents, with the layer and without. */
async function both(sources, { variables = {}, subsegments = 0, ...options } = {}) {
  const run = async (layer) => {
    const seen = [];
    const server = await listen((request, response) => (seen.push(request.url), request.resume(), response.end("ok")));
    const daemon = dgram.createSocket("udp4");
    const documents = [];
    let told = () => undefined;
    daemon.on("message", (message) => (documents.push(JSON.parse(message.toString().split("\n")[1])), told()));
    await new Promise((resolve) => daemon.bind(0, "127.0.0.1", resolve));
    const address = `127.0.0.1:${daemon.address().port}`;
    const lambdas = { AWS_XRAY_DAEMON_ADDRESS: address, _AWS_XRAY_DAEMON_ADDRESS: "127.0.0.1", _AWS_XRAY_DAEMON_PORT: address.split(":")[1], OTEL_XRAY_DAEMON: address };
    try {
      return await withFunction(sources, { layer, packages: beside, variables: { ...lambdas, ...variables }, ...options }, async (ran) => {
        const { kind, body } = await ran.invoke({ url: `http://${server.address}` }, HEADER);
        assert.equal(kind, "response", body + ran.output());
        if (layer) await ran.frames.done(1);
        while (documents.flatMap(flat).length < subsegments) await new Promise((resolve) => (told = resolve));
        return { answer: JSON.parse(body), seen: seen.sort(), documents, spans: layer ? ran.frames.ended : [] };
      });
    } finally {
      daemon.close();
      server.close();
    }
  };
  return { without: await run(false), withLayer: await run(true) };
}

const names = (spans) => spans.map(({ name }) => name).sort();

const FORMS = {
  "CommonJS": (imports, body) => ({ "app.js": `const http = require("node:http"); ${imports.map(([what, from]) => `const ${what} = require("${from}");`).join(" ")} ${body.replaceAll("export const handler", "exports.handler")}` }),
  "ES modules": (imports, body) => ({ "app.mjs": `import http from "node:http"; ${imports.map(([what, from]) => `import ${what.replaceAll(":", " as")} from "${from}";`).join(" ")} ${body}` }),
};

for (const [form, sources] of Object.entries(FORMS))
  for (const warm of [false, true])
    test(`Powertools Tracer in ${form}${warm ? ", fetch first" : ""}: each call is there once`, { skip: major < 20 }, async () => {
      const body = `${warm ? 'await0;' : ""} const tracer = new Tracer({ serviceName: "shop" });
        export const handler = async ({ url }) => {
          const facade = tracer.getSegment(); const below = facade.addNewSubsegment("## handler"); tracer.setSegment(below);
          ${WORK} below.close(); tracer.setSegment(facade); return "ran"; };`.replace("await0;", 'fetch("http://127.0.0.1:1/").catch(() => undefined);');
      const { without, withLayer } = await both(sources([["{ Tracer }", "@aws-lambda-powertools/tracer"]], body), { subsegments: 4 });
      assert.equal(withLayer.answer, without.answer);
      assert.deepEqual(withLayer.seen, without.seen);
      assert.deepEqual(names(withLayer.spans), ["app.handler"]);
      assert.deepEqual(names(withLayer.documents.flatMap(flat)), ["## handler", "127.0.0.1", "127.0.0.1", "127.0.0.1"]);
    });

const flat = (document) => [document, ...(document.subsegments ?? []).flatMap(flat)];

const SENTRY = (name) => `const Sentry = require("${name}"); const sent = [];
  Sentry.init({ dsn: "http://key@127.0.0.1:9/1", tracesSampleRate: 1, transport: () => ({ send: async ([, items]) => { for (const [{ type }, item] of items) sent.push([type, item.transaction, item.contexts?.trace?.parent_span_id ?? null, (item.spans ?? []).map((span) => span.op).sort(), item.tags?.request ?? null]); return {}; }, flush: async () => true }) });
  const http = require("node:http");
  exports.handler = async ({ url }) => {
    const scopes = await Promise.all([1, 2, 3].map((request) => Sentry.withIsolationScope(async (scope) => { scope.setTag("request", request); await new Promise((go) => setTimeout(go, 4 - request)); return Sentry.getIsolationScope().getScopeData().tags.request; })));
    await Sentry.startSpan({ name: "work", op: "task" }, async () => { ${WORK} });
    Sentry.captureException(new Error("mine"));
    await Sentry.flush(2000);
    return { scopes, sent: sent.sort() };
  };`;

for (const name of ["@sentry/node10", "@sentry/node"])
  test(`${name}: its scopes and transactions are as without the layer, and the agent's spans are there once`, { skip: major < 20 }, async () => {
    const { without, withLayer } = await both(SENTRY(name));
    assert.deepEqual(without.answer.scopes, [1, 2, 3]);
    assert.deepEqual(withLayer.answer, without.answer);
    assert.ok(without.answer.sent.some(([type]) => type === "event") && without.answer.sent.some(([type]) => /^(?:transaction|span)$/.test(type)), JSON.stringify(without.answer.sent));
    assert.deepEqual(withLayer.seen, without.seen);
    assert.deepEqual(names(withLayer.spans), ["GET", "GET", "GET", "app.handler"]);
  });

const OTHERS = {
  "dd-trace": `require("dd-trace").init({ startupLogs: false, runtimeMetrics: false, remoteConfig: { enabled: false }, url: "http://127.0.0.1:9" });`,
  "dd-trace as an OpenTelemetry provider": `const ddTracer = require("dd-trace").init({ startupLogs: false, url: "http://127.0.0.1:9" }); new ddTracer.TracerProvider().register(); const { trace } = require("@opentelemetry/api");`,
  newrelic: `process.env.NEW_RELIC_ENABLED = "true"; process.env.NEW_RELIC_NO_CONFIG_FILE = "true"; process.env.NEW_RELIC_LICENSE_KEY = "0".repeat(40); process.env.NEW_RELIC_APP_NAME = "a"; process.env.NEW_RELIC_LOG_ENABLED = "false"; process.env.NEW_RELIC_SERVERLESS_MODE_ENABLED = "true"; require("newrelic");`,
  "elastic-apm-node": `require("elastic-apm-node").start({ serverUrl: "http://127.0.0.1:9", centralConfig: false, logLevel: "off", cloudProvider: "none", metricsInterval: "0s" });`,
  lumigo: `process.env.LUMIGO_TRACER_HOST = "127.0.0.1:9"; const lumigo = require("@lumigo/tracer")({ token: "t_0123456789012345678901" });`,
};

for (const [name, start] of Object.entries(OTHERS))
  test(`${name}: the function answers as without the layer, and the agent's spans are there once`, { skip: major < 22 }, async () => {
    const body = `async ({ url }) => { ${WORK} return "ran"; }`;
    const handler = name === "lumigo" ? `lumigo.trace(${body})` : body;
    const own = name.includes("provider") ? `exports.handler = (inner => async (event) => trace.getTracer("t").startActiveSpan("own", async (span) => { const done = await inner(event); span.end(); return done + (span.constructor.name === "BridgeSpan"); }))(exports.handler);` : "";
    const { without, withLayer } = await both(`${start} const http = require("node:http"); exports.handler = ${handler}; ${own}`, name === "lumigo" ? { runtime: "http" } : {});
    assert.deepEqual(withLayer.answer, without.answer);
    assert.deepEqual(withLayer.seen, without.seen);
    assert.deepEqual(names(withLayer.spans).filter((one) => one !== "POST"), ["GET", "GET", "GET", "app.handler"]);
  });

// The client makes spans of its own by the OpenTelemetry API, and tells the other side of them: the requests below are no calls of their own.
for (const [what, register] of [["no SDK", ""], ["an SDK", `const { NodeTracerProvider } = require("@opentelemetry/sdk-trace-node"); new NodeTracerProvider().register();`]])
  test(`Anthropic's client makes its own spans, with ${what}: the call is there once`, { skip: major < 20 }, async () => {
    const answer = { id: "msg_1", type: "message", role: "assistant", model: "claude-x", content: [{ type: "text", text: "hello" }], stop_reason: "end_turn", usage: { input_tokens: 1, output_tokens: 2 } };
    const headers = [];
    const server = await listen((request, response) => (headers.push(request.headers.traceparent), request.resume(), response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answer))));
    const source = `${register} const { Anthropic } = require("@anthropic-ai/sdk");
      exports.handler = async ({ url }) => { const client = new Anthropic({ apiKey: "k", baseURL: url }); const message = await client.messages.create({ model: "claude-x", max_tokens: 8, messages: [{ role: "user", content: "hi" }] }); return message.content[0].text; };`;
    try {
      await withFunction(source, { packages: beside }, async (run) => {
        assert.equal((await run.invoke({ url: `http://${server.address}` })).body, '"hello"', run.output());
        await run.frames.done(1);
        assert.equal(headers.length, 1);
        if (register !== "") {
          assert.deepEqual(names(run.frames.ended), ["app.handler"]);
          return;
        }
        const call = run.frames.named("anthropic.messages.create");
        assert.deepEqual(names(run.frames.ended), ["anthropic.messages.create", "app.handler"]);
        assert.equal(call.parentId, run.frames.named("app.handler").spanId);
        assert.equal(call.attributes["gen_ai.usage.output_tokens"], 2);
        assert.equal(headers[0].split("-")[2], call.spanId);
      });
    } finally {
      server.close();
    }
  });
