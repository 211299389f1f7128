// Work that outlives the handler, or ends the process: spans arrive, and the function behaves as without the layer.

import assert from "node:assert/strict";
import test from "node:test";
import { HEADER, TRACE, listen, withFunction } from "./stage/function.mjs";

/** What the function answers with the layer and without it; `use` sees the run with the layer. */
async function alike(source, options, use, invoke = (run) => run.invoke()) {
  const answer = async (layer, then) =>
    withFunction(source, { ...options, layer }, async (run) => {
      const { kind, body } = await invoke(run);
      await then?.(run);
      return [kind, body.replaceAll(run.task, "TASK")];
    });
  const bare = await answer(false);
  assert.deepEqual(await answer(true, use), bare);
  return bare;
}

for (const runtime of ["native", "native3", "http"]) {
  test(`${runtime}: a timer that is pending holds nothing up`, () =>
    alike(
      "let late = 0; exports.handler = async () => { setInterval(() => { late++; }, 1e6); setTimeout(() => {}, 1e6); return process.getActiveResourcesInfo().includes('Timeout'); };",
      { runtime },
      async (run) => {
        await run.invoke();
        await run.frames.done(2);
        assert.equal(run.frames.ended.length, 2);
      },
    ));
}

for (const runtime of ["native", "native3"]) {
  test(`${runtime}: a promise that nobody settles ends as without the layer`, async () => {
    const [kind] = await alike(
      "exports.handler = () => new Promise(() => {});",
      { runtime },
      async (run) => {
        // The older client answers for the handler when there is nothing left to wait for.
        if (runtime === "native3") await run.frames.done(1);
        else await run.frames.until(() => run.frames.closed === 1, "the end of the connection");
        assert.equal(run.frames.started.length, 1);
        assert.equal(run.frames.ended.length, runtime === "native3" ? 1 : 0);
      },
      async (run) => {
        run.put({});
        const gone = run.exited.then(({ code }) => ({ kind: `exit ${code}`, body: "" }));
        return Promise.race([run.answer().catch(() => gone), gone]);
      },
    );
    assert.match(kind, runtime === "native3" ? /response/ : /exit|error/);
  });
}

for (const waits of [true, false]) {
  test(`native3: callbackWaitsForEmptyEventLoop = ${waits}`, () =>
    alike(
      `exports.handler = (event, context, callback) => {
         context.callbackWaitsForEmptyEventLoop = ${waits};
         setTimeout(() => { console.log("behind"); }, ${waits ? 20 : 1e6});
         callback(null, { waits: ${waits} });
       };`,
      { runtime: "native3" },
      async (run) => {
        await run.frames.done(1);
        assert.equal(run.frames.named("app.handler").status, 0);
        assert.equal(run.output().includes("behind"), waits);
      },
    ));
}

test("A-43: the connection ends with the function's process, whatever that has started", () =>
  withFunction(
    `exports.handler = () => {
       const left = require("child_process").spawn("sleep", ["60"], { detached: true, stdio: "ignore" });
       console.log("left " + left.pid + ", file " + process.env.OTEL_XRAY_AGENT_FD);
       process.kill(process.pid, "SIGKILL");
     };`,
    {},
    async (run) => {
      run.put({});
      await run.exited;
      const [, left, file] = /left (\d+), file (\w+)/.exec(run.output());
      try {
        assert.equal(file, "undefined");
        await run.frames.until(() => run.frames.closed === 1, "the end of the connection");
        assert.equal(run.frames.started.length, 1);
      } finally {
        process.kill(Number(left));
      }
    },
  ));

test("spans of the function's own that have ended are not lost with process.exit", () =>
  withFunction(
    `const { trace } = require("@opentelemetry/api");
     exports.handler = () => { trace.getTracer("t").startActiveSpan("before", (span) => span.end()); process.exit(0); };`,
    {},
    async (run) => {
      run.put({});
      assert.equal((await run.exited).code, 0);
      await run.frames.until(() => run.frames.closed === 1, "the end of the connection");
      assert.equal(run.frames.named("before").parentId, run.frames.started[0].spanId);
    },
  ));

test("a worker thread's calls are its own, and its end is not the function's", async () => {
  const paths = [];
  const { address, close } = await listen((request, response) => {
    paths.push([request.url, request.headers["x-amzn-trace-id"] !== undefined]);
    response.end();
  });
  try {
    await alike(
      `const { Worker } = require("node:worker_threads");
       const get = "require('http').get('http://${address}/worker', (response) => response.resume().on('end', () => process.exit(5)))";
       exports.handler = async () => {
         const code = await new Promise((go, no) => new Worker(get, { eval: true }).on("exit", go).on("error", no));
         await new Promise((go) => require("http").get("http://${address}/main", (response) => response.resume().on("end", go)));
         return code;
       };`,
      {},
      async (run) => {
        await run.frames.done(1);
        const calls = run.frames.ended.filter((span) => span.name === "GET");
        assert.deepEqual(calls.map((span) => span.attributes["url.full"]), [`http://${address}/main`]);
        assert.equal(run.frames.connections, 1);
      },
    );
    assert.deepEqual(paths.slice(2), [["/worker", false], ["/main", true]]);
  } finally {
    close();
  }
});

for (const [library, call] of Object.entries({
  fetch: "fetch(URL_).then((response) => response.text())",
  http: "new Promise((go) => require('http').get(URL_, (response) => response.resume().on('end', go)))",
})) {
  test(`a call by ${library} that a freeze cuts in two ends in the trace that it began in`, async () => {
    let release;
    const { address, close } = await listen((request, response) => (release = () => response.end("late")));
    try {
      await withFunction(
        `const URL_ = "http://${address}/slow"; let background;
         exports.handler = async (event) => {
           if (event.first) { background = ${call}; await new Promise((go) => setTimeout(go, 50)); return "gone"; }
           await background;
           return "both";
         };`,
        {},
        async (run) => {
          assert.equal((await run.invoke({ first: true })).body, '"gone"');
          await run.frames.done(1);
          assert.equal(run.frames.ended.filter((span) => span.name === "GET").length, 0, "it is still open");
          run.child.kill("SIGSTOP");
          release();
          await new Promise((resolve) => setTimeout(resolve, 20));
          run.child.kill("SIGCONT");
          assert.equal((await run.invoke({}, HEADER.replace("1-5759e988", "1-6759e988"))).body, '"both"');
          await run.frames.done(2);
          const [first, second] = run.frames.ended.filter((span) => span.name === "app.handler");
          const late = run.frames.named("GET");
          assert.deepEqual([late.traceId, late.parentId], [TRACE, first.spanId]);
          assert.notEqual(second.traceId, TRACE);
          assert.equal(late.attributes["http.response.status_code"], 200);
          assert.equal(late.status, 0);
        },
      );
    } finally {
      close();
    }
  });
}
