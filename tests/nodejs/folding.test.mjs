// Like calls past a hundred of an invocation are folded into one span: the cases of tests/folding.json.

import assert from "node:assert/strict";
import fs from "node:fs";
import { createRequire } from "node:module";
import test from "node:test";
import { listen, major, withFunction } from "./stage/function.mjs";

const require = createRequire(import.meta.url);
const { limit, cases } = JSON.parse(fs.readFileSync(new URL("../folding.json", import.meta.url), "utf8"));
const { Recorder } = require(`${process.env.OTEL_XRAY_NODE_AGENT}/recorder.js`);

/** A recorder whose clock only calls turn, and what it writes. */
function makeStage() {
  let now = 1_700_000_000_000_000;
  let ids = 0;
  const seen = { started: [], ended: [] };
  const copy = (span) => ({ ...span, attributes: { ...span.attributes } });
  const wire = { start: (span) => seen.started.push(copy(span)), end: (span) => seen.ended.push(copy(span)), answered: () => assert.fail("nothing is answered") };
  const agent = { wire, root: undefined, leave: undefined, header: undefined, now: () => now, complain: (_key, message) => assert.fail(message) };
  const recorder = new Recorder(agent);
  const call = ({ name, address, port, attributes, error }, ms) => {
    const span = recorder.call(name);
    if (address !== undefined) span.attributes["server.address"] = address;
    if (port !== undefined) Object.assign(span.attributes, { "server.port": port, "db.system.name": "redis" });
    Object.assign(span.attributes, attributes);
    recorder.announce(span);
    now += ms * 1000;
    recorder.finish(span, error === undefined ? undefined : new Error(error));
    return span;
  };
  const enter = () => {
    seen.started = [];
    seen.ended = [];
    const id = String(++ids).padStart(16, "0");
    agent.root = { name: "app.handler", traceId: "1".repeat(32), spanId: id, flags: 0x301, startUs: now, endUs: 0, attributes: {}, isRemote: false };
    return agent.root;
  };
  const leave = () => {
    const { root } = agent;
    agent.root = undefined;
    agent.leave?.(root);
  };
  const invoke = (calls) => {
    enter();
    for (const given of calls) {
      const lasts = given.ms ?? [1];
      for (let number = 0; number < given.times; number++) call(given, lasts[number % lasts.length]);
    }
    leave();
  };
  return { seen, recorder, enter, leave, call, invoke, now: () => now };
}

for (const { it, calls, spans, announced, folded } of cases)
  test(it, () => {
    const stage = makeStage();
    // Each invocation begins to count anew.
    for (let round = 0; round < 2; round++) {
      stage.invoke(calls);
      const { started, ended } = stage.seen;
      assert.deepEqual([ended.length, started.length], [spans, announced]);
      assert.deepEqual(new Set(ended.map(({ spanId }) => spanId)), new Set(started.map(({ spanId }) => spanId)));
      const found = ended.filter(({ attributes }) => "folded_calls" in attributes);
      assert.deepEqual(found.map(({ name }) => name), folded.map(({ name }) => name));
      for (const [index, fold] of folded.entries()) {
        const { attributes, status, statusMessage, events, startUs, endUs } = found[index];
        for (const [key, value] of Object.entries(fold.attributes)) assert.equal(attributes[key], value, key);
        for (const key of fold.without) assert.equal(attributes[key], undefined, key);
        for (const key of fold.with ?? []) assert.notEqual(attributes[key], undefined, key);
        if ("failed" in fold) assert.equal(status, fold.failed ? 2 : 0);
        assert.equal(statusMessage, fold.message ?? "");
        assert.equal(events?.length ?? 0, "message" in fold ? 1 : 0);
        assert.ok(0 < startUs && startUs <= endUs && endUs <= stage.now());
      }
    }
  });

