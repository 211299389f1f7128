// The ids of the current span in what the function logs, where the setting asks for them.

import assert from "node:assert/strict";
import test from "node:test";
import { major, withFunction } from "./stage/function.mjs";

const ON = { OTEL_XRAY_LOG_TRACE_IDS: "true" };

/** Runs the handler, gives the lines it wrote and its span. */
async function logged(sources, variables, use, runtime = "native") {
  await withFunction(sources, { variables, runtime }, async (run) => {
    assert.equal((await run.invoke()).kind, "response");
    await run.frames.done(1);
    const lines = run.output().split("\n").filter((line) => line !== "");
    assert.doesNotMatch(run.output(), /\[otel-xray\]/);
    use(lines, run.frames.named("app.handler"), run.frames);
  });
}

const CONSOLE = `console.log("at start"); exports.handler = async () => { console.log("one 100%"); console.info("two %s", "words"); console.error({ three: 3 }); console.warn(new RangeError("four")); const { log } = console; console.log = (...given) => log("five", ...given); console.log(5); };`;

for (const runtime of ["native", "http"])
  test(`console, text, ${runtime}`, () =>
    logged(
      CONSOLE,
      ON,
      (lines, root) => {
        const suffix = `trace_id=${root.traceId} span_id=${root.spanId}`;
        const ending = (start) => lines.filter((line) => line.includes(start) && line.endsWith(suffix)).length;
        assert.ok(lines.some((line) => line.endsWith("at start")), "nothing is known before the first invocation");
        assert.deepEqual(["one 100%", "two words", "{ three: 3 }", "five 5"].map(ending), [1, 1, 1, 1]);
        assert.equal(lines.filter((line) => line.includes("five 5") && line.split("trace_id").length === 2).length, 1, "once, where one method calls another");
        assert.ok(lines.join("\n").includes("RangeError: four"));
      },
      runtime,
    ));

test("console, Lambda's JSON: an object stays an object, an error stays an error", () =>
  logged(CONSOLE, { ...ON, AWS_LAMBDA_LOG_FORMAT: "JSON" }, (lines, root) => {
    const records = lines.map((line) => JSON.parse(line));
    const ids = { trace_id: root.traceId, span_id: root.spanId, trace_flags: "01" };
    assert.deepEqual(records.find((record) => record.message?.three).message, { three: 3, ...ids });
    assert.equal(records.find((record) => String(record.message).startsWith("one")).message, `one 100% trace_id=${root.traceId} span_id=${root.spanId}`);
    assert.equal(records.find((record) => record.level === "WARN").message.errorType, "RangeError");
  }));

const LOGGERS = {
  pino: { from: 20, source: `const pino = require("pino"); const logger = pino({ base: null }, pino.destination({ dest: 1, sync: true })).child({ mine: 1 });` },
  winston: { from: 18, source: `const winston = require("winston"); const logger = winston.createLogger({ format: winston.format.json(), transports: [new winston.transports.Console()] }).child({ mine: 1 });` },
};

for (const [library, { from, source }] of Object.entries(LOGGERS)) {
  const sources = `${source} const { trace } = require("@opentelemetry/api"); const fields = { a: 1 };
    logger.info("at start");
    exports.handler = async () => { logger.info("plain"); logger.error(fields, "fields"); trace.getTracer("t").startActiveSpan("inner", (span) => { logger.info("inside"); span.end(); }); logger.info({ trace_id: "own" }, "own"); logger.error(new RangeError("broken")); if (Object.keys(fields).length !== 1) throw new Error("changed"); };`;
  const parsed = (lines) => Object.fromEntries(lines.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line)).map((record) => [record.msg ?? record.message, record]));

  test(library, { skip: major < from }, () =>
    logged(sources, ON, (lines, root, frames) => {
      const records = parsed(lines);
      const ids = (message) => [records[message].trace_id, records[message].span_id, records[message].trace_flags, records[message].mine];
      assert.equal(records["at start"].trace_id, undefined);
      assert.deepEqual(ids("plain"), [root.traceId, root.spanId, "01", 1]);
      assert.deepEqual(ids("inside"), [root.traceId, frames.named("inner").spanId, "01", 1]);
      assert.deepEqual(ids("broken").slice(0, 3), [root.traceId, root.spanId, "01"]);
      if (library === "pino") {
        assert.deepEqual(ids("fields"), [root.traceId, root.spanId, "01", 1]);
        assert.equal(records.fields.a, 1);
        assert.equal(records.own.trace_id, "own");
      }
    }));

  test(`${library} is left alone without the setting`, { skip: major < from }, () =>
    logged(sources, {}, (lines) => assert.equal(parsed(lines).plain.trace_id, undefined)));

  test(`${library} is on when it is named`, { skip: major < from }, () =>
    logged(sources, { OTEL_NODE_ENABLED_INSTRUMENTATIONS: library }, (lines, root) => assert.equal(parsed(lines).plain.trace_id, root.traceId)));
}

test("the console is left alone without the setting", () =>
  logged(CONSOLE, {}, (lines) => assert.ok(!lines.some((line) => line.includes("trace_id")))));
