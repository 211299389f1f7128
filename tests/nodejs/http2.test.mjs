// Calls over HTTP/2 and gRPC: one for each stream, with the trace in its headers, ended as its answer is.

import assert from "node:assert/strict";
import http2 from "node:http2";
import test from "node:test";
import { bundle } from "./stage/bundle.mjs";
import { TRACE, major, withFunction } from "./stage/function.mjs";

/** A server that answers by path and keeps the headers that it was sent; gRPC's `echo` answers with one message, `fail` with a status. */
async function withServer(use) {
  const seen = [];
  const sessions = new Set();
  const sockets = new Set();
  const server = http2.createServer();
  server.on("connection", (socket) => sockets.add(socket));
  server.on("session", (session) => sessions.add(session.on("error", () => undefined)));
  server.on("stream", (stream, headers) => {
    seen.push(headers);
    stream.on("error", () => undefined);
    const path = headers[":path"];
    if (String(headers["content-type"]).startsWith("application/grpc")) {
      if (path.endsWith("Never")) return;
      const code = path.endsWith("Fail") ? "5" : "0";
      if (code !== "0") return stream.respond({ ":status": 200, "content-type": "application/grpc", "grpc-status": code, "grpc-message": "no such thing" }, { endStream: true });
      stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
      stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": code }));
      stream.resume().on("end", () => stream.end(Buffer.from([0, 0, 0, 0, 1, 7])));
    } else if (path === "/404") stream.respond({ ":status": 404 }, { endStream: true });
    else if (path === "/reset") stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR);
    else if (path === "/cut") (stream.respond({ ":status": 200 }), stream.write("some"), setTimeout(() => sockets.forEach((socket) => socket.destroy()), 30));
    else if (path === "/stall") (stream.respond({ ":status": 200 }), stream.write("some"));
    else if (path !== "/silent") (stream.respond({ ":status": 200 }), stream.end("fine"));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    return await use(server.address().port, seen);
  } finally {
    for (const session of sessions) session.destroy();
    server.close();
  }
}

const CLIENT = `const http2 = require("node:http2"); const tick = (ms) => new Promise((go) => setTimeout(go, ms)); let session;
  const text = (stream) => new Promise((go, no) => { let data = ""; stream.on("data", (piece) => (data += piece)).on("end", () => go(data)).on("error", no); });
  const open = (port) => (session ??= http2.connect("http://127.0.0.1:" + port).on("error", () => 0));`;

/** call, what it answers, path, status, type of the error */
const CALLS = {
  "a body": ["text(open(port).request({ ':path': '/ok', own: '1' }))", "fine", "/ok", 200],
  "a list of headers": ["text(open(port).request([':path', '/ok', 'own', '1']))", "fine", "/ok", 200],
  "only the status": ["new Promise((go) => open(port).request({ ':path': '/stall' }).on('response', (h) => go(h[':status'])))", 200, "/stall", 200],
  "a status that is none": ["text(open(port).request({ ':path': '/404' }))", "", "/404", 404, undefined],
  "a stream that is reset": ["text(open(port).request({ ':path': '/reset' })).catch((e) => e.code)", "ERR_HTTP2_STREAM_ERROR", "/reset", undefined, "ERR_HTTP2_STREAM_ERROR"],
  "close()": ["new Promise((go) => { const s = open(port).request({ ':path': '/stall' }).on('data', () => s.close(8)).on('close', () => go('closed')); })", "closed", "/stall", 200],
  "destroy()": ["new Promise((go) => { const s = open(port).request({ ':path': '/silent' }).on('close', () => go('closed')); setTimeout(() => s.destroy(), 50); })", "closed", "/silent", undefined],
  "an AbortController": ["new Promise((go) => { const a = new AbortController(); open(port).request({ ':path': '/silent' }, { signal: a.signal }).on('error', (e) => go(e.name)); setTimeout(() => a.abort(), 50); })", "AbortError", "/silent", undefined],
};

