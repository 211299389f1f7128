// hapi, hono, tRPC and older versions of fastify: the route, and the error that the framework answers for. And what a streamed
// response says of its status.

import assert from "node:assert/strict";
import path from "node:path";
import test from "node:test";
import { major, withFunction } from "./stage/function.mjs";

const older = path.join(process.env.OTEL_XRAY_NODE_FRESH, "node_modules");

/** A request as an HTTP API sends it (payload 2.0). */
const request = (rawPath, routeKey = "ANY /{proxy+}") => ({
  version: "2.0",
  routeKey,
  rawPath,
  rawQueryString: "",
  headers: { host: "abc.execute-api.eu-west-1.amazonaws.com" },
  pathParameters: { proxy: rawPath.replace(/^\//, "") },
  requestContext: { apiId: "abc", stage: "$default", http: { method: "GET", path: rawPath } },
  isBase64Encoded: false,
});

const HAPI = `
  const server = require("@hapi/hapi").server();
  server.route({ method: "GET", path: "/items/{id}", handler: async ({ params }) => ({ id: params.id }) });
  server.route({ method: "GET", path: "/boom", handler: () => { throw new RangeError("bang"); } });
  exports.handler = async ({ rawPath }) => (await server.inject({ method: "GET", url: rawPath })).statusCode;`;
const HONO = `
  const { Hono } = require("hono");
  const app = new Hono();
  const inner = new Hono();
  app.use("*", async (context, next) => next());
  inner.get("/:id", (context) => context.text(context.req.param("id")));
  app.route("/items", inner);
  app.get("/boom", () => { throw new RangeError("bang"); });
  app.onError((error, context) => context.text(error.message, 500));
  exports.handler = async ({ rawPath }) => (await app.request(rawPath)).status;`;
const FASTIFY = `
  const app = require("fastify")();
  app.get("/items/:id", async ({ params }) => ({ id: params.id }));
  app.get("/boom", async () => { throw new RangeError("bang"); });
  exports.handler = async ({ rawPath }) => (await app.inject({ method: "GET", url: rawPath })).statusCode;`;
const TRPC = `
  const { initTRPC } = require("@trpc/server");
  const { awsLambdaRequestHandler } = require("@trpc/server/adapters/aws-lambda");
  const { router, procedure } = initTRPC.create();
  const appRouter = router({ items: router({ one: procedure.query(() => 7) }), boom: procedure.query(() => { throw new RangeError("bang"); }) });
  const answer = awsLambdaRequestHandler({ router: appRouter });
  exports.handler = async (event, context) => (await answer(event, context)).statusCode;`;

/** packages, source, [path, route] of one that works and one that fails, the error on the route's span */
const FRAMEWORKS = {
  "hapi 21": [undefined, HAPI, ["/items/7", "/items/{id}"], ["/boom", "/boom"], "RangeError"],
  "hapi 20": [older, HAPI, ["/items/7", "/items/{id}"], ["/boom", "/boom"], "RangeError"],
  "hono 4": [undefined, HONO, ["/items/7", "/items/:id"], ["/boom", "/boom"]],
  "hono 3": [older, HONO, ["/items/7", "/items/:id"], ["/boom", "/boom"]],
  "fastify 3": [older, FASTIFY, ["/items/7", "/items/:id"], ["/boom", "/boom"], "RangeError"],
  "tRPC 11": [undefined, TRPC, ["/trpc/items.one", "/trpc/items.one"], ["/trpc/boom", "/trpc/boom"], "RangeError"],
  "tRPC 10": [older, TRPC, ["/trpc/items.one", "/trpc/items.one"], ["/trpc/boom", "/trpc/boom"], "RangeError"],
};

for (const [name, [packages, source, [works, route], [fails, failing], error]] of Object.entries(FRAMEWORKS))
  test(`${name}: the route is the invocation's, and what it fails with is told`, () =>
    withFunction(source, { packages }, async (run) => {
      const key = name.startsWith("tRPC") ? "ANY /trpc/{proxy+}" : undefined;
      const event = (rawPath) => ({ ...request(rawPath, key), ...(key && { pathParameters: { proxy: rawPath.replace("/trpc/", "") } }) });
      const roots = [];
      for (const [rawPath, status] of [[works, 200], [works.replace("7", "8"), 200], [fails, 500], ["/nothing/here", 404]]) {
        assert.equal((await run.invoke(event(rawPath))).body, String(status), rawPath);
        await run.frames.done(roots.length + 1);
        roots.push(run.frames.ended.filter((span) => span.name === "app.handler").pop());
      }
      const known = key === undefined ? "/{proxy+}" : "/trpc/{proxy+}";
      assert.deepEqual(roots.map(({ attributes }) => attributes["http.route"]), [route, route, failing, known]);
      const routes = run.frames.ended.filter(({ name: of, attributes }) => of !== "app.handler" && attributes["http.route"] !== undefined);
      if (error === undefined) return;
      assert.deepEqual(routes.map(({ attributes }) => attributes["http.route"]), [route, route, failing]);
      assert.deepEqual(routes.map(({ parentId }) => parentId), roots.slice(0, 3).map(({ spanId }) => spanId));
      assert.deepEqual(routes.map(({ events }) => events[0]?.attributes["exception.type"]), [undefined, undefined, error]);
    }));

const NATIVE = major >= 20 ? "native" : "native3";
const STREAMED = {
  "with a status of its own": [NATIVE, "stream = awslambda.HttpResponseStream.from(stream, { statusCode: 503, headers: { a: '{' } });", 503, 2],
  "with nothing but a body": [NATIVE, "", 200, 0],
  "with nothing but a body, by a client of its own": ["socket", "", 200, 0],
};
for (const [what, [runtime, line, status, failed]] of Object.entries(STREAMED))
  test(`a streamed response ${what} says ${status}`, () =>
    withFunction(
      `exports.handler = awslambda.streamifyResponse(async (event, stream) => { ${line} stream.write("one"); stream.write("two"); stream.end(); });`,
      { runtime },
      async (run) => {
        run.put(request("/a", "$default"));
        await run.frames.done(1);
        const span = run.frames.named("app.handler");
        assert.deepEqual([span.attributes["http.response.status_code"], span.status], [status, failed]);
      },
    ));