test("more kinds than are counted have their own spans", () => {
  const stage = makeStage();
  const kinds = Array.from({ length: 1000 }, (_, number) => ({ name: `GET ${number}`, times: 1 }));
  stage.invoke([...kinds, { name: "late", times: 150 }, { name: "GET 7", times: 150 }]);
  const count = (wanted) => stage.seen.ended.filter(({ name }) => name === wanted).length;
  assert.deepEqual([count("late"), count("GET 7")], [150, limit + 1]);
});

test("a call that outlives its invocation is not lost", () => {
  const stage = makeStage();
  stage.enter();
  for (let number = 0; number <= limit; number++) stage.call({ name: "GET" }, 1);
  const late = stage.recorder.call("GET");
  stage.recorder.announce(late);
  stage.leave();
  stage.recorder.finish(late);
  const { ended } = stage.seen;
  assert.deepEqual([ended.length, new Set(ended.map(({ spanId }) => spanId)).size], [limit + 2, limit + 2]);
  assert.equal(ended.at(-2).attributes.folded_calls, 1);
  assert.equal("folded_calls" in ended.at(-1).attributes, false);
});

for (const way of ["http", "fetch"])
  test(`what folded calls tell of the trace names the fold: ${way}`, async () => {
    const told = [];
    const { address, close } = await listen((request, response) => {
      told.push(/Parent=(\w+)/.exec(request.headers["x-amzn-trace-id"])[1]);
      response.end("{}");
    });
    const source = `const http = require("node:http");
      const ways = {
        http: (url) => new Promise((go, fail) => http.get(url, (res) => res.resume().on("end", go)).on("error", fail)),
        fetch: async (url) => { await (await fetch(url)).text(); },
      };
      exports.handler = async ({ way, url }) => { for (let n = 0; n < 130; n++) await ways[way](url + "/" + n); };`;
    try {
      await withFunction(source, {}, async (run) => {
        assert.equal((await run.invoke({ way, url: `http://${address}` })).kind, "response");
        await run.frames.done(1);
        const calls = run.frames.ended.filter(({ name }) => name === "GET");
        assert.equal(calls.length, limit + 1);
        const fold = calls.at(-1);
        assert.deepEqual([Number(fold.attributes.folded_calls), Number(fold.attributes["http.response.status_code"])], [30, 200]);
        assert.equal(fold.attributes["url.full"], undefined);
        assert.deepEqual(told, [...calls.slice(0, -1).map(({ spanId }) => spanId), ...Array(30).fill(fold.spanId)]);
        assert.doesNotMatch(run.output(), /\[otel-xray\]/);
      });
    } finally {
      close();
    }
  });

// The installed SDK wants Node.js 20.
test("requests of folded calls that run beside each other are known as theirs", { skip: major < 20 }, async () => {
  const told = [];
  const { address, close } = await listen((request, response) => {
    told.push(/Parent=(\w+)/.exec(request.headers["x-amzn-trace-id"])[1]);
    request.resume().on("end", () => response.end("content"));
  });
  const source = `const { S3Client, GetObjectCommand } = require("@aws-sdk/client-s3");
    const s3 = new S3Client({ region: "eu-west-1", endpoint: process.env.AWS_URL, forcePathStyle: true });
    exports.handler = async () => {
      for (let round = 0; round < 15; round++)
        await Promise.all(Array.from({ length: 10 }, async (_, n) => (await s3.send(new GetObjectCommand({ Bucket: "b", Key: String(n) }))).Body.transformToString()));
    };`;
  try {
    await withFunction(source, { variables: { AWS_URL: `http://${address}` } }, async (run) => {
      assert.equal((await run.invoke()).kind, "response");
      await run.frames.done(1);
      const calls = run.frames.ended.filter(({ name }) => name !== "app.handler");
      assert.deepEqual([...new Set(calls.map(({ name }) => name))], ["S3.GetObject"]);
      const fold = calls.at(-1);
      assert.deepEqual([calls.length, Number(fold.attributes.folded_calls), fold.attributes["aws.s3.bucket"]], [limit + 1, 50, "b"]);
      assert.equal(told.filter((parent) => parent === fold.spanId).length, 50);
      assert.equal(new Set(told).size, limit + 1);
    });
  } finally {
    close();
  }
});
