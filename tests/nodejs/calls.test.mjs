// What both agents say of the same calls: the cases of tests/calls.json, with each client of Node.js.

import assert from "node:assert/strict";
import fs from "node:fs";
import net from "node:net";
import test from "node:test";
import { bundle } from "./stage/bundle.mjs";
import * as databases from "./stage/databases.mjs";
import { listen, major, withFunction } from "./stage/function.mjs";

const { cases } = JSON.parse(fs.readFileSync(new URL("../calls.json", import.meta.url), "utf8"));

const WHERE = `{ host: "127.0.0.1", port, user: "u", password: "secret", database: "shop" }`;
/** A callback's answer as a promise. */
const TOLD = `const told = (ask) => new Promise((go, fail) => ask((error, value) => (error ? fail(error) : go(value))));`;

/** system -> client -> what it does, as source of an object of functions, and the first Node.js of it; `inBundle` what of it is known there as well, but for a server in `unseen`, of which its socket says nothing, and attributes that the driver `lacks`. */
const CLIENTS = {
  postgresql: {
    pg: { source: `import pg from "pg"; let client;
      const DO = { connect: (port) => (client = new pg.Client(${WHERE})).connect(), run: (port, text) => client.query(text),
        take: async (port, count) => { const pool = new pg.Pool({ ...${WHERE}, max: 1 }); for (let n = 0; n < count; n++) await pool.connect(); } };`, inBundle: ["connect", "run"], unseen: ["refuses"] },
    "pg by callbacks": { source: `import pg from "pg"; ${TOLD} let client;
      const DO = { connect: (port) => told((then) => (client = new pg.Client(${WHERE})).connect(then)), run: (port, text) => told((then) => client.query(text, then)),
        take: async (port, count) => { const pool = new pg.Pool({ ...${WHERE}, max: 1 }); for (let n = 0; n < count; n++) await told((then) => pool.connect(then)); } };` },
  },
  mysql: {
    mysql: { source: `import mysql from "mysql"; ${TOLD} let client;
      const DO = { connect: (port) => told((then) => (client = mysql.createConnection(${WHERE})).connect(then)), run: (port, text) => told((then) => client.query(text, then)),
        take: async (port, count) => { const pool = mysql.createPool({ ...${WHERE}, connectionLimit: 1 }); for (let n = 0; n < count; n++) await told((then) => pool.getConnection(then)); } };`, keepNames: true, inBundle: ["connect", "run"], unseen: ["refuses", "silent"] },
    mysql2: { source: `import mysql from "mysql2"; ${TOLD} let client;
      const DO = { connect: (port) => told((then) => { client = mysql.createConnection(${WHERE}); client.on("connect", () => then()).on("error", then); }), run: (port, text) => told((then) => client.query(text, then)),
        take: async (port, count) => { const pool = mysql.createPool({ ...${WHERE}, connectionLimit: 1 }); for (let n = 0; n < count; n++) await told((then) => pool.getConnection(then)); } };`, inBundle: ["connect", "run"], lacks: ["db.user"], bundledFrom: 20 },
    "mysql2 by promises": { source: `import mysql from "mysql2/promise"; let client;
      const DO = { connect: async (port) => (client = await mysql.createConnection(${WHERE})), run: (port, text) => client.query(text),
        take: async (port, count) => { const pool = mysql.createPool({ ...${WHERE}, connectionLimit: 1 }); for (let n = 0; n < count; n++) await pool.getConnection(); } };` },
  },
  http: {
    http: { source: `import http from "node:http";
      const DO = { get: (port, path) => new Promise((go, fail) => http.get("http://127.0.0.1:" + port + path, (answer) => { console.log("reading"); answer.resume().on("end", go); }).on("error", fail)) };`, inBundle: ["get"] },
    fetch: { source: `const DO = { get: async (port, path) => { const answer = await fetch("http://127.0.0.1:" + port + path); console.log("reading"); await answer.text(); } };`, inBundle: ["get"] },
    undici: { source: `import { request } from "undici";
      const DO = { get: async (port, path) => { const { body } = await request("http://127.0.0.1:" + port + path); console.log("reading"); await body.text(); } };`, from: 22 },
    axios: { source: `import axios from "axios";
      const DO = { get: (port, path) => { console.log("reading"); return axios.get("http://127.0.0.1:" + port + path); } };` },
  },
};

