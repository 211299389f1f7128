// hapi, hono, tRPC and older versions of fastify: the route, and the error that the framework answers for. And what a streamed
// response says of its status.

import assert from "node:assert/strict";
import path from "node:path";
import test from "node:test";
import { major, version, withFunction } from "./stage/function.mjs";

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

/** The same as ES modules. */
const imported = (source) => ({
  "app.mjs": source
    .replace(/const (\{[^}]*\}) = require\((".*?")\);/g, "import $1 from $2;")
    .replace("exports.handler =", "export const handler ="),
});

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

// Before, nothing tells of an ES module that is loaded, and hooks would be slow.
const hooked = major > 22 || (major === 22 && Number(version.split(".")[1]) >= 15);
if (hooked)
  for (const [name, of] of [["hono 4", HONO], ["hono 3", HONO], ["tRPC 11", TRPC], ["tRPC 10", TRPC]])
    FRAMEWORKS[`${name}, imported`] = [FRAMEWORKS[name][0], imported(of), ...FRAMEWORKS[name].slice(2)];

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

test("a function whose package.json makes it an ES module, in a folder of its own, has its routes", { skip: !hooked }, () =>
  withFunction(
    { "src/app.js": imported(HONO)["app.mjs"], "src/package.json": '{"type":"module"}' },
    { handler: "src/app.handler" },
    async (run) => {
      assert.equal((await run.invoke(request("/items/7"))).body, "200", run.output());
      await run.frames.done(1);
      assert.equal(run.frames.named("src/app.handler").attributes["http.route"], "/items/:id");
      assert.equal(run.output().includes("Warning"), false, run.output());
    },
  ));

test("turned off, an ES module is loaded as it is", { skip: !hooked }, () =>
  withFunction(
    { "app.mjs": `import { SmartRouter } from "hono/router/smart-router"; import fs from "node:fs"; import { registerHooks } from "node:module";
        export const handler = async () => [SmartRouter.prototype.match.toString().startsWith("match("), typeof registerHooks];` },
    { variables: { OTEL_NODE_DISABLED_INSTRUMENTATIONS: "hono" } },
    async (run) => assert.equal((await run.invoke()).body, '[true,"function"]'),
  ));

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
