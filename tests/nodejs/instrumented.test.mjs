// Instrumentations of OpenTelemetry that the function makes itself: each call is there once, by them where they see it, else by the agent.

import assert from "node:assert/strict";
import test from "node:test";
import * as servers from "./stage/databases.mjs";
import { HEADER, listen, major, TRACE, withFunction } from "./stage/function.mjs";

const LOADS = `const { trace } = require("@opentelemetry/api");
  const { NodeTracerProvider, SimpleSpanProcessor, InMemorySpanExporter } = require("@opentelemetry/sdk-trace-node");
  const { registerInstrumentations } = require("@opentelemetry/instrumentation");
  const exporter = new InMemorySpanExporter();
  const register = () => new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }).register();
  const told = () => exporter.getFinishedSpans().splice(0).filter((span) => span.kind === 2).map((span) => [span.name, span.spanContext().traceId, span.parentSpanContext?.spanId]);`;

/** How instrumentations are made, and the SDK registered. */
const ORDERS = {
  "made before the SDK": (made) => `const instrumentations = [${made}]; register(); registerInstrumentations({ instrumentations });`,
  "made behind the SDK": (made) => `register(); registerInstrumentations({ instrumentations: [${made}] });`,
  "made without an SDK": (made) => `registerInstrumentations({ instrumentations: [${made}] });`,
};

/** server, instrumentation, what loads the driver, work in the handler, how many calls there are */
const CASES = {
  pg: ["postgres", "pg", "PgInstrumentation", `const { Client, Pool } = require("pg");`, `
    const options = { host: "127.0.0.1", port, user: "u", password: "p", database: "shop" };
    const client = new Client(options); await client.connect();
    await client.query("SELECT 1"); await new Promise((go) => client.query("UPDATE a SET b = 1", go)); await client.query("DELETE fail").catch(() => undefined);
    await client.end(); const pool = new Pool(options); await pool.query("SELECT 2"); await pool.end();`, /^pg\.query:/, 4],
  mysql2: ["mysql", "mysql2", "MySQL2Instrumentation", `const mysql = require("mysql2"); const { createConnection } = require("mysql2/promise");`, `
    const options = { host: "127.0.0.1", port, user: "u", password: "p", database: "shop" };
    const client = mysql.createConnection(options); await new Promise((go) => client.query("SELECT 1", go)); client.destroy();
    const promised = await createConnection(options); await promised.query("SELECT 3"); await promised.query("DELETE fail").catch(() => undefined); promised.destroy();`, /^(?:SELECT|DELETE)$/, 3],
  ioredis: ["redis", "ioredis", "IORedisInstrumentation", `const Redis = require("ioredis");`, `
    const client = new Redis({ host: "127.0.0.1", port, lazyConnect: true, enableReadyCheck: false }); await client.connect();
    await client.set("a", "secret"); await client.get("a"); client.disconnect();`, /^(?:set|get)$/, 2],
};

const run = async (server, sources, use, packages) => {
  const { port, close } = await servers[server]();
  try {
    await withFunction(sources, { packages }, async (ran) => {
      const { kind, body } = await ran.invoke({ port }, HEADER);
      assert.equal(kind, "response", body + ran.output());
      await ran.frames.done(1);
      await use(ran.frames, JSON.parse(body));
    });
  } finally {
    close();
  }
};
const skip = major < 20 && "the SDK wants Node.js 20";

for (const [library, [server, name, made, loads, work, theirs, count]] of Object.entries(CASES)) {
  for (const [order, start] of Object.entries(ORDERS))
    test(`${library}: an instrumentation that is ${order} records each call, and nobody else`, { skip }, () =>
      run(
        server,
        `${LOADS} const { ${made} } = require("@opentelemetry/instrumentation-${name}"); ${start(`new ${made}()`)} ${loads}
         exports.handler = async ({ port }) => { ${work} return told(); };`,
        (frames, told) => {
          const root = frames.named("app.handler");
          const ours = frames.ended.filter(({ kind }) => kind === 3).map((span) => [span.name, span.traceId, span.parentId]);
          const [recorded, silent] = order.endsWith("without an SDK") ? [ours, told] : [told, ours];
          const calls = recorded.filter(([called]) => theirs.test(called));
          assert.equal(calls.length, count, JSON.stringify({ told, ours }));
          assert.deepEqual(calls.map(([, trace]) => trace), calls.map(() => TRACE));
          if (library !== "pg") assert.deepEqual(calls.map(([, , parent]) => parent), calls.map(() => root.spanId));
          assert.deepEqual(silent, []);
          // Beside the statements it has spans for each connection, and for what the driver says there by itself.
          assert.deepEqual(recorded.filter(([called]) => !theirs.test(called) && !/connect|^(?:hello|client)$/.test(called)), []);
        },
      ));

  test(`${library}: an instrumentation that is made too late sees nothing, and the agent records each call`, { skip }, () =>
    run(
      server,
      `${LOADS} ${loads} const { ${made} } = require("@opentelemetry/instrumentation-${name}"); ${ORDERS["made behind the SDK"](`new ${made}()`)}
       exports.handler = async ({ port }) => { ${work} return told(); };`,
      (frames, told) => {
        assert.deepEqual(told, []);
        assert.equal(frames.ended.filter(({ kind, name }) => kind === 3 && !name.startsWith("connect")).length, count);
      },
    ));
}

const S3 = `const { S3Client, GetObjectCommand } = require("@aws-sdk/client-s3");
  exports.handler = async ({ url }) => { const s3 = new S3Client({ region: "eu-west-1", endpoint: url, forcePathStyle: true, credentials: { accessKeyId: "a", secretAccessKey: "b" } });
    await (await s3.send(new GetObjectCommand({ Bucket: "b", Key: "k" }))).Body.transformToString(); return told(); };`;

for (const [order, start] of Object.entries(ORDERS))
  for (const [what, options] of [["all that it calls", ""], ["itself alone", "{ suppressInternalInstrumentation: true }"]])
    test(`AWS SDK 3: an instrumentation that is ${order} and records ${what} leaves one call`, { skip }, async () => {
      const server = await listen((request, response) => (request.resume(), response.end("ok")));
      const sources = `${LOADS} const { AwsInstrumentation } = require("@opentelemetry/instrumentation-aws-sdk"); ${start(`new AwsInstrumentation(${options})`)} ${S3}`;
      try {
        await withFunction(sources, {}, async (ran) => {
          const { kind, body } = await ran.invoke({ url: `http://${server.address}` }, HEADER);
          assert.equal(kind, "response", body + ran.output());
          await ran.frames.done(1);
          const root = ran.frames.named("app.handler").spanId;
          const ours = ran.frames.ended.filter(({ kind: of }) => of === 3).map((span) => [span.name, span.traceId, span.parentId]);
          const all = [...JSON.parse(body), ...ours];
          assert.deepEqual(all, [["S3.GetObject", TRACE, root]]);
        });
      } finally {
        server.close();
      }
    });