for (const [name, [call, answer, path, code, error]] of Object.entries(CALLS)) {
  const skip = name.includes("list") && major < 24 && "lists came with Node.js 24";
  test(`HTTP/2: ${name}`, { skip }, () =>
    withServer((port, seen) =>
      withFunction(`${CLIENT} exports.handler = async ({ port }) => ${call};`, {}, async (run) => {
        for (const count of [1, 2]) {
          assert.deepEqual(JSON.parse((await run.invoke({ port })).body), answer);
          await run.frames.done(count);
          const [span, root] = run.frames.ended.slice(2 * count - 2);
          assert.deepEqual([span.name, span.parentId, root.name], ["GET", root.spanId, "app.handler"]);
          assert.equal(span.attributes["url.full"], `http://127.0.0.1:${port}${path}`);
          assert.deepEqual([span.attributes["http.response.status_code"], span.attributes["server.port"]], [code, port]);
          assert.deepEqual([span.status, span.events[0]?.attributes["exception.type"]], [error || code >= 400 ? 2 : 0, error]);
          const headers = seen[count - 1];
          assert.equal(headers.traceparent, `00-${TRACE}-${span.spanId}-01`);
          assert.match(headers["x-amzn-trace-id"], new RegExp(`Parent=${span.spanId};Sampled=1`));
          if (path === "/ok") assert.equal(headers.own, "1");
        }
        assert.doesNotMatch(run.output(), /\[otel-xray\]/);
      }),
    ));
}

test("HTTP/2: a connection that is lost is a fault", () =>
  withServer((port) =>
    withFunction(`${CLIENT} exports.handler = async ({ port }) => new Promise((go) => open(port).request({ ':path': '/cut' }).on('error', () => 0).on('close', () => go(1)).resume());`, {}, async (run) => {
      assert.equal((await run.invoke({ port })).body, "1");
      await run.frames.done(1);
      assert.deepEqual([run.frames.named("GET").status, run.frames.named("GET").attributes["http.response.status_code"]], [2, 200]);
    }),
  ));

test("HTTP/2: nobody waits for a body that is not read, until it is", () =>
  withServer((port) =>
    withFunction(
      `${CLIENT} exports.handler = async ({ port }) => { setTimeout(() => process.exit(3), 400); const s = open(port).request({ ':path': '/stall' });
         await new Promise((go) => s.on("response", go)); await tick(50); await text(s); };`,
      {},
      async (run) => {
        run.put({ port });
        await run.exited;
        await run.frames.until(() => run.frames.closed === 1, "the end of the connection");
        assert.deepEqual(run.frames.answered.map(({ isAnswered, status }) => [isAnswered, status]), [[true, 200], [false, 0]]);
      },
    ),
  ));

const GRPC = `const grpc = require("@grpc/grpc-js"); const same = (value) => value; let client;
  const method = (name, requestStream, responseStream) => ({ path: "/shop.Orders/" + name, requestStream, responseStream, requestSerialize: same, requestDeserialize: same, responseSerialize: same, responseDeserialize: same });
  const Orders = grpc.makeGenericClientConstructor({ Get: method("Get", false, false), Fail: method("Fail", false, false), Never: method("Never", false, false), Send: method("Send", true, false), List: method("List", false, true), Talk: method("Talk", true, true) });
  const one = Buffer.of(7);`;

const GRPC_CALLS = `
  client ??= new Orders("127.0.0.1:" + port, grpc.credentials.createInsecure());
  const own = new grpc.Metadata(); own.set("own", "1");
  const told = [];
  told.push((await new Promise((go, no) => client.Get(one, (e, v) => (e ? no(e) : go(v)))))[0]);
  told.push((await new Promise((go, no) => client.Get(one, own, { deadline: Date.now() + 60000 }, (e, v) => (e ? no(e) : go(v)))))[0], Object.keys(own.getMap()).join());
  told.push(await new Promise((go) => client.Fail(one, (e) => go(e.details))));
  told.push((await new Promise((go, no) => { const s = client.Send((e, v) => (e ? no(e) : go(v))); s.write(one); s.end(); }))[0]);
  told.push(await new Promise((go, no) => { let n = 0; client.List(one).on("data", () => n++).on("end", () => go(n)).on("error", no); }));
  told.push(await new Promise((go, no) => { let n = 0; const s = client.Talk(); s.on("data", () => n++).on("end", () => go(n)).on("error", no); s.write(one); s.end(); }));
  told.push(await new Promise((go) => { const c = client.Never(one, (e) => go(e.code)); setTimeout(() => c.cancel(), 50); }));
  return told;`;

