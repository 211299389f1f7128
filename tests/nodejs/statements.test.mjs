// Statements that a driver is handed in unusual ways: each is one call, with its SQL, and ends when the database has answered.

import assert from "node:assert/strict";
import test from "node:test";
import * as servers from "./stage/databases.mjs";
import { major, withFunction } from "./stage/function.mjs";

const PG = "const { Client } = require('pg'); const client = new Client({ host: '127.0.0.1', port, user: 'u', database: 'shop', ...EXTRA }); await client.connect();";
const MYSQL2 = "const client = await require('mysql2/promise').createConnection({ host: '127.0.0.1', port, user: 'u', password: 'p', database: 'shop' });";

/** server, source, the statements with the type of their error, and the first Node.js. */
const CASES = {
  "pg with Bluebird": ["postgres", `${PG.replace("EXTRA", "{ Promise: require('bluebird') }")}
    const asked = client.query("select 1"); const failed = await client.query("select fail").catch((error) => error.message);
    await asked; return [asked.constructor === require('bluebird'), typeof asked.tap, failed];`,
    [true, "function", "wrong"], [["select 1"], ["select fail", "error"]]],
  "pg with the callback in its options": ["postgres", `${PG.replace("EXTRA", "{}")}
    const options = Object.freeze({ text: "select 1", callback: () => go() }); let go;
    await new Promise((resolve) => { go = resolve; client.query(options); });
    const failed = await new Promise((go) => client.query({ text: "select fail", callback: (error) => go(error.message) }));
    return [Object.keys(options), failed];`,
    [["text", "callback"], "wrong"], [["select 1"], ["select fail", "error"]]],
  "pg with a query that has been made": ["postgres", `${PG.replace("EXTRA", "{}")}
    const { Query } = require('pg');
    await new Promise((go) => client.query(new Query("select 1", go)));
    await new Promise((go) => client.query(new Query("select 2")).on("end", go));
    return new Promise((go) => client.query(new Query("select fail")).on("error", (error) => go(error.message)));`,
    "wrong", [["select 1"], ["select 2"], ["select fail", "error"]]],
  "pg-cursor": ["postgres", `${PG.replace("EXTRA", "{}")}
    const Cursor = require('pg-cursor'); const one = client.query(new Cursor("select 1"));
    const rows = await one.read(10); await one.close();
    const two = client.query(new Cursor("select fail"));
    return [rows.length, await two.read(1).catch((error) => error.message)];`,
    [0, "wrong"], [["select 1"], ["select fail", "error"]]],
  "pg-query-stream": ["postgres", `${PG.replace("EXTRA", "{}")}
    const Stream = require('pg-query-stream');
    for await (const _ of client.query(new Stream("select 1")));
    try { for await (const _ of client.query(new Stream("select fail"))); } catch (error) { return error.message; }`,
    "wrong", [["select 1"], ["select fail", "error"]]],
  "pg-query-stream that is broken off": ["postgres", `${PG.replace("EXTRA", "{}")}
    const stream = client.query(new (require('pg-query-stream'))("select 1"));
    await new Promise((go) => stream.on("error", go).on("close", go).destroy(Object.assign(new Error("enough"), { name: "AbortError" })));`,
    null, [["select 1"]]],
  "mysql2 with a prepared statement": ["mysql", `${MYSQL2}
    const one = await client.prepare("update a"); await one.execute([]); await one.execute([]); await one.close();
    await client.execute("update b");`,
    null, [["update a"], ["update a"], ["update b"]]],
  "mysql2's pool with a callback that gets an error": ["mysql", `
    const pool = require('mysql2').createPool({ host: '127.0.0.1', port, user: 'u', password: 'p', database: 'shop' });
    return new Promise((go) => pool.query("select fail", (error) => go(error.message)));`,
    "wrong", [["select fail", "ER_PARSE_ERROR"]]],
  "mysql with the callback in the query": ["mysql", `
    const mysql = require('mysql'); const client = mysql.createConnection({ host: '127.0.0.1', port, user: 'u', password: 'p', database: 'shop' });
    await new Promise((go) => client.query(mysql.createQuery({ sql: "select 1" }, go)));
    return new Promise((go) => client.query(mysql.createQuery({ sql: "select fail" }, (error) => go(error.message))));`,
    "ER_PARSE_ERROR: wrong", [["select 1"], ["select fail", "ER_PARSE_ERROR"]]],
  "two drivers of PostgreSQL": ["postgres", `${PG.replace("EXTRA", "{}")}
    await client.query("select 1");
    const sql = require('postgres')({ host: '127.0.0.1', port, user: 'u', database: 'shop', fetch_types: false });
    await sql.unsafe("select 2"); await client.query("select 3"); await sql.unsafe("select fail").catch(() => 0);`,
    null, [["select 1"], ["select 2"], ["select 3"], ["select fail", "PostgresError"]]],
  "two drivers of PostgreSQL, one of them a module": ["postgres", `${PG.replace("EXTRA", "{}")}
    await client.query("select 1");
    const sql = (await import(require.resolve('postgres').replace('/cjs/', '/')))
      .default({ host: '127.0.0.1', port, user: 'u', database: 'shop', fetch_types: false });
    await sql.unsafe("select 2"); await client.query("select 3"); await sql.unsafe("select fail").catch(() => 0);`,
    null, [["select 1"], ["select 2"], ["select 3"], ["select fail", "42601"]]],
  "two drivers of Redis": ["redis", `
    const Redis = require('ioredis'); const one = new Redis({ port, host: '127.0.0.1' }); await one.get("a");
    const words = (...given) => "*" + given.length + "\\r\\n" + given.map((word) => "$" + word.length + "\\r\\n" + word + "\\r\\n").join("");
    const two = require('node:net').connect(port, "127.0.0.1");
    for (const key of ["b", "fail"]) await new Promise((go) => { two.once("data", go); two.write(words("GET", key)); });
    await one.get("c");`,
    null, [["GET a"], ["GET b"], ["GET fail", "ERR"], ["GET c"]], 20],
};

for (const [name, [server, source, answer, statements, from = 18]] of Object.entries(CASES)) {
  test(name, { skip: major < from }, async () => {
    const { port, close } = await servers[server]();
    try {
      await withFunction(`exports.handler = async ({ port }) => { ${source} };`, {}, async (run) => {
        assert.deepEqual(JSON.parse((await run.invoke({ port })).body), answer);
        await run.frames.done(1);
        const isCall = ({ kind, name }) => kind === 3 && !name.startsWith("connect");
        const calls = run.frames.ended.filter(isCall).sort((one, other) => Number(one.start - other.start));
        const told = calls.map(({ attributes, events }) => [attributes["db.query.text"], events[0]?.attributes["exception.type"]]);
        assert.deepEqual(told, statements.map(([text, error]) => [text, error]));
        assert.deepEqual(run.frames.started.filter(isCall).length, calls.length, "each told once");
        for (const { attributes } of calls) assert.deepEqual([attributes["server.address"], attributes["server.port"]], ["127.0.0.1", port]);
        assert.doesNotMatch(run.output(), /\[otel-xray\]/);
      });
    } finally {
      close();
    }
  });
}
