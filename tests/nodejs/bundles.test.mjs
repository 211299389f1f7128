// Drivers inside of a bundle, where there is no file to patch: their calls are read from their sockets, and say what the patched
// driver's calls say (A-44).

import assert from "node:assert/strict";
import test from "node:test";
import * as brokers from "./stage/brokers.mjs";
import * as databases from "./stage/databases.mjs";
import { bundle, OLD } from "./stage/bundle.mjs";
import { major, withFunction } from "./stage/function.mjs";

const servers = { ...databases, ...brokers };

/** Differences from the patched driver: attribute, or the message of an error -> what it is there and here, and why. */
const PG = {};
const MYSQL = {};
const REDIS = {};
const MONGODB = {};

const KAFKA = {
  "error.type": ["KafkaJSProtocolError", "29", "the broker names the error by a number; the driver's class is unknown"],
  message: [/^Not authorized/, "The broker answered with error 29", "the words are the driver's"],
  "server.address": [undefined, "127.0.0.1", "the driver's producers know of no single broker"],
};
const AMQP = {
  "error.type": ["Error", "nack", "the driver's class is unknown"],
  message: ["message nacked", "The broker did not take the message", "the words are the driver's"],
};

/** server, source, spans as (name, whether it fails), the handler's answer, versions without tracing channels or the driver itself */
const CASES = {
  pg: {
    server: "postgres",
    from: 18,
    source: `import pg from "pg";
      export const handler = async ({ port }) => {
        const pool = new pg.Pool({ host: "127.0.0.1", port, user: "u", password: "secret", database: "shop", max: 1 });
        await pool.query("SELECT 1");
        await pool.query({ text: "INSERT INTO a VALUES ($1)", values: ["secret"] });
        const client = await pool.connect();
        await client.query({ name: "named", text: "SELECT a FROM b WHERE c = $1", values: [1] });
        await client.query({ name: "named", text: "SELECT a FROM b WHERE c = $1", values: [2] });
        await new Promise((go) => client.query("UPDATE a SET b = 1", go));
        const failed = [];
        await client.query("DELETE fail").catch((error) => failed.push(error.message, error.code));
        await client.query("DELETE fail WHERE a = $1", ["secret"]).catch((error) => failed.push(error.message, error.code));
        await Promise.all([client.query("BEGIN"), client.query("SELECT $1", [1]), client.query("COMMIT")]);
        client.release();
        await pool.end();
        return failed; };`,
    spans: [["SELECT shop"], ["INSERT shop"], ["SELECT shop"], ["SELECT shop"], ["UPDATE shop"], ["DELETE shop", true], ["DELETE shop", true], ["BEGIN shop"], ["SELECT shop"], ["COMMIT shop"]],
    answer: ["wrong", "42601", "wrong", "42601"],
    differences: PG,
  },
  mysql: {
    server: "mysql",
    from: 18,
    // The driver finds its methods by the names of its classes.
    keepNames: true,
    source: `import mysql from "mysql";
      export const handler = async ({ port }) => {
        const pool = mysql.createPool({ host: "127.0.0.1", port, user: "u", password: "secret", database: "shop", connectionLimit: 1 });
        await new Promise((go) => pool.query("SELECT 1", go));
        await new Promise((go) => pool.query("SELECT 2").on("end", go));
        const failed = await new Promise((go) => pool.query("DELETE fail", (error) => go(error.code)));
        await new Promise((go) => pool.query("SELECT ?", ["it's \\\\ 'secret'"], go));
        await new Promise((go) => pool.end(go));
        return failed; };`,
    spans: [["SELECT shop"], ["SELECT shop"], ["DELETE shop", true], ["SELECT shop"]],
    answer: "ER_PARSE_ERROR",
    differences: {
      ...MYSQL,
      message: ["ER_PARSE_ERROR: wrong", "wrong", "the driver puts its name of the code before it"],
    },
  },
  mysql2: {
    server: "mysql",
    from: 18,
    old: true,
    source: `import mysql from "mysql2/promise";
      export const handler = async ({ port }) => {
        const client = await mysql.createConnection({ host: "127.0.0.1", port, user: "u", password: "secret", database: "shop" });
        await client.query("SELECT 1");
        const failed = await client.query("DELETE fail").catch((error) => error.code);
        await client.query("UPDATE a SET b = 1");
        client.destroy();
        return failed; };`,
    spans: [["SELECT shop"], ["DELETE shop", true], ["UPDATE shop"]],
    answer: "ER_PARSE_ERROR",
    differences: MYSQL,
  },
  ioredis: {
    server: "redis",
    from: 20,
    old: true,
    source: `import { Redis } from "ioredis";
      export const handler = async ({ port }) => {
        const client = new Redis({ port, host: "127.0.0.1", db: 0 });
        await client.set("key", "secret");
        const failed = await client.get("fail").catch((error) => error.message);
        await client.pipeline().get("a").mget("b", "c").exec();
        await Promise.all([client.get("d"), client.get(Buffer.from("e"))]);
        client.disconnect();
        return failed; };`,
    spans: [["SET"], ["GET", true], ["GET"], ["MGET"], ["GET"], ["GET"]],
    answer: "ERR unknown command",
    differences: REDIS,
  },
  redis: {
    server: "redis",
    from: 20,
    old: true,
    source: `import { createClient } from "redis";
      export const handler = async ({ port }) => {
        const client = createClient({ RESP: 2, database: 0, socket: { port, host: "127.0.0.1", reconnectStrategy: false } });
        client.on("error", () => undefined);
        await client.connect();
        await client.set("key", "secret");
        const failed = await client.get("fail").catch((error) => error.message);
        await Promise.all([client.get("a"), client.mGet(["b", "c"])]);
        await (client.destroy ?? client.disconnect).call(client);
        return failed; };`,
    spans: [["SET"], ["GET", true], ["GET"], ["MGET"]],
    answer: "ERR unknown command",
    differences: REDIS,
  },
  mongodb: {
    server: "mongodb",
    from: 20,
    old: true,
    source: `import { MongoClient } from "mongodb";
      export const handler = async ({ port }) => {
        const client = new MongoClient("mongodb://127.0.0.1:" + port + "/?directConnection=true");
        const orders = client.db("shop").collection("orders");
        await orders.insertOne({ secret: "value" });
        await orders.insertMany([{ a: 1 }, { a: 2, secret: "x".repeat(100_000) }]);
        await orders.find({}).toArray();
        await orders.aggregate([{ $match: { a: 1 } }]).toArray();
        const failed = await client.db("shop").collection("fail").find({}).toArray().catch((error) => error.message);
        await client.close();
        return failed; };`,
    spans: [["insert orders"], ["insert orders"], ["find orders"], ["aggregate orders"], ["find fail", true]],
    answer: "wrong",
    differences: MONGODB,
  },
};

