// What the event says of the caller: the cases that the agents of all languages share.

import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { withFunction } from "./stage/function.mjs";

const triggers = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../triggers");
const read = (file) => JSON.parse(fs.readFileSync(path.join(triggers, file), "utf8"));
const cases = fs.readdirSync(path.join(triggers, "cases")).map((file) => ({ file, ...read(`cases/${file}`) }));
const malformed = read("malformed.json");

/** What every invocation's span has. */
const COMMON = ["faas.invocation_id", "faas.coldstart", "faas.name", "faas.version", "cloud.resource_id", "cloud.account.id"];

const ANSWERING = "const answers = require('./answers.json'); let count = 0; exports.handler = async () => answers[count++];";

test(`the ${cases.length} cases of tests/triggers`, () =>
  withFunction({ "app.js": ANSWERING, "answers.json": JSON.stringify(cases.map((one) => one.answer ?? null)) }, {}, async (run) => {
    assert.ok(cases.length > 50);
    for (const one of cases) await run.invoke(one.event, one.header);
    await run.frames.done(cases.length);
    const spans = run.frames.ended;
    assert.equal(spans.length, cases.length);
    for (const [index, { file, expect }] of cases.entries()) {
      const span = spans[index];
      assert.equal(span.kind, { SERVER: 2, CONSUMER: 5 }[expect.kind], file);
      assert.equal(span.traceId, expect.trace_id, file);
      assert.equal(span.parentId, expect.parent_id, file);
      assert.equal(span.flags, expect.sampled ? 0x301 : 0, file);
      assert.equal(span.status, { unset: 0, error: 2 }[expect.status], file);
      const own = Object.entries(span.attributes).filter(([name]) => !COMMON.includes(name));
      assert.deepEqual(Object.fromEntries(own), expect.attributes, file);
      const links = span.links.map(({ traceId, spanId, attributes }) => ({
        trace_id: traceId,
        span_id: spanId,
        ...(Object.keys(attributes).length > 0 ? { attributes } : {}),
      }));
      assert.deepEqual(links, expect.links, file);
    }
    assert.doesNotMatch(run.output(), /\[otel-xray\]/);
  }));

test("malformed events and answers do no harm", () => {
  const named = Object.fromEntries(cases.map((one) => [one.file.replace(".json", ""), one]));
  const origins = ["api-gateway-rest", "function-url", "sqs-untraced"].map((name) => named[name].event);
  const runs = [
    ...malformed.events.map((event) => ({ event, answer: null })),
    ...malformed.answers.flatMap((answer) => origins.map((event) => ({ event, answer }))),
  ];
  return withFunction({ "app.js": ANSWERING, "answers.json": JSON.stringify(runs.map(({ answer }) => answer)) }, {}, async (run) => {
    for (const { event, answer } of runs) assert.equal((await run.invoke(event)).body, JSON.stringify(answer));
    await run.frames.done(runs.length);
    assert.equal(run.frames.ended.length, runs.length);
    assert.doesNotMatch(run.output(), /\[otel-xray\]/);
  });
});
