// What an error says of itself, its causes and the errors that it is made of.

import assert from "node:assert/strict";
import test from "node:test";
import { withFunction } from "./stage/function.mjs";

const recorded = (body, use) =>
  withFunction(
    `const { trace } = require("@opentelemetry/api");
     const thrown = () => { ${body} };
     exports.handler = async () => trace.getTracer("t").startActiveSpan("own", (span) => { span.recordException(thrown()); span.end(); });`,
    {},
    async (run) => {
      await run.invoke();
      await run.frames.done(1);
      await use(run.frames.named("own").events[0].attributes);
    },
  );

const heads = (stack) => stack.split("\n").filter((line) => !/^\s+at /.test(line));

test("an AggregateError is told with the errors that it is made of, and they with their causes", () =>
  recorded(
    `return new AggregateError([new RangeError("first"), new TypeError("second", { cause: new Error("why") })], "All promises were rejected");`,
    (attributes) => {
      assert.equal(attributes["exception.message"], "All promises were rejected");
      assert.deepEqual(heads(attributes["exception.stacktrace"]), [
        "AggregateError: All promises were rejected",
        "  [cause]: RangeError: first",
        "  [cause]: TypeError: second",
        "  [cause]: Error: why",
      ]);
    },
  ));

test("one without a message, as of a connection that every address has refused, says what they say", () =>
  recorded(
    `return Object.assign(new AggregateError([new Error("connect ECONNREFUSED ::1:80"), new Error("connect ECONNREFUSED 127.0.0.1:80")]), { code: "ECONNREFUSED" });`,
    (attributes) => {
      assert.equal(attributes["exception.message"], "connect ECONNREFUSED ::1:80; connect ECONNREFUSED 127.0.0.1:80");
    },
  ));

test("one that is made of itself, or of very many, ends", async () => {
  await recorded(`const error = new AggregateError([]); error.errors = [error, error]; error.cause = error; return error;`, (attributes) => {
    assert.equal(heads(attributes["exception.stacktrace"]).length, 10);
    assert.equal(attributes["exception.message"].replaceAll("; ", ""), "");
  });
  await recorded(`return new AggregateError(Array.from({ length: 1000 }, (_, n) => new Error("n" + n)), "many");`, (attributes) => {
    assert.equal(heads(attributes["exception.stacktrace"]).length, 10);
  });
});
