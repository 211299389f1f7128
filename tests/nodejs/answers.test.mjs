// When a call ends: with what is read of its answer, else when it was answered; what the function breaks off is no fault.

import assert from "node:assert/strict";
import test from "node:test";
import { listen, major, withFunction } from "./stage/function.mjs";

/** `/big` sends without end, `/stall` stops in the middle, `/silent` never answers, `/hop` is elsewhere. */
async function withServer(use) {
  const { address, close } = await listen((request, response) => {
    const [, what] = request.url.split("/");
    if (what === "silent") return;
    if (what === "hop") response.writeHead(302, { location: "/ok", "content-length": "1000000" }).write("x".repeat(1000));
    else if (what === "big") {
      const more = () => { while (!response.destroyed && response.write("x".repeat(65_536))); };
      response.on("drain", more);
      more();
    } else if (what === "stall" || what === "gzip") {
      response.writeHead(200, { "content-length": "1000", ...(what === "gzip" && { "content-encoding": "gzip" }) }).write(Buffer.from("1f8b08000000000000", "hex"));
    } else response.end("fine");
  });
  try {
    return await use(`http://${address}`);
  } finally {
    close();
  }
}

const FUNCTION = `const http = require("node:http"); const tick = (ms) => new Promise((go) => setTimeout(go, ms));
  const onHead = (then) => require("node:diagnostics_channel").subscribe("http.client.response.finish", () => setImmediate(then));
  const get = (url, options = {}) => new Promise((go, no) => http.get(url, options, go).on("error", no));`;

/** call, path, what it answers, and the first Node.js of it: the `fetch` of 18 begins to read by itself. */
const CLOSED = {
  "http, only the status": ["(await get(url)).statusCode", "ok", 200],
  "fetch, only .ok, of an answer without end": ["(await fetch(url)).status", "big", 200, 20],
  "undici.request, only the status": ["(await require('undici').request(url)).statusCode", "big", 200, 22],
  "body.cancel()": ["const r = await fetch(url); await r.body.cancel(); return r.status;", "big", 200],
  "break out of a fetch's body": ["const r = await fetch(url); for await (const _ of r.body) break; return r.status;", "big", 200],
  "an AbortController behind the head": ["const a = new AbortController(); const r = await fetch(url, { signal: a.signal }); a.abort(); await r.text().catch(() => 0); return r.status;", "big", 200],
  "an AbortController with a reason of its own": ["const a = new AbortController(); const r = await fetch(url, { signal: a.signal }); a.abort(new Error('enough')); await r.text().catch(() => 0); return r.status;", "big", 200],
  "an AbortController before the head": ["const a = new AbortController(); setTimeout(() => a.abort(), 300); return fetch(url, { signal: a.signal }).catch((e) => e.name);", "silent", "AbortError"],
  "undici.request, destroyed": ["const r = await require('undici').request(url); r.body.on('error', () => 0).destroy(); return r.statusCode;", "big", 200, 22],
  "break out of http's answer": ["const r = await get(url); for await (const _ of r) break; return r.statusCode;", "big", 200],
  "response.destroy()": ["const r = await get(url); r.destroy(); await tick(20); return r.statusCode;", "big", 200],
  "request.destroy() behind the head": ["return new Promise((go) => { const q = http.get(url, (r) => { r.on('error', () => 0).on('data', () => { q.destroy(); setTimeout(go, 20, r.statusCode); }); }); });", "big", 200],
  "request.destroy() before the head": ["return new Promise((go) => { const q = http.get(url).on('error', (e) => go(e.code)); setTimeout(() => q.destroy(), 30); });", "silent", "ECONNRESET"],
  "http's signal": ["const a = new AbortController(); setTimeout(() => a.abort(), 30); return get(url, { signal: a.signal }).catch((e) => e.name);", "silent", "AbortError"],
  "axios' signal before the head": ["const a = new AbortController(); setTimeout(() => a.abort(), 30); return require('axios').get(url, { signal: a.signal }).catch((e) => e.code);", "silent", "ERR_CANCELED"],
  "axios' signal behind the head": ["const a = new AbortController(); onHead(() => a.abort()); return require('axios').get(url, { signal: a.signal }).catch((e) => e.code);", "stall", "ERR_CANCELED"],
  "a redirect that axios follows": ["const [first] = await Promise.all([require('axios').get(url)]); return first.status;", "hop", 200],
  "a redirect that fetch follows": ["const r = await fetch(url); await r.text(); return r.status;", "hop", 200],
};

for (const [name, [call, path, answer, from = 18]] of Object.entries(CLOSED)) {
  test(`closed on purpose, or not read: ${name}`, { skip: major < from }, () =>
    withServer((url) =>
      withFunction(`${FUNCTION} exports.handler = async ({ url }) => { ${/return /.test(call) ? call : `return ${call}`} };`, {}, async (run) => {
        assert.equal((await run.invoke({ url: `${url}/${path}` })).body, JSON.stringify(answer));
        await run.frames.done(1);
        const calls = run.frames.ended.filter(({ kind }) => kind === 3);
        assert.equal(calls.length, path === "hop" ? 2 : 1);
        for (const { status, events } of calls) assert.deepEqual([status, events], [0, []]);
        const codes = calls.map(({ attributes }) => attributes["http.response.status_code"]);
        assert.deepEqual(codes.sort().reverse(), path === "hop" ? [302, 200] : [path === "silent" ? undefined : 200]);
      }),
    ),
  );
}

