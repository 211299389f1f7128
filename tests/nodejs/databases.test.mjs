// Database drivers: one span for each statement, ended by callbacks, promises and events, also where a bundle holds the driver.

import assert from "node:assert/strict";
import * as fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import test from "node:test";
import * as servers from "./stage/databases.mjs";
import { major, modules, withFunction } from "./stage/function.mjs";

const require = createRequire(path.join(modules, "x.js"));

/** server, source, connections that are waited for, statements as (span name, whether it fails), what the first span must hold, first Node.js of the driver */
const CASES = {
  pg: {
    server: "postgres",
    from: 18,
    source: `import pg from "pg";
      export const handler = async ({ port }) => {
        const client = new pg.Client({ host: "127.0.0.1", port, user: "u", password: "secret", database: "shop" });
        await client.connect();
        await client.query("SELECT 1");
        await client.query({ text: "INSERT INTO a VALUES ($1)", values: [1] });
        await new Promise((go) => client.query("UPDATE a SET b = 1", go));
        const failed = await client.query("DELETE fail").catch((error) => error.message);
        await client.end();
        return failed; };`,
    connects: ["connect shop"],
    spans: [["SELECT shop"], ["INSERT shop"], ["UPDATE shop"], ["DELETE shop", true]],
    holds: { "db.system.name": "postgresql", "db.namespace": "shop", "db.query.text": "SELECT 1", "db.operation.name": "SELECT", "db.user": "u" },
    answer: "wrong",
  },
  mysql2: {
    server: "mysql",
    from: 18,
    source: `import mysql from "mysql2"; import { createConnection } from "mysql2/promise";
      export const handler = async ({ port }) => {
        const options = { host: "127.0.0.1", port, user: "u", password: "p", database: "shop" };
        const client = mysql.createConnection(options);
        await new Promise((go) => client.query("SELECT 1", go));
        await new Promise((go) => client.query("SELECT 2").on("end", go));
        const promised = await createConnection(options);
        await promised.query("SELECT 3");
        const failed = await promised.query("DELETE fail").catch((error) => error.message);
        client.destroy(); promised.destroy();
        return failed; };`,
    connects: ["connect shop", "connect shop"],
    spans: [["SELECT shop"], ["SELECT shop"], ["SELECT shop"], ["DELETE shop", true]],
    holds: { "db.system.name": "mysql", "db.namespace": "shop", "db.query.text": "SELECT 1", "db.operation.name": "SELECT" },
    answer: "wrong",
    bundled: 20,
  },
  mysql: {
    server: "mysql",
    from: 18,
    source: `import mysql from "mysql";
      export const handler = async ({ port }) => {
        const client = mysql.createConnection({ host: "127.0.0.1", port, user: "u", password: "p", database: "shop" });
        await new Promise((go) => client.query("SELECT 1", go));
        await new Promise((go) => client.query("SELECT 2").on("end", go));
        const failed = await new Promise((go) => client.query("DELETE fail", (error) => go(error.code)));
        client.destroy();
        return failed; };`,
    connects: [],
    spans: [["SELECT shop"], ["SELECT shop"], ["DELETE shop", true]],
    holds: { "db.system.name": "mysql", "db.namespace": "shop", "db.query.text": "SELECT 1" },
    answer: "ER_PARSE_ERROR",
  },
  ioredis: {
    server: "redis",
    from: 20,
    source: `import { Redis } from "ioredis";
      export const handler = async ({ port }) => {
        const client = new Redis({ port, host: "127.0.0.1", db: 0 });
        await client.set("key", "value");
        await client.get("key");
        const failed = await client.get("fail").catch((error) => error.message);
        client.disconnect();
        return failed; };`,
    connects: ["connect"],
    spans: [["SET"], ["GET"], ["GET", true]],
    holds: { "db.system.name": "redis", "db.operation.name": "SET", "db.query.text": "SET key ?", "server.address": "127.0.0.1" },
    answer: "ERR unknown command",
    bundled: 20,
  },
  redis: {
    server: "redis",
    from: 20,
    source: `import { createClient } from "redis";
      export const handler = async ({ port }) => {
        const client = createClient({ RESP: 2, socket: { port, host: "127.0.0.1", reconnectStrategy: false } });
        client.on("error", () => undefined);
        await client.connect();
        await client.set("key", "value");
        await client.get("key");
        const failed = await client.get("fail").catch((error) => error.message);
        client.destroy();
        return failed; };`,
    connects: ["connect"],
    spans: [["SET"], ["GET"], ["GET", true]],
    holds: { "db.system.name": "redis", "db.operation.name": "SET", "db.query.text": "SET key ?", "server.address": "127.0.0.1" },
    answer: "ERR unknown command",
    bundled: 20,
  },
  mongodb: {
    server: "mongodb",
    from: 20,
    source: `import { MongoClient } from "mongodb";
      export const handler = async ({ port }) => {
        const client = new MongoClient("mongodb://127.0.0.1:" + port + "/?directConnection=true");
        const orders = client.db("shop").collection("orders");
        await orders.insertOne({ secret: "value" });
        await orders.find({}).toArray();
        const failed = await client.db("shop").collection("fail").find({}).toArray().catch((error) => error.message);
        await client.close();
        return failed; };`,
    connects: ["connect", "connect"],
    spans: [["insert orders"], ["find orders"], ["find fail", true]],
    holds: { "db.system.name": "mongodb", "db.namespace": "shop", "db.collection.name": "orders", "db.operation.name": "insert" },
    answer: "wrong",
  },
};

