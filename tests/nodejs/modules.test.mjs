// Libraries that are loaded again, hand on what another has, or refuse to be changed.

import assert from "node:assert/strict";
import test from "node:test";
import { listen, major, withFunction } from "./stage/function.mjs";

test("a library that is loaded again is patched again, and what it was before stays as it was", { skip: major < 20 && "the AWS SDK" }, async () => {
  const seen = [];
  const server = await listen((request, response) => {
    seen.push(/Parent=(\w+)/.exec(request.headers["x-amzn-trace-id"])?.[1]);
    request.resume();
    response.writeHead(200, { "content-type": "application/x-amz-json-1.0" }).end("{}");
  });
  try {
    await withFunction(
      `const load = () => {
         const { DynamoDBClient, ListTablesCommand } = require("@aws-sdk/client-dynamodb");
         const client = new DynamoDBClient({ region: "eu-west-1", endpoint: "http://${server.address}" });
         return () => client.send(new ListTablesCommand({}));
       };
       const first = load();
       for (const file of Object.keys(require.cache)) if (file.includes("/node_modules/")) delete require.cache[file];
       const second = load();
       // One file alone: it hands on what others still have.
       for (const file of Object.keys(require.cache)) if (file.endsWith("submodules/client/index.js")) delete require.cache[file];
       const third = load();
       exports.handler = async () => { for (const call of [first, second, third]) await call(); };`,
      {},
      async (run) => {
        assert.equal((await run.invoke()).kind, "response");
        await run.frames.done(1);
        const calls = run.frames.ended.filter(({ name }) => name !== "app.handler");
        assert.deepEqual(calls.map(({ name }) => name), Array(3).fill("DynamoDB.ListTables"));
        assert.deepEqual(seen, calls.map(({ spanId }) => spanId));
      },
    );
  } finally {
    server.close();
  }
});

test("a file that hands on the class that another load of it has made is not patched twice", () =>
  withFunction(
    {
      "node_modules/koa/lib/application.js": `module.exports = globalThis.kept ??= class { handleRequest(context, run) { return run(); } };`,
      "app.js": `const load = () => { const found = require("koa/lib/application.js"); delete require.cache[require.resolve("koa/lib/application.js")]; return found; };
        const [one, same] = [load(), load()];
        exports.handler = async () => {
          const response = new (require("events"))();
          await new one().handleRequest({ res: response }, async () => 1);
          response.emit("finish");
          return one === same;
        };`,
    },
    { packages: false },
    async (run) => {
      assert.equal((await run.invoke()).body, "true");
      await run.frames.done(1);
      assert.deepEqual(run.frames.ended.map(({ name }) => name), ["middleware - koa", "app.handler"]);
    },
  ));

test("a class that refuses to be changed costs its spans, and neither the load nor the function", () =>
  withFunction(
    {
      "node_modules/koa/lib/application.js": `class Application { handleRequest() { return 7; } } Object.freeze(Application.prototype); module.exports = Application;`,
      "node_modules/graphql/execution/execute.js": `module.exports = Object.freeze({ execute: () => 8 });`,
      "node_modules/amqplib/lib/connect.js": `module.exports = undefined;`,
      "app.js": `const Application = require("koa/lib/application.js");
        const { execute } = require("graphql/execution/execute.js");
        const nothing = require("amqplib/lib/connect.js");
        exports.handler = async () => [new Application().handleRequest({}), execute(), String(nothing)];`,
    },
    { packages: false },
    async (run) => {
      assert.deepEqual(JSON.parse((await run.invoke()).body), [7, 8, "undefined"]);
      await run.frames.done(1);
      assert.deepEqual(run.frames.ended.map(({ name }) => name), ["app.handler"]);
      assert.equal(run.output().match(/could not be recorded/g)?.length, 2, run.output());
    },
  ));