/** Calls to something outside, and messages that are sent. What is waited for before them, calls.test.mjs tests. */
const isCall = ({ kind, name }) => (kind === 3 || kind === 4) && !/^(?:connect|acquire)\b/.test(name);

/** Runs the handler twice on one environment; gives each invocation's calls. */
async function callsOf(sources, server, { answer, packages }) {
  const { port, close } = await server();
  try {
    return await withFunction(sources, { packages }, async (run) => {
      const calls = [];
      for (const count of [1, 2]) {
        const before = run.frames.ended.length;
        assert.deepEqual(JSON.parse((await run.invoke({ port })).body), answer);
        await run.frames.done(count);
        const ended = run.frames.ended.slice(before);
        const root = ended.find((span) => span.name === "app.handler");
        const found = ended.filter(isCall);
        for (const call of found) assert.equal(call.parentId, root.spanId);
        assert.equal(run.frames.started.filter(isCall).length, run.frames.ended.filter(isCall).length);
        calls.push(found);
      }
      assert.doesNotMatch(run.output(), /\[otel-xray\]/);
      assert.doesNotMatch(JSON.stringify(calls, (_, value) => (typeof value === "bigint" ? 0 : value)), /secret/);
      return { port, calls };
    });
  } finally {
    close();
  }
}

function assertCalls({ port, calls }, spans) {
  for (const found of calls) {
    assert.deepEqual(found.map(({ name, status }) => [name, status]), spans.map(([name, fails]) => [name, fails ? 2 : 0]));
    for (const call of found) {
      assert.equal(call.attributes["server.port"] ?? port, port);
      assert.equal(call.events.length, call.status === 2 ? 1 : 0);
    }
  }
}

