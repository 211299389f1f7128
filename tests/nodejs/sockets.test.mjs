// What is read along of the function's sockets: nothing that is no database's, and never in its way.

import assert from "node:assert/strict";
import crypto from "node:crypto";
import test from "node:test";
import { bundle, OLD } from "./stage/bundle.mjs";
import * as servers from "./stage/databases.mjs";
import { listen, major, withFunction } from "./stage/function.mjs";

/** The agent's files that the process has read. */
const READ = `Object.keys(require.cache).filter((file) => file.includes("/otel-xray/nodejs/sockets")).map((file) => file.split("/").pop()).sort()`;

const uint32 = (value) => [value >>> 24, (value >> 16) & 255, (value >> 8) & 255, value & 255];
const pgMessage = (type, text) => Buffer.from([type.charCodeAt(0), ...uint32(text.length + 5), ...Buffer.from(text), 0]);
const startUp = Buffer.from([0, 0, 0, 34, 0, 3, 0, 0, ...Buffer.from("user\0u\0database\0shop\0\0\0\0")]);
const logIn = Buffer.concat([Buffer.from([44, 0, 0, 1, 0x08, 0x82, 0, 0, 0, 0, 0, 1, 8]), Buffer.alloc(23), Buffer.from("u\0\0shop\0\0\0\0\0")]);
const uint16 = (value) => [value >> 8, value & 255];
const kafka = (...parts) => Buffer.from([...uint32(parts.flat().length), ...parts.flat()]);
const frame = (type, ...parts) => Buffer.from([type, 0, 1, ...uint32(parts.flat().length), ...parts.flat(), 0xce]);
const mongo = (command) => {
  const document = Buffer.concat([Buffer.from([2]), Buffer.from(`${command}\0`), Buffer.from([2, 0, 0, 0]), Buffer.from("a\0\0")]);
  const size = document.length + 25;
  return Buffer.from([size, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0xdd, 7, 0, 0, 0, 0, 0, 0, 0, size - 21, 0, 0, 0, ...document]);
};

/** First words that are taken for a database's, commands, and answers to them. */
const WORDS = {
  postgres: [startUp, [pgMessage("Q", "SELECT 1"), pgMessage("P", "n\0SELECT $1"), pgMessage("B", "\0n"), pgMessage("E", ""), pgMessage("S", "")], [pgMessage("C", "SELECT 0"), pgMessage("Z", "I"), pgMessage("E", "C42601\0Mwrong\0")]],
  mysql: [logIn, [Buffer.from([9, 0, 0, 0, 3, ...Buffer.from("SELECT 1")]), Buffer.from([5, 0, 0, 0, 0x16, ...Buffer.from("SEL?")])], [Buffer.from([7, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]), Buffer.from([1, 0, 0, 1, 1]), Buffer.from([12, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0]), Buffer.from([6, 0, 0, 1, 0xff, 1, 4, 35, 52, 50])]],
  mongodb: [mongo("hello"), [mongo("find"), mongo("insert")], [mongo("ok"), mongo("errmsg")]],
  kafka: [kafka(uint16(18), uint16(2), uint32(0), uint16(1), 99), [kafka(uint16(0), uint16(7), uint32(1), uint16(1), 99, [255, 255], [0, 1], uint32(9), uint32(1), uint16(1), 97, uint32(1), uint32(0), uint32(70), Array(70).fill(2))], [kafka(uint32(1), uint32(1), uint16(1), 97, uint32(1), uint32(0), uint16(3))]],
  amqp: [Buffer.from([65, 77, 81, 80, 0, 0, 9, 1]), [frame(1, uint16(60), uint16(40), uint16(0), 1, 97, 1, 98, 0), frame(2, uint16(60), uint16(0), uint32(0), uint32(1), [0xff, 0x80], Array(30).fill(1)), frame(1, uint16(85), uint16(10), 0)], [frame(1, uint16(60), uint16(80), uint32(0), uint32(1), 1), frame(1, uint16(20), uint16(40), uint16(404), 1, 97, uint32(0))]],
  redis: [Buffer.from("*1\r\n$4\r\nPING\r\n"), [Buffer.from("*2\r\n$3\r\nGET\r\n$1\r\na\r\n"), Buffer.from("*1\r\n$5\r\nMULTI\r\n")], [Buffer.from("+OK\r\n"), Buffer.from("*2\r\n$1\r\na\r\n|1\r\n+a\r\n:1\r\n*0\r\n"), Buffer.from("-ERR x\r\n")]],
};

