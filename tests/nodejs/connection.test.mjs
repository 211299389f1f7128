// The connection that the launcher leaves to the function's process: whose it is, and what happens when the extension takes nothing.

import assert from "node:assert/strict";
import * as fs from "node:fs";
import test from "node:test";
import { Frame } from "./stage/frames.mjs";
import { major, withFunction } from "./stage/function.mjs";

/** Counts how often somebody waits, without changing it. */
const WAITS = `
  let waits = 0;
  const { wait } = Atomics;
  Atomics.wait = (...of) => { waits++; return wait(...of); };`;

const SPANS = `
  const { trace } = require("@opentelemetry/api");
  const isRecorded = () => trace.getActiveSpan() !== undefined;
  const tracer = trace.getTracer("t");
  const spans = (name, count, attributes) => { for (let n = 0; n < count; n++) tracer.startSpan(name, { attributes }).end(); };`;

/** More than a socket takes that nobody reads. */
const LARGE = `Object.fromEntries(Array.from({ length: 30 }, (_, n) => ["k" + n, "v".repeat(30_000)]))`;

/** Invokes until the extension has taken the whole of an invocation; gives how many it took. A busy reader may not make room at once. */
async function again(run) {
  for (let count = 1; ; count++) {
    await run.frames.drained();
    await run.invoke({ count: 0 });
    await run.frames.drained();
    if (run.frames.of(Frame.done).some((payload) => payload.toString("latin1", 5) === run.requestId)) return count;
  }
}

const dropped = (frames) => frames.of(Frame.done).reduce((sum, payload) => sum + payload.readUInt32LE(1), 0);

test("A-43: an extension that takes nothing holds the function up once, and no frame is torn", () =>
  withFunction(
    `${WAITS} ${SPANS}
     const large = ${LARGE};
     exports.handler = async ({ count, isLarge }) => {
       waits = 0;
       if (isLarge) spans("large", 1, large);
       spans("small", count, { text: "x".repeat(200) });
       return { waits, isRecorded: isRecorded() };
     };`,
    {},
    async (run) => {
      const invoke = async (event) => JSON.parse((await run.invoke(event)).body);
      assert.deepEqual(await invoke({ count: 1 }), { waits: 0, isRecorded: true });
      await run.frames.done(1);
      run.frames.stall();
      // The large one is cut, and what follows finds no room: a try each millisecond, and then no more.
      assert.deepEqual(await invoke({ count: 1000, isLarge: true }), { waits: 50, isRecorded: true });
      // It has waited before the handler.
      assert.deepEqual(await invoke({ count: 1000 }), { waits: 0, isRecorded: false });
      assert.equal(run.frames.of(Frame.done).length, 1);
      run.frames.read();
      const count = await again(run);
      assert.equal(run.frames.connections, 1);
      const names = run.frames.ended.map((span) => span.name);
      // Its beginning was on the way, and the rest has followed.
      assert.equal(names.filter((name) => name === "large").length, 1);
      assert.equal(names.at(-1), "app.handler");
      // Of an invocation that could not be announced, the handler's span counts.
      assert.equal(names.length + dropped(run.frames), 2 + 1002 + 1 + count);
      assert.ok(dropped(run.frames) > 900);
      assert.equal(run.output().match(/\[otel-xray\]/g).length, 1, run.output());
      assert.match(run.output(), /spans could not be handed to the extension and are lost: it takes nothing/);
    },
  ));

test("P1: the death of the extension is not the function's", () =>
  withFunction(
    `${SPANS} exports.handler = async () => { spans("own", 100); return process.listenerCount("SIGPIPE"); };`,
    {},
    async (run) => {
      assert.equal((await run.invoke()).body, "0");
      await run.frames.done(1);
      run.frames.die();
      for (let n = 0; n < 3; n++) assert.equal((await run.invoke()).body, "0");
      assert.match(run.output(), /lost: Error: EPIPE/);
      assert.equal(run.output().match(/\[otel-xray\]/g).length, 1, run.output());
    },
  ));

test("A-29: a lost connection is opened again by the next frame, with hello and the invocation that runs", { skip: major < 22 && "before, Node.js connects to no abstract name" }, () =>
  withFunction(
    `${SPANS}
     const fs = require("node:fs");
     exports.handler = async ({ file }) => {
       const active = () => process.getActiveResourcesInfo().filter((name) => /pipe/i.test(name)).length;
       const before = active();
       while (file && !fs.existsSync(file)) await new Promise((go) => setTimeout(go, 5));
       spans("own", file ? 70 : 1);
       return active() - before;
     };`,
    {},
    async (run) => {
      await run.invoke({});
      await run.frames.done(1);
      const file = `${fs.mkdtempSync("/tmp/lost-")}/go`;
      const answer = run.invoke({ file });
      await run.frames.until(() => run.frames.started.length === 2, "the handler's begin");
      run.frames.drop();
      await run.frames.until(() => run.frames.closed === 0, "the end of the connection");
      fs.writeFileSync(file, "");
      assert.equal((await answer).body, "0", "nothing that the event loop waits for");
      await run.frames.done(2);
      const later = run.frames.all.filter(({ connection }) => connection === 2).map(({ kind }) => kind);
      assert.deepEqual(later, [Frame.hello, Frame.invoke, ...Array(70 - 64 + 1).fill(Frame.end), Frame.done]);
      assert.equal(dropped(run.frames), 64, "what was written to the lost connection");
      await run.invoke({});
      await run.frames.done(3);
      assert.equal(run.frames.connections, 2);
      assert.equal(run.output().match(/\[otel-xray\]/g).length, 1, run.output());
    },
  ));