/** Attribute by attribute; a difference that is listed must be there. */
function assertSame(patched, fromSocket, differences) {
  const seen = new Set();
  const sameAs = (expected, value) => (expected instanceof RegExp ? expected.test(value) : expected === value);
  for (const [invocation, calls] of patched.calls.entries())
    for (const [index, one] of calls.entries()) {
      const other = fromSocket.calls[invocation][index];
      const said = ({ attributes, statusMessage }) => ({ ...attributes, message: statusMessage });
      const [all, read] = [said(one), said(other)];
      for (const name of new Set([...Object.keys(all), ...Object.keys(read)])) {
        const [left, right] = [all[name], read[name]];
        if (left === right || name === "server.port") continue;
        const [expected, found, reason] = differences[name] ?? [];
        assert.ok(reason && sameAs(expected, left) && sameAs(found, right), `${one.name}: ${name} is ${left} of the driver, ${right} of its bundle`);
        seen.add(name);
      }
    }
  assert.deepEqual([...seen].sort(), Object.keys(differences).sort());
}

for (const [driver, expected] of Object.entries(CASES)) {
  const { source, spans, answer, differences } = expected;
  const server = servers[expected.server];
  const oldest = expected.old ? 18 : expected.from;
  for (const minify of [false, true])
    test(`${driver} inside of a ${minify ? "minified " : ""}bundle says what the patched driver says`, { skip: major < oldest }, async () => {
      const read = await callsOf(await bundle(source, { alias: OLD, minify, keepNames: expected.keepNames }), server, { answer, packages: false });
      assertCalls(read, spans);
      if (major < expected.from) return;
      const patched = await callsOf({ "app.mjs": source }, server, { answer });
      assertCalls(patched, spans);
      assertSame(patched, read, differences);
    });
}

const postgresClient = (options = "") => `new pg.Client({ host: "127.0.0.1", port, user: "u", password: "secret", database: "shop", ${options} })`;

