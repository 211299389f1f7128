// Calls over http, https, fetch and undici: one span each, and the trace header on the way out.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import { createRequire } from "node:module";
import test from "node:test";
import { TRACE, listen, major, modules, withFunction } from "./stage/function.mjs";


/** A server that answers by path and keeps the headers it was sent. */
async function withServer(use) {
  const seen = [];
  const { address, close } = await listen((request, response) => {
    seen.push({ url: request.url, headers: request.headers, raw: request.rawHeaders });
    if (request.url.startsWith("/404")) response.writeHead(404).end("missing");
    else if (request.url.startsWith("/cut")) {
      response.writeHead(200, { "content-length": "100" });
      response.write("some");
      setTimeout(() => response.destroy(), 20);
    } else if (request.url.startsWith("/never")) request.socket.destroy();
    else response.end("fine");
  });
  try {
    return await use(address, seen);
  } finally {
    close();
  }
}

const GET = "const get = (url, options = {}) => new Promise((go, fail) => require('http').get(url, options, (res) => { res.resume().on('end', () => go(res.statusCode)).on('error', fail); }).on('error', fail));";

const CALLERS = {
  "http.get": `${GET} exports.handler = async ({ url }) => get(url);`,
  "http.request with listed headers": `exports.handler = ({ url }) => new Promise((go) => {
      const req = require("http").request(url, { method: "GET", headers: ["X-Own", "1", "Host", new URL(url).host] }, (res) => res.resume().on("end", () => go(res.statusCode)));
      req.end(); });`,
  "ES module": { "app.mjs": `import { get } from "node:http";
      export const handler = ({ url }) => new Promise((go) => get(url, (res) => res.resume().on("end", () => go(res.statusCode))));` },
  "fetch": "exports.handler = async ({ url }) => { const answer = await fetch(url); await answer.text(); return answer.status; };",
  "undici": "const { request } = require('undici'); exports.handler = async ({ url }) => { const { statusCode, body } = await request(url); await body.text(); return statusCode; };",
};

test("a call of fetch is seen where NODE_OPTIONS has loaded it before the agent", () =>
  withServer((address) =>
    withFunction(
      { "app.js": CALLERS.fetch, "before.js": "fetch('data:,').catch(() => undefined);" },
      { variables: { NODE_OPTIONS: "--require ./before.js" } },
      async (run) => {
        assert.equal((await run.invoke({ url: `http://${address}/` })).body, "200");
        await run.frames.done(1);
        assert.deepEqual(run.frames.ended.map(({ name }) => name).sort(), ["GET", "app.handler"]);
      },
    ),
  ));

for (const [name, sources] of Object.entries(CALLERS)) {
  // The undici that is installed wants a newer Node.js.
  const skip = name === "undici" && major < 22;
  test(`${name}: one client span below the handler's, and its id in both headers`, { skip }, () =>
    withServer((address, seen) =>
      withFunction(sources, {}, async (run) => {
        assert.equal((await run.invoke({ url: `http://${address}/some/path?a=1` })).body, "200");
        await run.frames.done(1);
        assert.equal(run.frames.ended.length, 2);
        const span = run.frames.named("GET");
        const root = run.frames.named("app.handler");
        assert.equal(span.kind, 3);
        assert.equal(span.parentId, root.spanId);
        assert.equal(span.traceId, TRACE);
        assert.equal(span.flags, 0x101);
        const [host, port] = address.split(":");
        assert.equal(span.attributes["http.request.method"], "GET");
        assert.equal(span.attributes["http.response.status_code"], 200);
        assert.equal(span.attributes["server.address"], host);
        assert.equal(span.attributes["server.port"], Number(port));
        assert.equal(span.attributes["url.full"], `http://${address}/some/path?a=1`);
        assert.equal(seen.length, 1);
        const root1 = `Root=1-${TRACE.slice(0, 8)}-${TRACE.slice(8)}`;
        assert.equal(seen[0].headers["x-amzn-trace-id"], `${root1};Parent=${span.spanId};Sampled=1`);
        assert.equal(seen[0].headers.traceparent, `00-${TRACE}-${span.spanId}-01`);
        if (name.includes("listed")) assert.equal(seen[0].headers["x-own"], "1");
        assert.equal(run.frames.started.filter((started) => started.spanId === span.spanId).length, 1);
      }),
    ));
}

