// Web frameworks behind an API: one span for the route that handles a request, the route on the invocation's span, and the errors
// that a framework turns into a page.

import assert from "node:assert/strict";
import test from "node:test";
import { HEADER, listen, major, withFunction } from "./stage/function.mjs";


/** A request as an HTTP API sends it (payload 2.0); `routeKey` is the route that the API knows. */
const request = (path, { method = "GET", routeKey = "$default" } = {}) => ({
  version: "2.0",
  routeKey,
  rawPath: path,
  rawQueryString: "",
  headers: { host: "abc.execute-api.eu-west-1.amazonaws.com" },
  requestContext: { apiId: "abc", stage: "$default", domainName: "abc.execute-api.eu-west-1.amazonaws.com", requestId: "r", http: { method, path, userAgent: "u", sourceIp: "192.0.2.1" } },
  isBase64Encoded: false,
});

const STEPS = `const step = () => new Promise((go) => setTimeout(go, 2));`;

/** Version 5, or 4 as a library of the tests brings it along. */
const express = (found) => ({
  sources: {
    "app.js": `const express = ${found}, serverless = require("serverless-http"); const { trace } = require("@opentelemetry/api"); ${STEPS}
      const app = express(); app.use(express.json()); app.use((req, res, next) => setTimeout(next, 1));
      const orders = express.Router({ mergeParams: true });
      orders.get("/orders/:order", async (req, res) => { const id = trace.getActiveSpan().spanContext().spanId; await step(); trace.getTracer("t").startSpan("inner").end(); res.json({ id, params: req.params }); });
      app.use("/shops/:shop", orders);
      app.get("/fails", (req, res, next) => step().then(() => next(new RangeError("out of stock"))));
      app.get("/skips", (req, res, next) => next("route")); app.get("/skips", (req, res) => res.send("second"));
      app.use((error, req, res, next) => res.status(500).json({ error: error.message }));
      exports.handler = serverless(app);`,
  },
  name: (route) => `request handler - ${route}`,
  attributes: (route) => ({ "http.route": route, "express.name": route, "express.type": "request_handler" }),
  skips: true,
  mounted: "/shops/:shop/orders/:order",
});

const CASES = {
  "express 5": express(`require("express")`),
  "express 4": { from: 20, ...express(`require("module").createRequire(require.resolve("@apollo/server"))("express")`) },
  "koa, ES module": {
    from: 20,
    sources: {
      "app.mjs": `import Koa from "koa"; import Router from "@koa/router"; import serverless from "serverless-http"; import { trace } from "@opentelemetry/api"; ${STEPS}
        const app = new Koa(); app.silent = true; const router = new Router();
        app.use(async (ctx, next) => { await step(); await next(); });
        router.get("/shops/:shop/orders/:order", async (ctx) => { const id = trace.getActiveSpan().spanContext().spanId; await step(); trace.getTracer("t").startSpan("inner").end(); ctx.body = { id, params: ctx.params }; });
        router.get("/fails", async () => { await step(); throw new RangeError("out of stock"); });
        app.use(router.routes());
        export const handler = serverless(app);`,
    },
    name: (route) => `router - ${route}`,
    attributes: (route) => ({ "http.route": route, "koa.name": route, "koa.type": "router" }),
    mounted: "/shops/:shop/orders/:order",
  },
  "fastify, CommonJS": {
    from: 20,
    sources: {
      "app.js": `const app = require("fastify")(); const { trace } = require("@opentelemetry/api"); ${STEPS}
        app.register(async (shops) => {
          shops.get("/orders/:order", async function order(req) { const id = trace.getActiveSpan().spanContext().spanId; await step(); trace.getTracer("t").startSpan("inner").end(); return { id, params: req.params }; });
        }, { prefix: "/shops/:shop" });
        app.get("/fails", async () => { await step(); throw new RangeError("out of stock"); });
        exports.handler = async (event) => { const { statusCode, body } = await app.inject({ method: event.requestContext.http.method, url: event.rawPath }); return { statusCode, body }; };`,
    },
    name: (route) => (route === "/fails" ? "handler - /fails" : "handler - order"),
    attributes: (route) => ({ "http.route": route, "fastify.type": "request-handler", "hook.callback.name": route === "/fails" ? "anonymous" : "order" }),
    mounted: "/shops/:shop/orders/:order",
  },
};

