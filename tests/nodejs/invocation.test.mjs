// The handler's span, and that a function behaves as without the layer (A-42, A-47, A-48).

import assert from "node:assert/strict";
import test from "node:test";
import { Frame } from "./stage/frames.mjs";
import { ARN, beside, PARENT, RUNTIMES, TRACE, listen, major, withFunction } from "./stage/function.mjs";

for (const runtime of Object.keys(RUNTIMES)) {
  test(`${runtime}: one span for each invocation, with the parent of the trace header`, () =>
    withFunction("exports.handler = async (event) => ({ got: event });", { runtime }, async (run) => {
      assert.deepEqual(JSON.parse((await run.invoke({ a: 1 })).body), { got: { a: 1 } });
      await run.invoke({ a: 2 });
      await run.frames.done(2);
      const [cold, warm] = run.frames.ended;
      assert.equal(run.frames.ended.length, 2);
      assert.equal(cold.name, "app.handler");
      assert.equal(cold.kind, 2);
      assert.equal(cold.traceId, TRACE);
      assert.equal(cold.parentId, PARENT);
      assert.equal(cold.flags, 0x301);
      assert.equal(cold.attributes["faas.coldstart"], true);
      assert.equal(warm.attributes["faas.coldstart"], false);
      assert.equal(cold.attributes["cloud.resource_id"], ARN);
      assert.equal(cold.attributes["cloud.account.id"], "123456789012");
      assert.equal(cold.attributes["faas.name"], "shop");
      assert.equal(cold.attributes["faas.version"], "7");
      assert.ok(cold.end > cold.start && cold.end - cold.start < 60_000_000_000n);
      assert.equal(run.frames.started.length, 2);
      assert.equal(run.frames.hello.agent, "otel-xray-nodejs");
      assert.equal(run.frames.hello.env._HANDLER, "app.handler");
      assert.deepEqual(
        run.frames.all.map((frame) => frame.kind),
        [Frame.hello, Frame.invoke, Frame.start, Frame.end, Frame.done, Frame.invoke, Frame.start, Frame.end, Frame.done],
      );
      assert.equal(run.frames.connections, 1);
    }));
}

/** Kind and body, without what differs from run to run. */
const comparable = ({ kind, body }, task) => [kind, body.replaceAll(task, "TASK")];

const FORMS = {
  "async": { "app.js": "exports.handler = async () => 1;" },
  "callback": { "app.js": "exports.handler = (event, context, callback) => setTimeout(callback, 5, null, { late: true });", callback: true },
  "callback with an error": { "app.js": "exports.handler = (e, c, callback) => callback(new TypeError('no'));", callback: true, raises: "TypeError" },
  "null payload and nothing returned": { "app.js": "exports.handler = async (event) => { if (event !== null) throw event; };" },
  "ES module with top-level await": {
    "app.mjs": "const ready = await new Promise((go) => setTimeout(go, 5, 7)); export const handler = async () => ready;",
  },
  "ES module by package.json": { "app.js": "export const handler = async () => import.meta.url.slice(-6);", "package.json": '{"type":"module"}' },
  ".cjs": { "app.cjs": "exports.handler = async () => require('path').sep;" },
  "nested export, slashes": { "src/deep/app.js": "exports.ns = { deep: { handler: async () => 'deep' } };", handler: "src/deep/app.ns.deep.handler" },
  "esbuild output": {
    "app.js": `var __defProp = Object.defineProperty;
      var __export = (target, all) => { for (var name in all) __defProp(target, name, { get: all[name], enumerable: true }); };
      var __toCommonJS = (mod) => Object.assign(Object.create(null), { get handler() { return mod.handler; } });
      var app = {}; __export(app, { handler: () => handler });
      module.exports = __toCommonJS(app); async function handler() { return "bundled"; }`,
  },
  "webpack output": {
    "app.js": `(()=>{"use strict";var e={d:(t,r)=>{for(var o in r)e.o(r,o)&&!e.o(t,o)&&Object.defineProperty(t,o,{enumerable:!0,get:r[o]})},
      o:(e,t)=>Object.prototype.hasOwnProperty.call(e,t),r:e=>{Object.defineProperty(e,Symbol.toStringTag,{value:"Module"}),
      Object.defineProperty(e,"__esModule",{value:!0})}},t={};e.r(t),e.d(t,{handler:()=>r});const r=async()=>"packed";module.exports=t})();`,
  },
  "TypeScript output": {
    "app.js": '"use strict"; Object.defineProperty(exports, "__esModule", { value: true }); exports.handler = void 0; exports.handler = async () => "ts";',
  },
  "thrown error": { "app.js": "exports.handler = async () => { throw new RangeError('over'); };", raises: "RangeError" },
  "thrown text": { "app.js": "exports.handler = async () => { throw 'just text'; };", raises: "string" },
  "thrown in a plain function": { "app.js": "exports.handler = () => { throw new Error('plain'); };", raises: "Error" },
};