test("codes, refused connections and cut responses are told as they were", () =>
  withServer((address) =>
    withFunction(
      `${GET} exports.handler = async ({ address, closed }) => {
         const codes = [await get("http://" + address + "/404")];
         for (const url of ["http://" + closed + "/refused", "http://" + address + "/cut", "http://" + address + "/never"])
           codes.push(await get(url).catch((error) => error.code));
         codes.push(await fetch("http://" + closed + "/refused").catch((error) => error.cause.code));
         return codes; };`,
      {},
      async (run) => {
        const { address: closed, close } = await listen(() => undefined);
        close();
        const codes = JSON.parse((await run.invoke({ address, closed })).body);
        assert.deepEqual(codes, [404, "ECONNREFUSED", "ECONNRESET", "ECONNRESET", "ECONNREFUSED"]);
        await run.frames.done(1);
        const spans = run.frames.ended.filter((span) => span.kind === 3);
        assert.equal(spans.length, 5);
        assert.equal(spans[0].attributes["error.type"], "404");
        assert.equal(spans[0].events.length, 0);
        for (const failed of spans.slice(1)) {
          assert.equal(failed.status, 2);
          assert.equal(failed.events[0].name, "exception");
        }
        assert.equal(spans[1].attributes["error.type"], "ECONNREFUSED");
      },
    ),
  ));

test("the user's own trace headers stay; an unread response is thrown away as without the layer", () =>
  withServer((address, seen) =>
    withFunction(
      `const http = require("http"); exports.handler = ({ address }) => new Promise((go) => {
         http.get("http://" + address + "/a", { headers: { traceparent: "own", "x-amzn-trace-id": "mine" }, agent: new http.Agent({ keepAlive: false }) }).on("close", () => go("closed")); });`,
      {},
      async (run) => {
        assert.equal((await run.invoke({ address })).body, '"closed"');
        await run.frames.done(1);
        assert.equal(seen[0].headers.traceparent, "own");
        assert.equal(seen[0].headers["x-amzn-trace-id"], "mine");
        assert.equal(run.frames.named("GET").attributes["http.response.status_code"], 200);
      },
    ),
  ));

test("Sampled=0 goes on, and Lineage with it", () =>
  withServer((address, seen) =>
    withFunction(CALLERS["http.get"], {}, async (run) => {
      await run.invoke({ url: `http://${address}/` }, `Root=1-${TRACE.slice(0, 8)}-${TRACE.slice(8)};Parent=53995c3f42cd8ad8;Sampled=0;Lineage=a:1|b:2`);
      assert.match(seen[0].headers["x-amzn-trace-id"], /;Sampled=0;Lineage=a:1\|b:2$/);
      assert.match(seen[0].headers.traceparent, /-00$/);
    }),
  ));

test("parallel calls are siblings; a call that outlives its invocation still arrives", () =>
  withServer((address) =>
    withFunction(
      `${GET} let late; exports.handler = async ({ address, slow }) => {
         if (late) { await late; return "second"; }
         await Promise.all([get("http://" + address + "/a"), get("http://" + address + "/b"), fetch("http://" + address + "/c").then((r) => r.text())]);
         late = get(slow);
         return "first"; };`,
      {},
      async (run) => {
        let release;
        const slow = await listen((request, response) => (release = () => response.end("late")));
        try {
          await run.invoke({ address, slow: `http://${slow.address}/slow` });
          await run.frames.done(1);
          const root = run.frames.named("app.handler");
          const calls = run.frames.ended.filter((span) => span.kind === 3);
          assert.equal(calls.length, 3);
          for (const call of calls) assert.equal(call.parentId, root.spanId);
          await run.frames.until(() => run.frames.started.length === 5, "the start of the slow call");
          const wait = () => new Promise((go) => setTimeout(go, 5));
          while (release === undefined) await wait();
          release();
          await run.invoke({ address });
          await run.frames.done(2);
          await run.frames.until(() => run.frames.ended.length === 6, "the late span");
          const slowSpan = run.frames.ended.find((span) => String(span.attributes["url.full"]).endsWith("/slow"));
          assert.equal(slowSpan.parentId, root.spanId);
        } finally {
          slow.close();
        }
      },
    ),
  ));