for (const [name, { sources, from = 18, ...expected }] of Object.entries(CASES)) {
  test(name, { skip: major < from }, () =>
    withFunction(sources, {}, async (run) => {
      const { frames } = run;
      const call = async (...given) => {
        const before = frames.ended.length;
        const answer = JSON.parse((await run.invoke(request(...given))).body);
        const { invocations = 0 } = call;
        call.invocations = invocations + 1;
        await frames.done(call.invocations);
        const ended = frames.ended.slice(before);
        return { answer, ended, root: ended.find((span) => span.name === "app.handler"), route: ended.find((span) => "http.route" in span.attributes && span.name !== "app.handler") };
      };

      const { answer, ended, root, route } = await call("/shops/7/orders/9");
      assert.equal(answer.statusCode, 200);
      const { id, params } = JSON.parse(answer.body);
      assert.deepEqual(params, { shop: "7", order: "9" });
      assert.equal(root.attributes["http.route"], expected.mounted);
      assert.deepEqual(ended.map((span) => span.name).sort(), ["app.handler", "inner", expected.name(expected.mounted)].sort());
      assert.equal(route.spanId, id, "the route's span is what is active in its handler");
      assert.equal(route.parentId, root.spanId);
      assert.equal(route.kind, 1);
      assert.deepEqual(route.attributes, expected.attributes(expected.mounted));
      assert.equal(ended.find((span) => span.name === "inner").parentId, route.spanId);
      assert.equal(route.status, 0);

      const failed = await call("/fails", { routeKey: "GET /{proxy+}" });
      assert.equal(failed.answer.statusCode, 500);
      assert.equal(failed.root.status, 2);
      assert.equal(failed.root.attributes["http.route"], "/fails");
      assert.equal(failed.route.status, 2);
      assert.equal(failed.route.statusMessage, "out of stock");
      assert.deepEqual(failed.route.events.map((event) => event.attributes["exception.type"]), ["RangeError"]);

      const known = await call("/shops/1/orders/2", { routeKey: "GET /shops/{shop}/orders/{order}" });
      assert.equal(known.root.attributes["http.route"], "/shops/{shop}/orders/{order}");

      const nowhere = await call("/nowhere");
      assert.equal(nowhere.answer.statusCode, 404);
      assert.equal(nowhere.root.attributes["http.route"], undefined);

      if (expected.skips) {
        const skipped = await call("/skips");
        assert.deepEqual(skipped.ended.map((span) => [span.name, span.status]), [["request handler - /skips", 0], ["request handler - /skips", 0], ["app.handler", 0]]);
      }
      assert.doesNotMatch(run.output(), /\[otel-xray\]/);
    }),
  );
}

test("a framework that listens inside of the function is seen as behind an adapter", () =>
  withFunction(
    `const express = require("express"); const app = express(); app.get("/items/:id", (req, res) => res.send(req.params.id));
     const server = new Promise((go) => { const made = app.listen(0, "127.0.0.1", () => go(made)); });
     exports.handler = async (event) => { const { port } = (await server).address(); const answer = await fetch("http://127.0.0.1:" + port + event.rawPath); return { statusCode: answer.status, body: await answer.text() }; };`,
    {},
    async (run) => {
      for (const count of [1, 2]) {
        assert.equal(JSON.parse((await run.invoke(request(`/items/${count}`), HEADER)).body).body, String(count));
        await run.frames.done(count);
      }
      const roots = run.frames.ended.filter((span) => span.name === "app.handler");
      assert.deepEqual(roots.map((span) => span.attributes["http.route"]), ["/items/:id", "/items/:id"]);
      const routes = run.frames.ended.filter((span) => span.name === "request handler - /items/:id");
      assert.deepEqual(routes.map((span) => span.parentId), roots.map((span) => span.spanId));
    },
  ));

test("turned off, a framework is left alone", () =>
  withFunction(CASES["express 5"].sources, { variables: { OTEL_NODE_DISABLED_INSTRUMENTATIONS: "express" } }, async (run) => {
    assert.equal(JSON.parse((await run.invoke(request("/skips"))).body).body, "second");
    await run.frames.done(1);
    assert.deepEqual(run.frames.ended.map((span) => span.name), ["app.handler"]);
    assert.equal(run.frames.named("app.handler").attributes["http.route"], undefined);
  }));

test("the request of an adapter to its own server is no remote call, whether over a path or a port; others are", async () => {
  const server = await listen((request, response) => response.end("there"));
  try {
    await withFunction(
      `const express = require("express");
       const adapter = require("aws-serverless-express");
       const app = express();
       app.get("/items/:id", async (request, response) => response.json({ id: request.params.id, there: await fetch("http://${server.address}/").then((it) => it.text()) }));
       const own = adapter.createServer(app);
       const beside = app.listen(0, "127.0.0.1");
       exports.handler = async (event, context) => {
         const answer = await adapter.proxy(own, event, context, "PROMISE").promise;
         const { port } = beside.address();
         for (const url of ["http://127.0.0.1:" + port + "/items/8", "http://localhost:" + port + "/none"]) {
           await new Promise((go) => require("http").get(url, { family: 4 }, (response) => response.resume().on("end", go)));
           await fetch(url.replace("localhost", "127.0.0.1")).then((response) => response.text());
         }
         return answer.body;
       };`,
      {},
      async (run) => {
        const event = { httpMethod: "GET", path: "/items/7", headers: { host: "x.execute-api.eu-west-1.amazonaws.com" }, requestContext: {}, resource: "/{proxy+}" };
        assert.equal(JSON.parse((await run.invoke(event)).body), JSON.stringify({ id: "7", there: "there" }));
        await run.frames.done(1);
        const calls = run.frames.ended.filter(({ kind }) => kind === 3).map(({ attributes }) => attributes["url.full"]);
        assert.deepEqual(calls, Array(3).fill(`http://${server.address}/`));
        const route = run.frames.ended.find(({ attributes, name }) => name !== "app.handler" && attributes["http.route"] === "/items/:id");
        assert.equal(route.parentId, run.frames.named("app.handler").spanId);
      },
    );
  } finally {
    server.close();
  }
});