for (const runtime of Object.keys(RUNTIMES)) {
  for (const [name, { handler = "app.handler", raises, callback, ...sources }] of Object.entries(FORMS)) {
    const skip = callback && runtime === "native" && "this runtime client takes no callbacks";
    test(`${runtime}: ${name} answers as without the layer`, { skip }, async () => {
      const options = { runtime, handler, packages: false };
      const bare = await withFunction(sources, { ...options, layer: false }, async (run) => comparable(await run.invoke(), run.task));
      await withFunction(sources, options, async (run) => {
        const answer = await run.invoke();
        assert.deepEqual(comparable(answer, run.task), bare);
        await run.frames.done(1);
        const [root] = run.frames.ended;
        assert.equal(run.frames.ended.length, 1);
        assert.equal(root.name, handler);
        assert.equal(root.status, raises === undefined ? 0 : 2);
        assert.equal(run.frames.of(Frame.done)[0][0], raises === undefined ? 0 : 1);
        assert.equal(root.events[0]?.attributes["exception.type"], raises);
        assert.equal(answer.kind, raises === undefined ? "response" : "error");
      });
    });
  }

  test(`${runtime}: a streamed response ends its span when it has been sent`, () =>
    withFunction(
      `exports.handler = awslambda.streamifyResponse(async (event, stream) => {
         stream.write("one "); await new Promise((go) => setTimeout(go, 10)); stream.write("two"); stream.end();
         await new Promise((go) => stream.on ? stream.on("finish", go) : go());
       });`,
      { runtime },
      async (run) => {
        for (const count of [1, 2]) {
          assert.equal((await run.invoke()).body, "one two");
          await run.frames.done(count);
        }
        assert.equal(run.frames.ended.length, 2);
        assert.equal(run.frames.ended[0].status, 0);
        assert.ok(run.frames.ended[0].end - run.frames.ended[0].start >= 9_000_000n);
      },
    ));

  test(`${runtime}: what a handler does behind its streamed response is its own`, () =>
    withFunction(
      `exports.handler = awslambda.streamifyResponse(async (event, stream) => {
         stream.write("a"); stream.end();
         await new Promise((go) => setTimeout(go, 30));
         await new Promise((go) => require("http").get(event.url, (r) => r.resume().on("end", go)));
       });`,
      { runtime },
      async (run) => {
        const { address, close } = await listen((_, response) => response.end("fine"));
        try {
          assert.equal((await run.invoke({ url: `http://${address}/ok` })).body, "a");
          await run.frames.done(1);
          const [call, root] = run.frames.ended;
          assert.deepEqual([call.name, call.parentId, call.attributes["http.response.status_code"]], ["GET", root.spanId, 200]);
          assert.deepEqual([root.name, root.status, root.end >= call.end], ["app.handler", 0, true]);
        } finally {
          close();
        }
      },
    ));

  const tells = runtime !== "fetch" || "fetch has no trailers to say so";
  test(`${runtime}: a streamed response that fails in the middle is an error`, { skip: tells !== true && tells }, () =>
    withFunction(
      `exports.handler = awslambda.streamifyResponse(async (event, stream) => {
         stream.write("one "); throw new RangeError("half way");
       });`,
      { runtime },
      async (run) => {
        await run.invoke();
        await run.frames.done(1);
        const [root] = run.frames.ended;
        assert.equal(root.status, 2);
        assert.equal(root.events[0].attributes["exception.type"], "RangeError");
        assert.equal(root.events[0].attributes["exception.message"], "half way");
      },
    ));

  test(`${runtime}: a streaming handler that fails before it writes is an error`, { skip: tells !== true && tells }, () =>
    withFunction(
      `exports.handler = awslambda.streamifyResponse(async () => { throw new RangeError("at once"); });`,
      { runtime },
      async (run) => {
        await run.invoke();
        await run.frames.done(1);
        const [root] = run.frames.ended;
        assert.equal(root.status, 2);
        assert.deepEqual([root.events[0].attributes["exception.type"], root.events[0].attributes["exception.message"]], ["RangeError", "at once"]);
      },
    ));

  test(`${runtime}: a trace header that is missing or broken begins a trace of its own`, () =>
    withFunction("exports.handler = async () => 1;", { runtime }, async (run) => {
      const headers = [null, "", "Root=1-zz;Parent=1", "Sampled=0", "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0;Lineage=a:1"];
      for (const header of headers) await run.invoke(null, header);
      await run.frames.done(headers.length);
      const spans = run.frames.ended;
      assert.equal(spans.length, headers.length);
      for (const span of spans) assert.match(span.traceId, /^[0-9a-f]{32}$/);
      const last = spans[4];
      assert.equal(last.traceId, TRACE);
      assert.equal(last.parentId, "");
      assert.equal(last.flags, 0);
      assert.equal(new Set(spans.map((span) => span.traceId)).size, headers.length);
    }));

  test(`${runtime}: without an extension the function works and says nothing`, () =>
    withFunction("exports.handler = async () => 'fine';", { runtime, listening: false }, async (run) => {
      for (let count = 0; count < 3; count++) assert.equal((await run.invoke()).body, '"fine"');
      assert.doesNotMatch(run.output(), /\[otel-xray\]/);
    }));

  test(`${runtime}: an error at load is reported once, as without the layer`, async () => {
    const source = "console.log('loading'); throw new TypeError('at load');";
    const outcome = (layer) =>
      withFunction(source, { runtime, layer }, async (run) => {
        const answer = await run.answer();
        await run.exited;
        return [answer.body.replaceAll(run.task, "TASK"), run.output().split("loading").length];
      });
    assert.deepEqual(await outcome(true), await outcome(false));
  });
}

