// What waits in a queue until a connection is free belongs to whoever asked for it.

import assert from "node:assert/strict";
import test from "node:test";
import * as servers from "./stage/databases.mjs";
import { listen, major, withFunction } from "./stage/function.mjs";

const POSTGRES = "{ host: '127.0.0.1', port, user: 'u', password: 'p', database: 'shop', max: 1 }";
const MYSQL = "{ host: '127.0.0.1', port, user: 'u', password: 'p', database: 'shop', connectionLimit: 1 }";

/** server, what makes the queue, and one call with the name `n` in it; the first Node.js of the library. */
const CASES = {
  "pg's pool.query": ["postgres", `new (require('pg').Pool)(${POSTGRES})`, "queue.query('select ' + n)"],
  "pg's pool.query with a callback": ["postgres", `new (require('pg').Pool)(${POSTGRES})`, "new Promise((go) => queue.query('select ' + n, go))"],
  "pg's pool.connect": ["postgres", `new (require('pg').Pool)(${POSTGRES})`, "queue.connect().then(async (c) => { await c.query('select ' + n); c.release(); })"],
  "pg's pool.connect with a callback": ["postgres", `new (require('pg').Pool)(${POSTGRES})`, "new Promise((go) => queue.connect((_, c, release) => c.query('select ' + n, () => { release(); go(); })))"],
  "mysql2's pool.query": ["mysql", `require('mysql2').createPool(${MYSQL}).promise()`, "queue.query('select ' + n)"],
  "mysql2's pool.execute": ["mysql", `require('mysql2/promise').createPool(${MYSQL})`, "queue.execute('update ' + n)"],
  "mysql2's pool.query with a callback": ["mysql", `require('mysql2').createPool(${MYSQL})`, "new Promise((go) => queue.query('select ' + n, go))"],
  "mysql2's pool.getConnection": ["mysql", `require('mysql2/promise').createPool(${MYSQL})`, "queue.getConnection().then(async (c) => { await c.query('select ' + n); c.release(); })"],
  "mysql's pool.query": ["mysql", `require('mysql').createPool(${MYSQL})`, "new Promise((go) => queue.query('select ' + n, go))"],
  "postgres": ["postgres", `require('postgres')({ ...${POSTGRES}, fetch_types: false })`, "queue.unsafe('select ' + n)"],
  "undici's pool": ["http", "new (require('undici').Pool)(`http://127.0.0.1:${port}`, { connections: 1 })", "queue.request({ path: '/' + n, method: 'GET' }).then(({ body }) => body.dump())", 22],
};

for (const [name, [server, queue, call, from = 18]] of Object.entries(CASES)) {
  test(`each call belongs to its own span: ${name}`, { skip: major < from }, async () => {
    const { port, close } = server === "http" ? await http() : await servers[server]();
    try {
      await withFunction(
        `const { trace } = require("@opentelemetry/api"); let queue;
         exports.handler = async ({ port }) => {
           queue ??= ${queue};
           await Promise.all(["a1", "b1", "c1", "d1"].map((n) => trace.getTracer("t").startActiveSpan(n, async (span) => {
             await new Promise((go) => setTimeout(go, 5));
             await ${call};
             span.end(); }))); };`,
        {},
        async (run) => {
          let before = 0;
          for (const count of [1, 2]) {
            assert.equal((await run.invoke({ port })).kind, "response");
            await run.frames.done(count);
            const spans = run.frames.ended.slice(before);
            before += spans.length;
            const isWait = ({ name }) => /^(?:connect|acquire)\b/.test(name);
            const outer = spans.filter(({ name }) => /^[abcd]1$/.test(name)).map(({ spanId }) => spanId);
            for (const wait of spans.filter(isWait)) assert.ok(outer.includes(wait.parentId), `${wait.name} has the parent of who waits`);
            const calls = spans.filter((span) => span.kind === 3 && !isWait(span));
            assert.equal(calls.length, 4);
            for (const { parentId, attributes } of calls) {
              const said = String(attributes["db.query.text"] ?? attributes["url.full"]);
              assert.equal(said.slice(-2), spans.find(({ spanId }) => spanId === parentId).name);
              assert.equal(attributes["server.port"], port);
            }
          }
        },
      );
    } finally {
      close();
    }
  });
}

async function http() {
  const { address, close } = await listen((_, response) => setTimeout(() => response.end("fine"), 5));
  return { port: Number(address.split(":")[1]), close };
}