/** Numbers that are the same in every run. */
function numbers(seed) {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** Pieces in any order, where they are spoilt some with other bytes in them and some cut off. */
function mixed(pieces, next, count, spoilt) {
  return Array.from({ length: count }, () => {
    const piece = Buffer.from(pieces[next(pieces.length)]);
    if (!spoilt) return piece;
    for (let changes = next(4) - 1; changes > 0; changes--) piece[next(piece.length)] = next(256);
    return next(6) === 0 ? piece.subarray(0, next(piece.length)) : piece;
  });
}

const hash = (pieces) => crypto.createHash("sha256").update(Buffer.concat(pieces)).digest("hex");

test("whatever a server or a client says: both get all of it, and every call ends", async () => {
  const conversations = Object.values(WORDS).flatMap(([first, commands, answers], protocol) =>
    Array.from({ length: 100 }, (_, index) => {
      const next = numbers(protocol * 1000 + index + 1);
      const sent = [first, ...mixed(commands, next, 20, index % 3 === 0)];
      const answered = mixed(answers, next, 60, index % 3 !== 1);
      return { sent, answered, expected: hash(sent) };
    }),
  );
  const received = [];
  // One conversation after the other.
  const server = await servers.serve((socket) => {
    const pieces = [];
    const answers = [...conversations[received.push(pieces) - 1].answered];
    socket.setNoDelay();
    socket.on("data", (piece) => (pieces.push(piece), answers.splice(0, 3).forEach((answer) => socket.write(answer))));
    socket.on("end", () => (answers.forEach((answer) => socket.write(answer)), socket.end()));
  });
  const source = `const net = require("node:net"); const crypto = require("node:crypto");
    const talk = (port, sent) => new Promise((resolve, reject) => {
      const hash = crypto.createHash("sha256");
      const socket = net.connect(port, "127.0.0.1").setNoDelay();
      socket.on("error", reject).on("data", (piece) => hash.update(piece)).on("close", () => resolve(hash.digest("hex")));
      sent.forEach((piece, index) => setImmediate(() => (socket.write(piece), index === sent.length - 1 && socket.end())));
    });
    exports.handler = async ({ port, conversations }) => {
      const answers = [];
      for (const sent of conversations) answers.push(await talk(port, sent.map((piece) => Buffer.from(piece, "base64"))));
      return answers; };`;
  try {
    await withFunction(source, { packages: false }, async (run) => {
      const given = conversations.map(({ sent }) => sent.map((piece) => piece.toString("base64")));
      const answers = conversations.map(({ answered }) => hash(answered));
      assert.deepEqual(JSON.parse((await run.invoke({ port: server.port, conversations: given })).body), answers);
      await run.frames.done(1);
      assert.deepEqual(received.map(hash), conversations.map(({ expected }) => expected));
      const of = (spans) => spans.filter((span) => span.kind === 3).map((span) => span.spanId).sort();
      // Like calls past a hundred are one span.
      const count = run.frames.ended.reduce((sum, { kind, attributes }) => sum + (kind === 3 ? Number(attributes.folded_calls ?? 1) : 0), 0);
      assert.ok(count > 1000, `${count} calls`);
      assert.deepEqual(of(run.frames.started), of(run.frames.ended));
      assert.ok(run.output().split("[otel-xray]").length <= 2, run.output());
    });
  } finally {
    server.close();
  }
});

test("parts are read for a database that is in a bundle, and for nothing else", async () => {
  const database = await servers.postgres();
  const web = await listen((request, response) => response.end("yes"));
  const client = `const client = new pg.Client({ host: "127.0.0.1", port, user: "u", password: "p", database: "shop" });
    await client.connect(); await client.query("SELECT 1"); await client.end();`;
  const calls = {
    http: [`const http = require("node:http"); exports.handler = async ({ web }) => {
      await new Promise((go) => http.get("http://" + web, (answer) => answer.resume().on("end", go)));
      await new Promise((go) => http.get({ host: web.split(":")[0], port: web.split(":")[1], agent: false }, (answer) => answer.resume().on("end", go)));
      return ${READ}; };`, []],
    fetch: [`exports.handler = async ({ web }) => { await (await fetch("http://" + web)).text(); return ${READ}; };`, []],
    patched: [`const pg = require("pg"); exports.handler = async ({ port }) => { ${client} return ${READ}; };`, ["sockets.js"]],
    bundled: [`const pg = require("pg"); exports.handler = async ({ port }) => { ${client} return ${READ}; };`, ["sockets.js", "sockets_postgres.js"]],
  };
  try {
    for (const [name, [source, expected]] of Object.entries(calls)) {
      const sources = name === "bundled" ? await bundle(source, {}) : source;
      await withFunction(sources, { packages: name === "patched" }, async (run) => {
        assert.deepEqual(JSON.parse((await run.invoke({ port: database.port, web: web.address })).body), expected, name);
        await run.frames.done(1);
        assert.equal(run.frames.ended.filter((span) => span.kind === 3).length, name === "fetch" ? 1 : 2, name);
      });
    }
  } finally {
    database.close();
    web.close();
  }
});

test("a connection that is no database's is let go at its first words", async () => {
  const server = await servers.serve((socket) => socket.on("data", (piece) => socket.write(piece)));
  const source = `const net = require("node:net");
    exports.handler = async ({ port }) => {
      const found = [];
      for (const word of ["EHLO you\\r\\n", Buffer.from([0, 0, 0, 8, 1, 2, 3, 4]), Buffer.from([0x10, 12, 0, 4, 77, 81, 84, 84]), "*", Buffer.alloc(0)]) {
        const socket = net.connect(port, "127.0.0.1");
        const answer = new Promise((go) => socket.once("data", go));
        socket.write(word); socket.write("x");
        found.push([Object.hasOwn(socket, "push"), socket.write === net.Socket.prototype.write, String(await answer).startsWith(String(word))]);
        socket.destroy();
      }
      return found; };`;
  try {
    await withFunction(source, { packages: false }, async (run) => {
      assert.deepEqual(JSON.parse((await run.invoke({ port: server.port })).body), Array(5).fill([false, true, true]));
      await run.frames.done(1);
      assert.equal(run.frames.ended.length, 1);
      assert.doesNotMatch(run.output(), /\[otel-xray\]/);
    });
  } finally {
    server.close();
  }
});

const REDIS = `import { createClient } from "redis";
  const connected = (port) => createClient({ socket: { port, host: "127.0.0.1", reconnectStrategy: false } }).connect();`;

test("a connection from before the first invocation is read along in each of them", async () => {
  const { port, close } = await servers.redis();
  const source = `${REDIS} const client = connected(Number(process.env.PORT));
    export const handler = async () => (await client).get("a");`;
  try {
    await withFunction(await bundle(source, { alias: OLD }), { packages: false, variables: { PORT: String(port) } }, async (run) => {
      for (const count of [1, 2, 3]) {
        assert.equal(JSON.parse((await run.invoke()).body), "OK");
        await run.frames.done(count);
        assert.equal(run.frames.ended.filter((span) => span.name === "GET").length, count);
      }
    });
  } finally {
    close();
  }
});

test("calls belong to the span they are made in", async () => {
  const { port, close } = await servers.redis();
  const source = `${REDIS} import { trace } from "@opentelemetry/api";
    export const handler = async ({ port }) => {
      const client = await connected(port);
      const within = (name) => trace.getTracer("t").startActiveSpan(name, async (span) => { await client.get(name); span.end(); });
      await Promise.all([within("one"), within("two")]);
      await client.disconnect(); };`;
  try {
    await withFunction(await bundle(source, { alias: OLD }), { packages: false }, async (run) => {
      await run.invoke({ port });
      await run.frames.done(1);
      const parents = run.frames.ended.filter((span) => span.name === "GET").map((span) => [span.attributes["db.query.text"], span.parentId]);
      assert.deepEqual(parents, ["one", "two"].map((name) => [`GET ${name}`, run.frames.named(name).spanId]));
    });
  } finally {
    close();
  }
});

test("an instrumentation that is turned off is off inside of a bundle too", async () => {
  const { port, close } = await servers.redis();
  const source = `${REDIS} export const handler = async ({ port }) => { const client = await connected(port); await client.get("a"); await client.disconnect(); };`;
  try {
    const variables = { OTEL_NODE_DISABLED_INSTRUMENTATIONS: "redis,ioredis" };
    await withFunction(await bundle(source, { alias: OLD }), { packages: false, variables }, async (run) => {
      await run.invoke({ port });
      await run.frames.done(1);
      assert.deepEqual(run.frames.ended.map((span) => span.name), ["app.handler"]);
    });
  } finally {
    close();
  }
});

const skip = major < 22 && "there are Managed Instances from Node.js 22 on";

test("of several invocations at once, none gets another's calls", { skip }, async () => {
  const { port, close } = await servers.postgres();
  // Alone each statement is sent where it is asked for; together those of all but one have to wait for the connection.
  const source = `import pg from "pg";
    let client, waiting = [];
    export const handler = async ({ n, port, together }) => {
      client ??= (async () => { const made = new pg.Client({ host: "127.0.0.1", port, user: "u", password: "p", database: "shop" }); await made.connect(); return made; })();
      await client;
      await new Promise((go) => { if (waiting.push(go) === together) for (const each of waiting.splice(0)) each(); });
      await (await client).query("SELECT " + n);
      await new Promise((go) => { if (waiting.push(go) === together) for (const each of waiting.splice(0)) each(); });
      return n; };`;
  const traceOf = (n) => `5759e988${String(n).padStart(24, "0")}`;
  const variables = { AWS_LAMBDA_MAX_CONCURRENCY: "8", AWS_LAMBDA_NODEJS_WORKER_COUNT: "1" };
  try {
    await withFunction(await bundle(source, {}), { packages: false, variables }, async (run) => {
      for (const numbers of [[0, 1, 2, 3, 4, 5, 6], [7]]) {
        for (const n of numbers) run.put({ n, port, together: numbers.length }, `Root=1-5759e988-${traceOf(n).slice(8)};Parent=53995c3f42cd8ad8;Sampled=1`);
        for (const _ of numbers) assert.equal((await run.answer()).kind, "response");
      }
      await run.frames.done(8);
      const calls = run.frames.ended.filter((span) => span.kind === 3 && !span.name.startsWith("connect"));
      const told = calls.map((span) => Number(span.attributes["db.query.text"].slice("SELECT ".length)));
      assert.deepEqual(calls.map((span) => span.traceId), told.map(traceOf));
      assert.deepEqual([told.length, told[1]], [2, 7]);
      assert.doesNotMatch(run.output(), /\[otel-xray\]/);
    });
  } finally {
    close();
  }
});