/** What is still a fault, and how it is told. */
const FAILED = {
  "AbortSignal.timeout and fetch": ["fetch(url, { signal: AbortSignal.timeout(300) }).catch((e) => e.name)", "silent", "TimeoutError", "TimeoutError"],
  "AbortSignal.timeout and http": ["get(url, { signal: AbortSignal.timeout(300) }).catch((e) => e.name)", "silent", "AbortError", "AbortError"],
  "AbortSignal.timeout and axios": ["require('axios').get(url, { signal: AbortSignal.timeout(300) }).catch((e) => e.code)", "silent", "ERR_CANCELED", "CanceledError"],
  "a timeout that destroys": ["new Promise((go) => { const q = http.get(url, { timeout: 30 }).on('timeout', () => q.destroy()).on('error', (e) => go(e.code)); })", "silent", "ECONNRESET", "ECONNRESET"],
  "destroyed with an error": ["new Promise((go) => { const q = http.get(url).on('error', (e) => go(e.name)); q.destroy(new TypeError('mine')); })", "silent", "TypeError", "TypeError"],
};

for (const [name, [call, path, answer, type]] of Object.entries(FAILED)) {
  test(`a fault all the same: ${name}`, () =>
    withServer((url) =>
      withFunction(`${FUNCTION} exports.handler = async ({ url }) => ${call};`, {}, async (run) => {
        assert.equal((await run.invoke({ url: `${url}/${path}` })).body, JSON.stringify(answer));
        await run.frames.done(1);
        const { status, events } = run.frames.named("GET");
        assert.deepEqual([status, events[0].attributes["exception.type"]], [2, type]);
      }),
    ));
}

/** call, path, whether each frame says that nobody waits, and the first Node.js of it. */
const WAITING = {
  "fetch, and no body": ["await fetch(url); await tick(1e6);", "stall", [true], 20],
  "fetch, and a compressed body that nobody reads": ["await fetch(url); await tick(1e6);", "gzip", [true], 20],
  "undici.request, and no body": ["await require('undici').request(url); await tick(1e6);", "stall", [true], 22],
  "http, and no body": ["await get(url); await tick(1e6);", "stall", [true]],
  "fetch, and its text": ["await (await fetch(url)).text();", "stall", []],
  "fetch, and its compressed text": ["await (await fetch(url)).text();", "gzip", []],
  "undici.request, and its text": ["await (await require('undici').request(url)).body.text();", "stall", [], 22],
  "http, and its data": ["(await get(url)).on('data', () => 0); await tick(1e6);", "stall", []],
  "http, and its data in a loop": ["for await (const _ of await get(url));", "stall", []],
  "fetch, and its text later": ["const r = await fetch(url); await tick(50); await r.text();", "stall", [true, false], 20],
  "undici.request, and its text later": ["const r = await require('undici').request(url); await tick(50); await r.body.text();", "stall", [true, false], 22],
  "http, and its data later": ["const r = await get(url); await tick(50); r.resume(); await tick(1e6);", "stall", [true, false]],
  "http, and a loop later": ["const r = await get(url); await tick(50); for await (const _ of r);", "stall", [true, false]],
};

for (const [name, [call, path, says, from = 18]] of Object.entries(WAITING)) {
  test(`who waits for the answer: ${name}`, { skip: major < from }, () =>
    withServer((url) =>
      // What takes its time to load is there before the clock runs; that has to do only where there is nothing to wait for.
      withFunction(`${FUNCTION} ${call.includes("undici") ? "require('undici');" : ""} exports.handler = async ({ url }) => { setTimeout(() => process.exit(3), ${says.length ? 60_000 : 400}); ${call} };`, {}, async (run) => {
        run.put({ url: `${url}/${path}` });
        if (says.length) {
          await run.frames.until(() => run.frames.answered.length >= says.length, "all that is said of the answer");
          setTimeout(() => run.child.kill("SIGKILL"), 50);
        }
        await run.exited;
        await run.frames.until(() => run.frames.closed === 1, "the end of the connection");
        const [, call] = run.frames.started;
        assert.deepEqual(run.frames.answered.map(({ spanId, isAnswered }) => [spanId, isAnswered]), says.map((is) => [call.spanId, is]));
        for (const { isAnswered, status } of run.frames.answered) assert.equal(status, isAnswered ? 200 : 0);
        assert.equal(run.frames.ended.length, 0);
      }),
    ));
}

test("an answer that nobody reads ended when it came, and the next invocation has nothing of it", () =>
  withServer((url) =>
    withFunction(`${FUNCTION} exports.handler = async ({ url }) => { const r = await get(url); await tick(60); return r.statusCode; };`, {}, async (run) => {
      for (const count of [1, 2]) {
        assert.equal((await run.invoke({ url: `${url}/stall` })).body, "200");
        await run.frames.done(count);
        assert.equal(run.frames.ended.length, 2 * count);
      }
      const [first, root] = run.frames.ended;
      assert.equal(first.parentId, root.spanId);
      assert.ok(root.end - first.end > 50_000_000n, "at the answer");
    }),
  ));