test("a number that is the function's own is not written to", () =>
  withFunction(
    "exports.handler = async () => process.env.OTEL_XRAY_AGENT_FD ?? null;",
    { listening: false, variables: { OTEL_XRAY_AGENT_FD: "1" } },
    async (run) => {
      assert.equal((await run.invoke()).body, "null");
      assert.ok(!run.output().includes("otel-xray"), run.output());
    },
  ));

/** Ways to start something that lives longer than the function. */
const CHILDREN = {
  "spawn with the function's standard streams": `spawn("sleep", ["60"], { detached: true, stdio: "inherit" })`,
  "spawn with pipes": `spawn("sleep", ["60"], { detached: true })`,
  "spawn with many files": `spawn("sleep", ["60"], { detached: true, stdio: Array(20).fill("pipe") })`,
  exec: `exec("exec sleep 60")`,
  fork: `fork(__dirname + "/child.js", { detached: true, stdio: "ignore" })`,
};

for (const [how, start] of Object.entries(CHILDREN))
  test(`A-43: the connection is the function's alone: ${how}`, () =>
    withFunction(
      {
        "app.js": `
          const { exec, fork, spawn } = require("node:child_process");
          exports.handler = async ({ ends }) => {
            if (ends) process.kill(process.pid, "SIGKILL");
            const child = ${start};
            await new Promise((go) => child.once("spawn", go));
            return child.pid;
          };`,
        "child.js": "setTimeout(() => {}, 60_000);",
      },
      {},
      async (run) => {
        const child = Number((await run.invoke({})).body);
        await run.frames.done(1);
        try {
          run.put({ ends: true });
          await run.exited;
          fs.accessSync(`/proc/${child}`);
          await run.frames.until(() => run.frames.closed === 1, "the end of the connection");
        } finally {
          process.kill(child, "SIGKILL");
        }
      },
    ));

test("A-43: worker threads of the function's own do not have it", () =>
  withFunction(
    `const { Worker } = require("node:worker_threads");
     const fs = require("node:fs");
     const look = "({ variable: process.env.OTEL_XRAY_AGENT_FD ?? null, number: " + process.pid + " })";
     const sockets = () => fs.readdirSync("/proc/self/fd").flatMap((number) => { try { const target = fs.readlinkSync("/proc/self/fd/" + number); return target.startsWith("socket:") ? [target] : []; } catch { return []; } });
     exports.handler = async () => {
       const before = sockets();
       const worker = new Worker("require('worker_threads').parentPort.postMessage(process.env.OTEL_XRAY_AGENT_FD ?? null)", { eval: true });
       const ended = new Promise((go) => worker.once("exit", go));
       const seen = await new Promise((go) => worker.once("message", go));
       await ended;
       return { seen, more: sockets().filter((target) => !before.includes(target)) };
     };`,
    {},
    async (run) => {
      assert.deepEqual(JSON.parse((await run.invoke()).body), { seen: null, more: [] });
      await run.frames.done(1);
      assert.deepEqual([run.frames.connections, run.frames.closed], [1, 0]);
    },
  ));

const managed = (workers) => ({ AWS_LAMBDA_MAX_CONCURRENCY: "2", AWS_LAMBDA_NODEJS_WORKER_COUNT: String(workers) });
const skip = major < 22 && "there are Managed Instances from Node.js 22 on";

test("L-8.27: on Managed Instances too, an extension that takes nothing holds a worker up once", { skip }, () =>
  withFunction(
    `${WAITS} ${SPANS}
     exports.handler = async ({ count }) => { waits = 0; spans("large", count, ${LARGE}); return { waits, isRecorded: isRecorded() }; };`,
    { variables: managed(1) },
    async (run) => {
      assert.equal((await run.invoke({ count: 1 })).kind, "response");
      await run.frames.done(1);
      run.frames.stall();
      assert.deepEqual(JSON.parse((await run.invoke({ count: 20 })).body), { waits: 50, isRecorded: true });
      run.frames.read();
      const count = await again(run);
      assert.equal(run.frames.connections, 1);
      const names = run.frames.ended.map(({ name }) => name);
      assert.equal(names.filter((name) => name === "large").length, 2, "the one before, and the one that was cut");
      assert.equal(names.length + dropped(run.frames), 2 + 21 + count);
    },
  ));

test("L-8.27: a worker whose extension dies goes on, and tries again with each invocation", { skip }, () =>
  withFunction(`${SPANS} exports.handler = async () => spans("own", 1) ?? "fine";`, { variables: managed(1) }, async (run) => {
    await run.invoke();
    await run.frames.done(1);
    run.frames.die();
    for (let n = 0; n < 3; n++) assert.equal((await run.invoke()).body, '"fine"');
    assert.equal(run.output().match(/\[otel-xray\]/g).length, 1, run.output());
  }));

test("L-8.27: a worker's connection is nothing that its event loop waits for", { skip }, () =>
  withFunction(
    `exports.handler = async () => ({ active: process.getActiveResourcesInfo().filter((name) => /pipe/i.test(name)), exit: process.listenerCount("exit") });`,
    { variables: managed(1), runtime: "native" },
    async (run) => {
      assert.deepEqual(JSON.parse((await run.invoke()).body).active, []);
    },
  ));