for (const runtime of ["native", "native3", "http"]) {
  test(`${runtime}: where the runtime client is known, nothing of its sockets is read`, () =>
    withFunction(
      'exports.handler = async () => Object.keys(require.cache).filter((file) => /\\/(?:runtime_socket|sockets)\.js$/.test(file));',
      { runtime },
      async (run) => {
        assert.deepEqual(JSON.parse((await run.invoke()).body), []);
        await run.frames.done(1);
      },
    ));
}

for (const [runtime, inPieces] of [["fetch", false], ["socket", false], ["fetch", true], ["socket", true]]) {
  test(`${runtime}: what triggered the function is read${inPieces ? " in pieces" : ""}, and its calls are its own`, () =>
    withFunction(
      "exports.handler = async ({ url }) => { await (await fetch(url)).text(); return { statusCode: 418 }; };",
      { runtime, inPieces },
      async (run) => {
        const { address, close } = await listen((_request, response) => response.end("fine"));
        try {
          const http = { method: "GET", path: "/items/7", sourceIp: "192.0.2.1" };
          const event = { version: "2.0", routeKey: "$default", rawPath: "/items/7", headers: {}, requestContext: { http }, url: `http://${address}/` };
          for (let count = 1; count <= 2; count++) {
            assert.equal((await run.invoke(event)).body, '{"statusCode":418}');
            await run.frames.done(count);
          }
        } finally {
          close();
        }
        assert.deepEqual(run.frames.ended.map(({ name }) => name), ["GET", "app.handler", "GET", "app.handler"]);
        for (const root of run.frames.ended.filter(({ kind }) => kind === 2)) {
          assert.equal(root.attributes["url.path"], "/items/7");
          assert.equal(root.attributes["http.response.status_code"], 418);
        }
        assert.doesNotMatch(run.output(), /\[otel-xray\]/);
      },
    ));
}