const SPANS = [
  ["Get", 0], ["Get", 0], ["Fail", 5], ["Send", 0], ["List", 0], ["Talk", 0], ["Never", 1],
];

for (const [name, sourcesOf, codes] of [
  ["@grpc/grpc-js", (source) => source, true],
  ["@grpc/grpc-js inside of a minified bundle", (source) => bundle(source, {}), false],
]) {
  test(`gRPC: ${name}`, () =>
    withServer((port, seen) =>
      Promise.resolve(sourcesOf(`${GRPC} exports.handler = async ({ port }) => { ${GRPC_CALLS} };`)).then((sources) =>
        withFunction(sources, { packages: codes }, async (run) => {
          for (const count of [1, 2]) {
            assert.deepEqual(JSON.parse((await run.invoke({ port })).body), [7, 7, "own", "no such thing", 7, 1, 1, 1]);
            await run.frames.done(count);
          }
          const calls = run.frames.ended.filter(({ kind }) => kind === 3);
          const first = calls.slice(0, 7).sort((one, other) => Number(one.start - other.start));
          assert.equal(calls.length, 14);
          assert.deepEqual(first.map(({ name }) => name), SPANS.map(([name]) => `shop.Orders/${name}`));
          assert.deepEqual(first.map(({ status, attributes }) => [status, attributes["rpc.grpc.status_code"] ?? 1]), SPANS.map(([, code]) => [code > 1 ? 2 : 0, code]));
          const { attributes, events } = first[2];
          assert.deepEqual([attributes["rpc.system"], attributes["rpc.service"], attributes["rpc.method"], attributes["server.address"], attributes["server.port"]], ["grpc", "shop.Orders", "Fail", "127.0.0.1", port]);
          assert.deepEqual([events[0].attributes["exception.type"], events[0].attributes["exception.message"]], ["NOT_FOUND", "no such thing"]);
          const [, root] = [0, run.frames.ended.find((span) => span.name === "app.handler")];
          for (const [index, call] of first.entries()) {
            assert.equal(call.parentId, root.spanId);
            assert.equal(seen[index].traceparent, `00-${TRACE}-${call.spanId}-01`);
          }
          assert.equal(seen[1].own, "1");
          assert.doesNotMatch(run.output(), /\[otel-xray\]/);
        }),
      ),
    ));
}

test("gRPC: calls that wait for the connection belong to whoever made them", () =>
  withServer((port) =>
    withFunction(
      `${GRPC} const { trace } = require("@opentelemetry/api");
       exports.handler = async ({ port }) => { client ??= new Orders("127.0.0.1:" + port, grpc.credentials.createInsecure());
         await Promise.all(["a", "b", "c"].map((n) => trace.getTracer("t").startActiveSpan(n, (span) => new Promise((go) => client.Get(one, () => {
           trace.getTracer("t").startSpan("in " + n).end(); span.end(); go(); }))))); };`,
      {},
      async (run) => {
        assert.equal((await run.invoke({ port })).kind, "response");
        await run.frames.done(1);
        const outer = ["a", "b", "c"].map((name) => run.frames.named(name).spanId);
        assert.deepEqual(run.frames.ended.filter(({ kind }) => kind === 3).map(({ parentId }) => parentId).sort(), [...outer].sort());
        for (const name of ["a", "b", "c"]) assert.equal(run.frames.named(`in ${name}`).parentId, run.frames.named(name).spanId);
      },
    ),
  ));
