// What an error says of itself, its causes and the errors that it is made of.

import assert from "node:assert/strict";
import test from "node:test";
import { listen, major, withFunction } from "./stage/function.mjs";

const recorded = (body, use) =>
  withFunction(
    `const { trace } = require("@opentelemetry/api");
     const thrown = () => { ${body} };
     exports.handler = async () => trace.getTracer("t").startActiveSpan("own", (span) => { span.recordException(thrown()); span.end(); });`,
    {},
    async (run) => {
      await run.invoke();
      await run.frames.done(1);
      await use(run.frames.named("own").events[0].attributes);
    },
  );

const heads = (stack) => stack.split("\n").filter((line) => !/^\s+at /.test(line));

test("an AggregateError is told with the errors that it is made of, and they with their causes", () =>
  recorded(
    `return new AggregateError([new RangeError("first"), new TypeError("second", { cause: new Error("why") })], "All promises were rejected");`,
    (attributes) => {
      assert.equal(attributes["exception.message"], "All promises were rejected");
      assert.deepEqual(heads(attributes["exception.stacktrace"]), [
        "AggregateError: All promises were rejected",
        "  [cause]: RangeError: first",
        "  [cause]: TypeError: second",
        "  [cause]: Error: why",
      ]);
    },
  ));

test("one without a message, as of a connection that every address has refused, says what they say", () =>
  recorded(
    `return Object.assign(new AggregateError([new Error("connect ECONNREFUSED ::1:80"), new Error("connect ECONNREFUSED 127.0.0.1:80")]), { code: "ECONNREFUSED" });`,
    (attributes) => {
      assert.equal(attributes["exception.message"], "connect ECONNREFUSED ::1:80; connect ECONNREFUSED 127.0.0.1:80");
    },
  ));

test("one that is made of itself, or of very many, ends", async () => {
  await recorded(`const error = new AggregateError([]); error.errors = [error, error]; error.cause = error; return error;`, (attributes) => {
    assert.equal(heads(attributes["exception.stacktrace"]).length, 10);
    assert.equal(attributes["exception.message"].replaceAll("; ", ""), "");
  });
  await recorded(`return new AggregateError(Array.from({ length: 1000 }, (_, n) => new Error("n" + n)), "many");`, (attributes) => {
    assert.equal(heads(attributes["exception.stacktrace"]).length, 10);
  });
});

const FAILING = {
  "an AWS call": `const { DynamoDBClient, GetItemCommand } = require("@aws-sdk/client-dynamodb");
    const client = new DynamoDBClient({ region: "eu-west-1", endpoint: "http://127.0.0.1:1", maxAttempts: 1 });
    exports.handler = () => client.send(new GetItemCommand({ TableName: "stock" }));`,
  "a GraphQL operation": `const { execute, parse, buildSchema } = require("graphql");
    exports.handler = async () => {
      const { errors } = await execute({ schema: buildSchema("type Query { a: Int }"), document: parse("{ a }"), rootValue: { a: () => { throw new RangeError("bang"); } } });
      throw errors[0].originalError;
    };`,
  "a statement that is none": `const { Client } = require("pg");
    exports.handler = async () => new Client().query();`,
  "a route of express": `const express = require("express");
    const app = express();
    app.get("/boom", () => { throw new RangeError("bang"); });
    exports.handler = () => new Promise((go, fail) => {
      app.use((error, request, response, next) => { response.end(); fail(error); });
      const server = app.listen(0, "127.0.0.1", () => require("http").get({ port: server.address().port, path: "/boom", host: "127.0.0.1" }, (response) => response.resume().on("end", () => server.close())));
    });`,
  "a route of fastify": `const app = require("fastify")();
    app.get("/boom", async () => { throw new RangeError("bang"); });
    exports.handler = () => new Promise((go, fail) => { app.setErrorHandler((error, request, reply) => { reply.send("no"); fail(error); }); app.inject("/boom"); });`,
  "an operation that cannot be told": `const { execute } = require("graphql");
    exports.handler = async () => { await execute({ schema: null, get document() { throw new RangeError("bang"); } }); };`,
};
for (const [what, source] of Object.entries(FAILING))
  test(`${what}: the error that the caller gets has no frame of the agent's`, { skip: major < 20 && what === "an AWS call" }, async () => {
    const reported = (layer) =>
      withFunction(source, { layer }, async (run) => {
        const { kind, body } = await run.invoke();
        assert.equal(kind, "error");
        return JSON.parse(body.replaceAll(run.task, "TASK"));
      });
    const [bare, traced] = [await reported(false), await reported(true)];
    assert.deepEqual([traced.errorType, traced.errorMessage], [bare.errorType, bare.errorMessage]);
    assert.ok(!traced.trace.some((line) => /otel-xray\/nodejs|AsyncLocalStorage/.test(line)), traced.trace.join("\n"));
    // Node.js keeps ten frames, of which ours took some.
    assert.deepEqual(traced.trace, bare.trace.slice(0, traced.trace.length));
  });

