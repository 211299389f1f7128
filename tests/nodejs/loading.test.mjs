// A function that cannot be loaded: the error is in the trace, in Node.js' own words, and callers see what they see without the layer.

import assert from "node:assert/strict";
import test from "node:test";
import { major, withFunction } from "./stage/function.mjs";

const FAILS = "throw new RangeError('config DB_URL is missing');";

/** Sources, and what the span says: type, message, and a line of the stack. */
const MISTAKES = {
  "throws": [{ "app.js": `exports.handler = () => 1;\n${FAILS}` }, "RangeError", /^config DB_URL is missing$/, /app\.js:2:/],
  "throws, as an ES module": [
    { "app.mjs": `export const handler = () => 1;\n${FAILS}` },
    "RangeError",
    /^config DB_URL is missing$/,
    /app\.mjs:2:/,
  ],
  "rejects at its top level": [
    { "app.mjs": `await Promise.reject(new TypeError("no settings"));\nexport const handler = () => 1;` },
    "TypeError",
    /^no settings$/,
    /app\.mjs:1:/,
  ],
  "needs a module that is not there": [
    { "app.js": "require('no-such-package');" },
    "Runtime.ImportModuleError",
    /Cannot find module 'no-such-package'/,
    /app\.js|ImportModuleError/,
  ],
  "is no JavaScript": [{ "app.js": "exports.handler = (;" }, "Runtime.UserCodeSyntaxError", /SyntaxError: Unexpected token ';'/, /app\.js:1|UserCodeSyntaxError/],
  "does not export its handler": [{ "app.js": "exports.other = () => 1;" }, "Runtime.HandlerNotFound", /app\.handler is undefined or not exported/, /./],
};

// The newest client imports CommonJS modules, which the managed runtime does from version 24 on.
const RUNTIMES = major >= 24 ? ["native"] : ["native3"];

for (const runtime of [...RUNTIMES, "http", "fetch", "socket"])
  for (const [what, [sources, type, message, frame]] of Object.entries(MISTAKES)) {
    // What a mistake is called is the runtime client's to say, which the stand-ins do not.
    if (!RUNTIMES.includes(runtime) && type.startsWith("Runtime.")) continue;
    test(`${runtime}: one that ${what} says so`, async () => {
      const reported = (layer, then) =>
        withFunction(sources, { runtime, layer }, async (run) => {
          const { kind, body } = await run.answer();
          const { code } = await run.exited;
          await then?.(run);
          // Where the task lies is another place each time.
          return [kind, code, body.replaceAll(run.task, "TASK")];
        });
      const bare = await reported(false);
      const traced = await reported(true, async (run) => {
        await run.frames.until(() => run.frames.ended.length > 0, "the span of the failure");
        assert.equal(run.frames.ended.length, 1);
        const span = run.frames.named("load app.handler");
        assert.deepEqual([span.kind, span.status, span.parentId, span.flags], [1, 2, "", 0x101]);
        assert.equal(span.attributes["faas.coldstart"], true);
        assert.ok(span.start < span.end);
        const [{ name, attributes }] = span.events;
        assert.deepEqual([name, attributes["exception.type"]], ["exception", type]);
        assert.match(attributes["exception.message"], message);
        assert.match(attributes["exception.stacktrace"], frame);
        assert.doesNotMatch(attributes["exception.stacktrace"], /\/opt\//);
      });
      assert.deepEqual(traced, bare);
    });
  }

test("the newest runtime client: one that throws while it waits at its top level says so", async () => {
  const source = `setTimeout(() => { throw new RangeError("in a while"); }, 1);
    await new Promise(() => setInterval(() => {}, 1e5));
    export const handler = () => 1;`;
  const ended = (layer) =>
    withFunction({ "app.mjs": source }, { layer }, async (run) => {
      const { code } = await run.exited;
      if (layer) {
        await run.frames.until(() => run.frames.closed === 1, "the end of the connection");
        const [{ attributes }] = run.frames.named("load app.handler").events;
        assert.deepEqual([attributes["exception.type"], attributes["exception.message"]], ["RangeError", "in a while"]);
        assert.match(attributes["exception.stacktrace"], /app\.mjs:1:/);
      }
      return [code, run.output().replaceAll(run.task, "")];
    });
  assert.deepEqual(await ended(true), await ended(false));
});