async function check({ server, source, connects, spans, holds, answer }, sources, packages) {
  const { port, close } = await servers[server]();
  try {
    await withFunction(sources ?? { "app.mjs": source }, { packages }, async (run) => {
      assert.equal(JSON.parse((await run.invoke({ port })).body), answer);
      await run.frames.done(1);
      const waits = run.frames.ended.filter((span) => span.kind === 3 && /^(?:connect|acquire)\b/.test(span.name));
      assert.deepEqual(waits.map((span) => [span.name, span.status, span.attributes["server.port"]]), connects.map((name) => [name, 0, port]));
      const calls = run.frames.ended.filter((span) => span.kind === 3 && !/^(?:connect|acquire)\b/.test(span.name));
      assert.deepEqual(calls.map((span) => span.name), spans.map(([name]) => name));
      const root = run.frames.named("app.handler");
      for (const wait of waits) assert.equal(wait.parentId, root.spanId);
      for (const [index, call] of calls.entries()) {
        assert.equal(call.parentId, root.spanId);
        assert.equal(call.status, spans[index][1] ? 2 : 0);
        assert.equal(call.events.length, spans[index][1] ? 1 : 0);
      }
      for (const [name, value] of Object.entries(holds)) assert.equal(calls[0].attributes[name], value, name);
      assert.equal(calls[0].attributes["server.port"], port);
      assert.doesNotMatch(JSON.stringify(run.frames.ended, (_, value) => (typeof value === "bigint" ? 0 : value)), /secret/);
      assert.doesNotMatch(run.output(), /\[otel-xray\]/);
    });
  } finally {
    close();
  }
}

for (const [driver, expected] of Object.entries(CASES)) {
  test(driver, { skip: major < expected.from }, () => check(expected));
  if (expected.bundled)
    test(`${driver} inside of a minified bundle, by its tracing channel`, { skip: major < expected.bundled }, async () => {
      const stdin = { contents: expected.source, resolveDir: path.dirname(modules) };
      const built = await require("esbuild").build({ stdin, bundle: true, platform: "node", format: "cjs", minify: true, write: false, external: ["@node-rs/xxhash"] });
      await check(expected, { "app.js": built.outputFiles[0].text }, false);
    });
}

test("commands of Redis are shown without values, and those without a key by their name alone (PL-42, PL-51)", () => {
  const { redis } = require(path.join(process.env.OTEL_XRAY_NODE_AGENT, "databases.js"));
  const { commands } = JSON.parse(fs.readFileSync(new URL("../redis.json", import.meta.url), "utf8"));
  for (const { words, name, text } of commands)
    for (const given of [words, words.map((word) => Buffer.from(word))]) {
      const [found, attributes] = redis(given, "127.0.0.1", 6379, 0);
      assert.deepEqual([found, attributes["db.operation.name"], attributes["db.query.text"]], [name, name, text]);
    }
});