const BRIDGED = {
  "startActiveSpan": "() => tracer.startActiveSpan('own', fail)",
  "startActiveSpan with a promise": "() => tracer.startActiveSpan('own', async () => fail())",
  "context.with": "() => context.with(context.active(), fail)",
  "context.bind": "() => context.bind(context.active(), fail)()",
};
for (const [what, source] of Object.entries(BRIDGED))
  test(`an error that comes through ${what} is reported without a frame of the agent's`, () =>
    withFunction(
      `const { trace, context } = require("@opentelemetry/api"); const tracer = trace.getTracer("t");
       const fail = () => { throw new RangeError("bang"); }; exports.handler = async () => (${source})();`,
      {},
      async (run) => {
        const { body, headers } = await run.invoke();
        const { errorType, trace } = JSON.parse(body);
        assert.equal(errorType, "RangeError");
        assert.ok(trace[1].includes(`fail (${run.task}/app.js`), trace.join("\n"));
        const { exceptions } = JSON.parse(headers["lambda-runtime-function-xray-error-cause"]);
        assert.ok(exceptions[0].stack.some(({ label }) => label === "fail"));
        assert.doesNotMatch(JSON.stringify([trace, exceptions]), /otel-xray\/nodejs|otel_bridge/);
      },
    ));

for (const runtime of ["native3", "http"])
  test(`${runtime}: an error that a listener of a call throws is reported without a frame of the agent's`, async () => {
    const server = await listen((request, response) => response.end("no JSON"));
    const reported = (layer) =>
      withFunction(
        `exports.handler = () => new Promise(() => {
           require("http").get("http://${server.address}/", (response) => {
             response.resume().on("end", () => JSON.parse("no JSON"));
           });
         });`,
        { layer, runtime },
        async (run) => {
          const { kind, body, headers } = await run.invoke();
          await run.exited;
          assert.equal(kind, "error");
          return [body, headers["lambda-runtime-function-xray-error-cause"] ?? "", run.output()].map((text) => text.replaceAll(run.task, "TASK"));
        },
      );
    try {
      const [bare, traced] = [await reported(false), await reported(true)];
      assert.doesNotMatch(traced.join("\n"), /otel-xray\/nodejs/);
      const [before, after] = [bare, traced].map(([body]) => JSON.parse(body));
      assert.deepEqual([after.errorType, after.errorMessage], [before.errorType, before.errorMessage]);
      // Node.js keeps ten frames, of which ours took some.
      assert.deepEqual(after.trace, before.trace.slice(0, after.trace.length));
      assert.ok(after.trace.length > 2);
    } finally {
      server.close();
    }
  });

test("an error that nothing can be changed of goes on as it is", () =>
  withFunction(
    `const { execute, parse, buildSchema } = require("graphql");
     const frozen = Object.freeze(new RangeError("bang"));
     exports.handler = async () => {
       const { errors } = await execute({ schema: buildSchema("type Query { a: Int }"), document: parse("{ a }"), rootValue: { a: () => { throw frozen; } } });
       return errors[0].originalError === frozen;
     };`,
    {},
    async (run) => assert.equal((await run.invoke()).body, "true"),
  ));