/** What is beside the first table: server, source, spans, answer; `patched` where the patched driver says the same. */
const OTHERS = {
  "pg through TLS": {
    server: "postgres",
    patched: PG,
    source: `import pg from "pg";
      export const handler = async ({ port }) => {
        const client = ${postgresClient(`ssl: ${servers.TLS_OPTIONS}`)};
        await client.connect();
        const { encrypted } = client.connection.stream;
        await client.query("SELECT 1");
        await client.query("DELETE fail").catch(() => undefined);
        await client.end();
        return encrypted; };`,
    spans: [["SELECT shop"], ["DELETE shop", true]],
    answer: true,
  },
  "redis through TLS": {
    server: "redisOverTls",
    source: `import { createClient } from "redis";
      export const handler = async ({ port }) => {
        const client = createClient({ socket: { port, host: "127.0.0.1", tls: true, ...${servers.TLS_OPTIONS}, reconnectStrategy: false } });
        await client.connect();
        const answer = await client.get("key");
        await client.disconnect();
        return answer; };`,
    spans: [["GET"]],
    answer: "OK",
  },
  "mysql through TLS": {
    server: "mysqlOverTls",
    keepNames: true,
    source: `import mysql from "mysql";
      export const handler = async ({ port }) => {
        const client = mysql.createConnection({ host: "127.0.0.1", port, user: "u", password: "secret", database: "shop", ssl: ${servers.ANONYMOUS} });
        await new Promise((go, fail) => client.query("UPDATE a SET b = 1", (error) => (error ? fail(error) : go())));
        const failed = await new Promise((go) => client.query("DELETE fail", (error) => go(error.code)));
        client.destroy();
        return failed; };`,
    spans: [["UPDATE shop"], ["DELETE shop", true]],
    answer: "ER_PARSE_ERROR",
  },
  "mysql2 through TLS": {
    server: "mysqlOverTls",
    source: `import mysql from "mysql2/promise";
      export const handler = async ({ port }) => {
        const client = await mysql.createConnection({ host: "localhost", port, user: "u", password: "secret", database: "shop", ssl: ${servers.ANONYMOUS} });
        await client.query("UPDATE a SET b = 1");
        const failed = await client.query("DELETE fail").catch((error) => error.code);
        client.destroy();
        return failed; };`,
    spans: [["UPDATE shop"], ["DELETE shop", true]],
    answer: "ER_PARSE_ERROR",
  },
  "mysql2 with prepared statements": {
    server: "mysql",
    patched: MYSQL,
    source: `import mysql from "mysql2/promise";
      export const handler = async ({ port }) => {
        const client = await mysql.createConnection({ host: "127.0.0.1", port, user: "u", password: "secret", database: "shop" });
        await client.execute("UPDATE a SET b = 1");
        await client.execute("UPDATE a SET b = 1");
        const failed = await client.execute("DELETE fail").catch((error) => error.code);
        await client.query("SELECT 1");
        client.destroy();
        return failed; };`,
    spans: [["UPDATE shop"], ["UPDATE shop"], ["DELETE shop", true], ["SELECT shop"]],
    answer: "ER_PARSE_ERROR",
  },
  "a connection of pg that breaks off": {
    server: "postgres",
    source: `import pg from "pg";
      export const handler = async ({ port }) => {
        const client = ${postgresClient()};
        client.on("error", () => undefined);
        await client.connect();
        return client.query("SELECT close").catch((error) => error.message); };`,
    spans: [["SELECT shop", true]],
    answer: "Connection terminated unexpectedly",
  },
  "kafkajs, what it sends": {
    server: "kafka",
    patched: KAFKA,
    source: `import { Kafka, logLevel } from "kafkajs";
      export const handler = async ({ port }) => {
        const kafka = new Kafka({ clientId: "c", brokers: ["127.0.0.1:" + port], logLevel: logLevel.NOTHING, retry: { retries: 0 } });
        const producer = kafka.producer();
        await producer.connect();
        await producer.send({ topic: "orders", messages: [{ key: "k", value: "secret" }] });
        await producer.send({ topic: "orders", messages: [{ key: "k", value: null }] });
        await producer.send({ topic: "orders", messages: [{ value: "a" }, { value: "b" }, { value: "c" }] });
        await producer.sendBatch({ topicMessages: [{ topic: "orders", messages: [{ value: "a" }] }, { topic: "lines", messages: [{ value: "b" }] }] });
        const failed = await producer.send({ topic: "fail", messages: [{ key: "k", value: "v" }] }).catch((error) => error.type);
        await producer.disconnect();
        return failed; };`,
    spans: [["send orders"], ["send orders"], ["send orders"], ["send"], ["send fail", true]],
    answer: "TOPIC_AUTHORIZATION_FAILED",
  },
  "amqplib, what it publishes": {
    server: "rabbitmq",
    patched: AMQP,
    source: `import amqp from "amqplib";
      export const handler = async ({ port }) => {
        const connection = await amqp.connect("amqp://user:secret@127.0.0.1:" + port);
        const channel = await connection.createChannel(), confirmed = await connection.createConfirmChannel();
        await channel.assertQueue("orders");
        channel.sendToQueue("orders", Buffer.from("a"), { contentType: "text/plain", headers: { mine: "1" }, persistent: true, messageId: "m1", correlationId: "c1" });
        channel.publish("exchange", "key", Buffer.from("b"));
        await new Promise((go) => confirmed.sendToQueue("other", Buffer.from("c"), {}, go));
        const failed = await new Promise((go) => confirmed.publish("", "fail", Buffer.from("d"), {}, (error) => go(error?.message)));
        await connection.close();
        return failed; };`,
    spans: [["publish orders"], ["publish exchange"], ["publish other"], ["publish fail", true]],
    answer: "message nacked",
  },
  "postgres, a driver that is never patched": {
    server: "postgres",
    source: `import postgres from "postgres";
      export const handler = async ({ port }) => {
        const sql = postgres({ host: "127.0.0.1", port, user: "u", password: "secret", database: "shop", max: 1, fetch_types: false });
        await sql.unsafe("SELECT 1");
        const failed = await sql.unsafe("DELETE fail").catch((error) => error.message);
        await sql.end();
        return failed; };`,
    spans: [["SELECT shop"], ["DELETE shop", true]],
    answer: "wrong",
  },
};

for (const [name, { server, source, spans, answer, patched, keepNames }] of Object.entries(OTHERS))
  test(`${name}, inside of a bundle`, async () => {
    const read = await callsOf(await bundle(source, { alias: OLD, keepNames }), servers[server], { answer, packages: false });
    assertCalls(read, spans);
    if (patched === undefined) return;
    const told = await callsOf({ "app.mjs": source }, servers[server], { answer });
    assertCalls(told, spans);
    assertSame(told, read, patched);
  });