/** What the function does, and what the error says of itself. */
const UNCAUGHT = {
  "an error in a timer": ["setTimeout(() => { throw new RangeError('later'); }, 1);", "RangeError", "later", /app\.js:1:/],
  "a rejection": ["Promise.reject(new TypeError('lost'));", "TypeError", "lost", /app\.js:1:/],
  "no error at all": ["setTimeout(() => { throw 'text'; }, 1);", "string", "text", /^$/],
  "an error whose own handler exits": [
    "process.on('uncaughtException', () => process.exit(1)); setTimeout(() => { throw new RangeError('later'); }, 1);",
    "RangeError",
    "later",
    /app\.js:1:/,
  ],
};
for (const [what, [body, type, message, frame]] of Object.entries(UNCAUGHT))
  test(`${what} that nobody catches is the handler's, with the newest runtime client, and ends the process as without the layer`, async () => {
    const outcome = (layer) =>
      withFunction(`exports.handler = async () => { ${body} await new Promise(() => setTimeout(() => {}, 1e5)); };`, { layer }, async (run) => {
        run.put({});
        const { code } = await run.exited;
        if (!layer) return [code, run.output().replaceAll(run.task, "")];
        await run.frames.until(() => run.frames.closed === 1, "the end of the connection");
        const span = run.frames.named("app.handler");
        assert.equal(span.status, 2);
        const [{ attributes }] = span.events;
        assert.deepEqual([attributes["exception.type"], attributes["exception.message"]], [type, message]);
        assert.match(attributes["exception.stacktrace"] ?? "", frame);
        assert.equal(run.frames.of(Frame.done).length, 0, "what else is open ends with the process");
        return [code, run.output().replaceAll(run.task, "")];
      });
    assert.deepEqual(await outcome(true), await outcome(false));
  });

test("an error that a listener of the function's survives is no failure", () =>
  withFunction(
    `process.on("uncaughtException", () => { process.emit("survived"); });
     exports.handler = () => new Promise((go) => { process.once("survived", () => go(1)); setTimeout(() => { throw new Error("later"); }, 1); });`,
    {},
    async (run) => {
      assert.equal((await run.invoke()).body, "1");
      await run.frames.done(1);
      assert.equal(run.frames.named("app.handler").status, 0);
      run.child.kill("SIGTERM");
    },
  ));

test("process.exit in the handler ends the connection with the span still open", () =>
  withFunction("exports.handler = () => { process.exit(3); };", {}, async (run) => {
    run.put({});
    assert.equal((await run.exited).code, 3);
    await run.frames.until(() => run.frames.closed === 1, "the end of the connection");
    assert.equal(run.frames.started.length, 1);
    assert.equal(run.frames.ended.length, 0);
    assert.equal(run.frames.of(Frame.done).length, 0);
  }));

test("an uncaught exception and an unhandled rejection leave as without the layer", async () => {
  for (const body of ["setTimeout(() => { throw new Error('later'); }, 1); return new Promise(() => {});", "Promise.reject(new Error('lost')); await new Promise(() => setTimeout(() => {}, 1e5));"]) {
    const outcome = (layer) =>
      withFunction(`exports.handler = async () => { ${body} };`, { layer, runtime: "native3" }, async (run) => {
        const answer = await run.invoke();
        const { code } = await run.exited;
        if (layer) {
          await run.frames.until(() => run.frames.closed === 1, "the end of the connection");
          assert.equal(run.frames.ended.length, 1);
          assert.equal(run.frames.ended[0].status, 2);
        }
        return [answer.kind, JSON.parse(answer.body).errorType, code];
      });
    assert.deepEqual(await outcome(true), await outcome(false));
  }
});

