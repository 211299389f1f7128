// Waits for a connection, beside those of tests/calls.json: of Redis and MongoDB, and what happens beside and inside of them (PL-32).

import assert from "node:assert/strict";
import test from "node:test";
import * as databases from "./stage/databases.mjs";
import { major, withFunction } from "./stage/function.mjs";

const silent = () => databases.serve(() => undefined);
const closing = () => databases.serve((socket) => socket.destroy());

const MONGODB = `const { MongoClient } = require("mongodb"); const open = (port, options) => new MongoClient("mongodb://127.0.0.1:" + port + "/?directConnection=true", options);`;
const REDIS = `const { createClient } = require("redis"); const open = (port) => createClient({ RESP: 2, socket: { port, host: "127.0.0.1", reconnectStrategy: false } }).on("error", () => 0);`;
const IOREDIS = `const Redis = require("ioredis"); const open = (port, options) => new Redis({ port, host: "127.0.0.1", ...options }).on("error", () => 0);`;
const PG = `const pg = require("pg"); const WHERE = (port) => ({ host: "127.0.0.1", port, user: "u", password: "secret", database: "shop" });`;

/** server, source, what the handler does, the calls in the order in which they begin as [name, how it ends], and the first Node.js */
const CASES = {
  "a Redis that says nothing, by redis": [silent, REDIS, "await open(port).connect();", [["connect", "open"]], 20],
  "a Redis that says nothing, by ioredis": [silent, IOREDIS, "await open(port).get('key');", [["connect", "open"], ["GET", "open"]], 20],
  "a MongoDB that says nothing": [silent, MONGODB, "await open(port).db('shop').collection('orders').insertOne({ a: 1 });", [["connect", "open"]], 20],
  "a Redis that hangs up, by redis": [closing, REDIS, "return open(port).connect().catch(() => 0);", [["connect", "failed"]], 20],
  "a Redis that hangs up, by ioredis": [closing, IOREDIS, "return open(port, { lazyConnect: true, retryStrategy: null }).connect().catch(() => 0);", [["connect", "failed"]], 20],
  "a MongoDB that hangs up": [closing, MONGODB, "return open(port, { serverSelectionTimeoutMS: 100 }).connect().catch(() => 0);", [["connect", "failed"]], 20],
  "a PostgreSQL that hangs up": [closing, PG, "return new pg.Client(WHERE(port)).on('error', () => 0).connect().catch(() => 0);", [["connect shop", "failed"]]],
  "a pool of MongoDB's that has no connection left": [
    databases.mongodb, MONGODB,
    "const shop = open(port, { maxPoolSize: 1 }).db('shop'); await shop.collection('orders').find({}).toArray(); shop.collection('never').find({}).toArray().catch(() => 0); await new Promise(setImmediate); await shop.collection('orders').find({}).toArray();",
    [["connect", "done"], ["connect", "done"], ["find orders", "done"], ["find never", "open"], ["acquire", "open"]], 20,
  ],
  "what a listener asks while it connects, by ioredis": [databases.redis, IOREDIS, "const client = open(port); await new Promise((go) => client.on('ready', () => client.get('key').then(go)));", [["connect", "done"], ["GET", "done"]], 20],
  "what a pool's listener asks of a new connection of pg's": [
    databases.postgres, PG, "const pool = new pg.Pool(WHERE(port)).on('connect', (client) => client.query('SET a = 1')); await pool.query('SELECT 1');",
    [["connect shop", "done"], ["SET shop", "done"], ["SELECT shop", "done"]],
  ],
  "two connections at once": [
    databases.postgres, PG, "await Promise.all([1, 2].map(async () => { const client = new pg.Client(WHERE(port)); await client.connect(); await client.query('SELECT 1'); }));",
    [["connect shop", "done"], ["connect shop", "done"], ["SELECT shop", "done"], ["SELECT shop", "done"]],
  ],
  "a connection that lies ready": [
    databases.postgres, PG, "const pool = new pg.Pool({ ...WHERE(port), max: 1 }); for (let n = 0; n < 2; n++) (await pool.connect()).release();",
    [["connect shop", "done"]],
  ],
};

for (const [name, [server, source, does, calls, from = 18]] of Object.entries(CASES))
  test(name, { skip: major < from }, async () => {
    const { port, close } = await server();
    try {
      await withFunction(`${source} exports.handler = async ({ port }) => { ${does} };`, {}, async (run) => {
        const begun = () => run.frames.started.filter(({ kind }) => kind === 3);
        run.put({ port });
        if (calls.some(([, how]) => how === "open")) {
          await run.frames.until(() => begun().length >= calls.length, "what the function waits for");
          await run.frames.drained();
        } else {
          assert.equal((await run.answer()).kind, "response");
          await run.frames.done(1);
        }
        const [root] = run.frames.started;
        const found = begun().map(({ name, spanId, parentId, attributes }) => {
          assert.equal(parentId, root.spanId);
          assert.deepEqual([attributes["server.address"], Number(attributes["server.port"])], ["127.0.0.1", port]);
          const [ended] = run.frames.ended.filter((span) => span.spanId === spanId);
          return [name, ended === undefined ? "open" : ended.status === 2 ? "failed" : "done"];
        });
        assert.deepEqual(found, calls);
        assert.doesNotMatch(run.output(), /\[otel-xray\]/);
      });
    } finally {
      close();
    }
  });

test("a driver that is turned off has no connections either", async () => {
  const { port, close } = await databases.postgres();
  try {
    const variables = { OTEL_NODE_DISABLED_INSTRUMENTATIONS: "pg,postgres" };
    await withFunction(`${PG} exports.handler = async ({ port }) => { await new pg.Client(WHERE(port)).connect(); };`, { variables }, async (run) => {
      assert.equal((await run.invoke({ port })).kind, "response");
      await run.frames.done(1);
      assert.deepEqual(run.frames.ended.map(({ name }) => name), ["app.handler"]);
    });
  } finally {
    close();
  }
});

// What the function sees is the same as without the layer.
for (const layer of [true, false])
  test(`errors of connections and what connecting gives, ${layer ? "with" : "without"} the layer`, async () => {
    const { port, close } = await closing();
    try {
      const source = `${PG} const mysql = require("mysql"), mysql2 = require("mysql2");
        exports.handler = async ({ port }) => {
          const seen = (error) => [error.constructor.name, error.code ?? null, /otel-xray.nodejs/.test(error.stack)];
          const client = new pg.Client(WHERE(port)); client.on("error", () => 0);
          const asked = client.connect(); const said = [asked instanceof Promise, seen(await asked.catch((error) => Object.assign(error, { code: client.database })))];
          const one = mysql.createConnection(WHERE(port)); said.push(seen(await new Promise((go) => one.connect(go))));
          const two = mysql2.createConnection(WHERE(port)); said.push(seen(await new Promise((go) => two.on("error", go))));
          return said; };`;
      await withFunction(source, { layer, listening: layer }, async (run) => {
        const said = JSON.parse((await run.invoke({ port })).body);
        assert.deepEqual(said, [true, ["Error", "shop", false], ["Error", "PROTOCOL_CONNECTION_LOST", false], ["Error", "PROTOCOL_CONNECTION_LOST", false]]);
      });
    } finally {
      close();
    }
  });