/** Waits for nothing behind the handler's answer, as connections that nobody has closed. */
const HANDLER = `export const handler = async ({ port, does }) => {
  for (const [what, given] of does) await Promise.resolve().then(() => DO[what](port, given)).catch((error) => console.log("caught", error.message)); };`;

const silent = () => databases.serve(() => undefined);
const listening = async (handle) => {
  const { address, close } = await listen(handle);
  return { port: Number(address.split(":")[1]), close };
};

const SERVERS = {
  postgresql: { answers: databases.postgres, silent },
  mysql: { answers: databases.mysql, silent },
  http: {
    silent,
    answers: () => listening((request, response) => response.writeHead(Number(request.url.slice(1))).end("fine")),
    stalls: () => listening((request, response) => response.writeHead(200, { "content-length": "1000" }).write("half")),
  },
};

/** A port on which nobody listens: it has been given to the test, and is free again. */
async function refuses() {
  const server = net.createServer();
  await new Promise((go) => server.listen(0, "127.0.0.1", go));
  const { port } = server.address();
  await new Promise((go) => server.close(go));
  return { port, close: () => undefined };
}

function assertSpan(span, { name, attributes = {}, without = [], code, failed, open }, port, lacks) {
  assert.equal(span.name, name);
  assert.equal(span.kind, 3);
  for (const [key, value] of Object.entries(attributes)) {
    if (lacks.includes(key) && !name.startsWith("connect")) continue;
    const wanted = value === "PORT" ? port : typeof value === "string" ? value.replace("URL", `http://127.0.0.1:${port}`) : value;
    const found = span.attributes[key];
    assert.equal(typeof found === "bigint" ? Number(found) : found, wanted, `${name}: ${key}`);
  }
  for (const key of without) assert.equal(span.attributes[key], undefined, `${name}: ${key}`);
  if (open) return;
  if (code !== undefined) assert.deepEqual([span.attributes["db.response.status_code"], span.attributes["error.type"]], [code, code]);
  if (failed === undefined) return;
  assert.equal(span.status, failed ? 2 : 0);
  assert.equal(span.events.length, failed ? 1 : 0);
  if (failed) assert.ok(span.attributes["error.type"], `${name} fails with an error.type`);
}

async function check({ system, server, does, spans }, sources, packages, lacks = []) {
  const { port, close } = await (SERVERS[system][server] ?? refuses)();
  try {
    await withFunction(sources, { packages }, async (run) => {
      const calls = () => run.frames.started.filter(({ kind }) => kind === 3);
      const isOpen = spans.some(({ open }) => open);
      run.put({ port, does });
      if (isOpen) {
        await run.frames.until(() => calls().length >= spans.length, "what the function waits for");
        if (server === "stalls") while (!run.output().includes("reading")) await new Promise((go) => setTimeout(go, 5));
        await run.frames.drained();
      } else {
        assert.equal((await run.answer()).kind, "response");
        await run.frames.done(1);
      }
      const started = calls();
      assert.deepEqual(started.map(({ name }) => name), spans.map(({ name }) => name));
      const [root] = run.frames.started;
      for (const [index, wanted] of spans.entries()) {
        const ended = run.frames.ended.filter(({ spanId }) => spanId === started[index].spanId);
        assert.equal(ended.length, wanted.open ? 0 : 1, wanted.name);
        assertSpan(wanted.open ? started[index] : ended[0], wanted, port, lacks);
        assert.equal(started[index].parentId, root.spanId);
      }
      assert.doesNotMatch(JSON.stringify([run.frames.started, run.frames.ended], (_, value) => (typeof value === "bigint" ? 0 : value)), /secret/);
      assert.doesNotMatch(run.output(), /\[otel-xray\]/);
    });
  } finally {
    close();
  }
}

for (const one of cases)
  for (const [client, { source, from = 18, inBundle = [], unseen = [], lacks = [], bundledFrom = 18, keepNames }] of Object.entries(CLIENTS[one.system])) {
    test(`${one.it}: ${client}`, { skip: major < from }, () => check(one, { "app.mjs": `${source} ${HANDLER}` }));
    // In a bundle nothing is known of a server before it has been spoken to, unless the driver tells.
    if (!one.does.every(([what]) => inBundle.includes(what)) || unseen.includes(one.server)) continue;
    test(`${one.it}: ${client} inside of a bundle`, { skip: major < bundledFrom }, async () => check(one, await bundle(`${source} ${HANDLER}`, { keepNames }), false, lacks));
  }