test("https", () => {
  const folder = fs.mkdtempSync("/tmp/otel-xray-tls-");
  execFileSync("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", `${folder}/key`, "-out", `${folder}/cert`, "-days", "2", "-subj", "/CN=localhost"], { stdio: "ignore" });
  return import("node:https").then(async ({ default: https }) => {
    const server = https.createServer({ key: fs.readFileSync(`${folder}/key`), cert: fs.readFileSync(`${folder}/cert`) }, (request, response) => response.end(request.headers.traceparent));
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    const url = `https://localhost:${server.address().port}/`;
    try {
      await withFunction(
        `exports.handler = ({ url }) => new Promise((go, fail) => require("https").get(url, { rejectUnauthorized: false, family: 4 }, (res) => { let d = ""; res.on("data", (p) => (d += p)).on("end", () => go(d)); }).on("error", fail));`,
        {},
        async (run) => {
          const answer = await run.invoke({ url });
          await run.frames.done(1);
          const span = run.frames.named("GET");
          assert.equal(span.attributes["url.full"], url);
          assert.equal(JSON.parse(answer.body), `00-${TRACE}-${span.spanId}-01`);
        },
      );
    } finally {
      server.close();
      fs.rmSync(folder, { recursive: true });
    }
  });
});

/** A server that another protocol is asked of, and one call of each kind that asks; the first Node.js of it. */
const UPGRADES = {
  "WebSocket": ["const w = new WebSocket(url.replace('http', 'ws')); await new Promise((go, no) => { w.onopen = () => w.send('x'); w.onmessage = go; w.onerror = no; }); w.close(); await new Promise((go) => (w.onclose = go));", 22],
  "ws": ["const w = new (require('ws'))(url); w.on('open', () => w.send('x')); await new Promise((go) => w.on('message', go)); w.close(); await new Promise((go) => w.on('close', go));", 18],
  "undici.upgrade": ["const { socket } = await require('undici').upgrade(url, { protocol: 'websocket', headers: { 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==', 'sec-websocket-version': '13' } }); socket.destroy();", 22],
};

for (const [name, [call, from]] of Object.entries(UPGRADES)) {
  test(`${name}: the call ends where another protocol begins`, { skip: major < from }, async () => {
    const { WebSocketServer } = createRequire(`${modules}/x.js`)("ws");
    const { server, address, close } = await listen(() => undefined);
    new WebSocketServer({ server }).on("connection", (socket) => socket.on("message", (data) => socket.send(data)).on("error", () => undefined));
    try {
      await withFunction(`exports.handler = async ({ url }) => { ${call} };`, {}, async (run) => {
        for (const count of [1, 2]) {
          assert.equal((await run.invoke({ url: `http://${address}/` })).kind, "response");
          await run.frames.done(count);
          assert.equal(run.frames.ended.length, 2 * count);
        }
        const [call] = run.frames.ended;
        assert.deepEqual([call.name, call.attributes["http.response.status_code"], call.status], ["GET", 101, 0]);
        assert.equal(run.frames.answered.length, 0);
      });
    } finally {
      close();
    }
  });
}

for (const name of ["WebSocket", "ws"]) {
  const [call, from] = UPGRADES[name];
  test(`${name}: one to the function's own server is a call too`, { skip: major < from }, () =>
    withFunction(
      `const { WebSocketServer } = require("ws");
       const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
       server.on("connection", (socket) => socket.on("message", (data) => socket.send(data)));
       exports.handler = async () => { const url = "http://127.0.0.1:" + server.address().port; ${call} };`,
      {},
      async (run) => {
        assert.equal((await run.invoke({})).kind, "response");
        await run.frames.done(1);
        const calls = run.frames.ended.filter(({ kind }) => kind === 3);
        assert.deepEqual(calls.map(({ name, attributes, status }) => [name, attributes["http.response.status_code"], status]), [["GET", 101, 0]]);
      },
    ),
  );
}

test("instrumentations can be turned off by name", () =>
  withServer((address, seen) =>
    withFunction(CALLERS["http.get"], { variables: { OTEL_NODE_DISABLED_INSTRUMENTATIONS: "http, undici" } }, async (run) => {
      await run.invoke({ url: `http://${address}/` });
      await run.frames.done(1);
      assert.equal(run.frames.ended.length, 1);
      assert.equal(seen[0].headers.traceparent, undefined);
    }),
  ));

