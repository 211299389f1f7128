// Which instrumentations are on, and those of the function's own packages.

import assert from "node:assert/strict";
import test from "node:test";
import { listen, withFunction } from "./stage/function.mjs";

const LOADER = {
  "CommonJS": { "app.js": `const DataLoader = require("dataloader"); const items = new DataLoader(async (keys) => keys.map(String)); exports.handler = async () => items.loadMany([1, 2]);` },
  "ES module": { "app.mjs": `import DataLoader from "dataloader"; const items = new DataLoader(async (keys) => keys.map(String)); export const handler = async () => items.loadMany([1, 2]);` },
};

for (const [name, sources] of Object.entries(LOADER))
  test(`an instrumentation among the function's packages joins its trace, ${name}`, () =>
    withFunction(sources, { variables: { OTEL_NODE_ENABLED_INSTRUMENTATIONS: "http, dataloader" } }, async (run) => {
      assert.deepEqual(JSON.parse((await run.invoke()).body), ["1", "2"]);
      await run.frames.done(1);
      const root = run.frames.named("app.handler");
      const many = run.frames.named("dataloader.loadMany");
      assert.equal(many.parentId, root.spanId);
      assert.equal(many.traceId, root.traceId);
      assert.equal(many.attributes["otel.scope.name"], "@opentelemetry/instrumentation-dataloader");
      assert.deepEqual(run.frames.ended.filter((span) => span.name === "dataloader.load").map((span) => span.parentId), [many.spanId, many.spanId]);
      assert.doesNotMatch(run.output(), /\[otel-xray\]/);
    }));

test("a package is loaded by its whole name, here in place of the agent's own", () =>
  withFunction(
    `const app = require("express")(); app.use(function check(req, res, next) { next(); }); app.get("/items/:id", (req, res) => res.send("ok"));
     const handle = require("serverless-http")(app); exports.handler = (event) => handle(event, {});`,
    { variables: { OTEL_NODE_ENABLED_INSTRUMENTATIONS: "@opentelemetry/instrumentation-express" } },
    async (run) => {
      const event = { httpMethod: "GET", path: "/items/7", headers: {}, requestContext: {} };
      assert.equal(JSON.parse((await run.invoke(event)).body).statusCode, 200);
      await run.frames.done(1);
      assert.deepEqual(run.frames.ended.map((span) => span.name), ["middleware - check", "request handler", "app.handler"]);
    },
  ));

test("one that is missing is told of with its remedy, and the function runs", () =>
  withFunction(`exports.handler = async () => "ran";`, { variables: { OTEL_NODE_ENABLED_INSTRUMENTATIONS: "nonesuch" } }, async (run) => {
    assert.equal((await run.invoke()).body, '"ran"');
    assert.match(run.output(), /\[otel-xray\].*nonesuch.*@opentelemetry\/instrumentation-nonesuch is not among the function's packages/);
  }));

const CALL = `exports.handler = async ({ url }) => { await fetch(url); await new Promise((go) => require("http").get(url, (answer) => answer.resume().on("end", go))); require("@opentelemetry/api").trace.getTracer("t").startSpan("mine").end(); };`;

const CHOICES = [
  [{}, ["GET", "GET", "mine"]],
  [{ OTEL_NODE_ENABLED_INSTRUMENTATIONS: "http" }, ["GET", "mine"]],
  [{ OTEL_NODE_ENABLED_INSTRUMENTATIONS: "http,undici", OTEL_NODE_DISABLED_INSTRUMENTATIONS: "undici" }, ["GET", "mine"]],
  [{ OTEL_NODE_ENABLED_INSTRUMENTATIONS: "http,dataloader", OTEL_NODE_DISABLED_INSTRUMENTATIONS: "*" }, []],
  [{ OTEL_NODE_ENABLED_INSTRUMENTATIONS: " , " }, ["GET", "GET", "mine"]],
  [{ OTEL_NODE_DISABLED_INSTRUMENTATIONS: "opentelemetry" }, ["GET", "GET"]],
];

for (const [variables, expected] of CHOICES)
  test(`with ${JSON.stringify(variables)}: ${expected}`, async () => {
    const { address, close } = await listen((request, response) => response.end("ok"));
    try {
      await withFunction(CALL, { variables }, async (run) => {
        assert.equal((await run.invoke({ url: `http://${address}/` })).kind, "response");
        await run.frames.done(1);
        assert.deepEqual(run.frames.ended.map((span) => span.name).sort(), [...expected, "app.handler"].sort());
      });
    } finally {
      close();
    }
  });