test("the function sees no sign of the agent, and its processes do not get it", () =>
  withFunction(
    `const { fork, spawnSync } = require("node:child_process"); const { Worker } = require("node:worker_threads");
     exports.handler = async () => {
       const child = fork("./child.js", { silent: true });
       const forked = await new Promise((go) => child.on("message", go));
       const told = (script, options) => new Promise((go, no) => new Worker(script, { eval: true, ...options }).on("message", go).on("error", no));
       const inWorker = await told("require('worker_threads').parentPort.postMessage(process.execArgv)");
       const without = await told("require('worker_threads').parentPort.postMessage(process.execArgv)", { env: {} });
       const forkedThere = await told("require('child_process').fork('./child.js', { silent: true }).on('message', (told) => require('worker_threads').parentPort.postMessage(told))");
       return { own: process.execArgv, options: process.env.NODE_OPTIONS, forked, inWorker, without, forkedThere, exit: process.listenerCount("exit") };
     };`,
    { variables: { NODE_OPTIONS: "--no-warnings" }, packages: false },
    async (run) => {
      const fs = await import("node:fs");
      fs.writeFileSync(`${run.task}/child.js`, "process.send([...process.execArgv, ...Object.keys(require.cache).filter((file) => file.includes('otel'))].filter((file) => file !== __filename)); process.disconnect();");
      const seen = JSON.parse((await run.invoke()).body);
      assert.deepEqual(seen.own, []);
      assert.equal(seen.options, "--no-warnings");
      assert.deepEqual([seen.forked, seen.inWorker, seen.forkedThere], [[], [], []]);
      // There Node.js 18 reads nothing that is required, and says that it had been told to.
      if (major >= 20) assert.deepEqual(seen.without, []);
      assert.equal(seen.exit, 0);
      await run.frames.done(1);
      assert.equal(run.frames.connections, 1, "the worker has none");
    },
  ));

for (const variable of ["OTEL_XRAY_ENABLED=false", "OTEL_SDK_DISABLED=true"]) {
  test(`${variable} leaves the function alone`, () => {
    const [name, value] = variable.split("=");
    return withFunction("exports.handler = async () => Object.keys(require.cache).length;", { variables: { [name]: value } }, async (run) => {
      assert.equal((await run.invoke()).kind, "response");
      assert.equal(run.frames.all.length, 0);
    });
  });
}

test("a runtime client whose native module has another name is known by what it exports", () =>
  withFunction("exports.handler = async () => 1;", { runtime: "renamed" }, async (run) => {
    assert.equal((await run.invoke()).body, "1");
    await run.frames.done(1);
    assert.equal(run.frames.named("app.handler").parentId, PARENT);
  }));

test("times that the function freezes or replaces do not date its spans", () =>
  withFunction(
    `const fake = require("@sinonjs/fake-timers"); const http = require("node:http"); const { trace } = require("@opentelemetry/api");
     const clock = fake.install({ now: 86_400_000, toFake: ["Date", "hrtime", "performance"] });
     Date.now = () => 1; process.hrtime = Object.assign(() => [1, 1], { bigint: () => 1n });
     exports.handler = async ({ url }) => { await new Promise((resolve) => http.get(url, (answer) => answer.resume().on("end", resolve))); trace.getTracer("t").startSpan("own").end(); return Date.now(); };`,
    { packages: beside },
    async (run) => {
      const { address, close } = await listen((request, response) => response.end("ok"));
      const before = BigInt(Date.now() - 1000) * 1_000_000n;
      try {
        assert.equal((await run.invoke({ url: `http://${address}/` })).body, "1");
        await run.frames.done(1);
      } finally {
        close();
      }
      for (const name of ["app.handler", "GET", "own"]) {
        const { start, end } = run.frames.named(name);
        assert.ok(start > before && start < end, `${name}: ${start} to ${end}`);
        assert.ok(end < BigInt(Date.now() + 1000) * 1_000_000n);
      }
    },
  ));

for (const change of ["other.handler", "", undefined])
  test(`the handler is called what Lambda was told, whatever the function makes of the variable: ${change}`, () =>
    withFunction(
      `${change === undefined ? "delete process.env._HANDLER" : `process.env._HANDLER = ${JSON.stringify(change)}`};
       exports.handler = async () => 1;`,
      {},
      async (run) => {
        await run.invoke();
        await run.frames.done(1);
        assert.deepEqual(run.frames.ended.map(({ name }) => name), ["app.handler"]);
      },
    ));
