// Who is told of the trace, and what is left as it is: the cases of tests/propagation.json.

import assert from "node:assert/strict";
import * as fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import test from "node:test";
import { rabbitmq } from "./stage/brokers.mjs";
import { HEADER, listen, modules, PARENT, withFunction } from "./stage/function.mjs";

const cases = JSON.parse(fs.readFileSync(path.join(import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname), "../propagation.json"), "utf8"));
const OURS = ["traceparent", "x-amzn-trace-id"];
const oursIn = (headers) => OURS.filter((name) => headers[name] !== undefined);

/** A server that answers 200 to all, and the headers of what it was asked. */
async function withServer(use) {
  const seen = [];
  const { address, close } = await listen((request, response) => {
    seen.push(request.headers);
    request.resume().on("end", () => response.end("{}"));
  });
  try {
    return await use(address, seen);
  } finally {
    close();
  }
}

// Every name leads to the one server, whatever the port.
const CALLS = `
  const net = require("node:net"); const http = require("node:http");
  const { connect } = net.Socket.prototype;
  net.Socket.prototype.connect = function (...given) {
    const options = Array.isArray(given[0]) ? given[0][0] : given[0];
    if (options.port !== undefined) Object.assign(options, { host: "127.0.0.1", port: Number(process.env.SERVER), lookup: undefined });
    return connect.apply(this, given);
  };
  const get = (url, options) => new Promise((go, fail) => http.get(url, options, (res) => res.resume().on("end", () => go(res.statusCode))).on("error", fail));
  const ways = {
    http: (url, headers) => get(url, { headers, agent: new http.Agent() }),
    list: (url, headers) => get(url, { headers: ["Host", new URL(url).host, ...Object.entries(headers).flat()], agent: new http.Agent() }),
    fetch: async (url, headers) => { const answer = await fetch(url, { headers }); await answer.text(); return answer.status; },
  };
  exports.handler = async ({ way, calls }) => { const codes = []; for (const [url, headers] of calls) codes.push(await ways[way](url, headers)); return codes; };`;
const WAYS = ["http", "list", "fetch"];

/** The headers of the requests that arrive, and what the function has logged. */
const sent = (way, calls, setting) =>
  withServer((address, seen) =>
    withFunction(CALLS, { variables: { SERVER: address.split(":")[1], ...(setting === null ? {} : { OTEL_XRAY_PROPAGATE: setting }) } }, async (run) => {
      const answer = await run.invoke({ way, calls });
      assert.equal(answer.body, JSON.stringify(calls.map(() => 200)));
      await run.frames.done(1);
      // What is told does not change what is recorded.
      assert.deepEqual(run.frames.ended.map(({ kind }) => kind), [...calls.map(() => 3), 2]);
      return { seen, output: run.output() };
    }),
  );

for (const { setting, told, not_told } of cases.destinations) {
  for (const way of WAYS) {
    test(`OTEL_XRAY_PROPAGATE=${setting} over ${way}`, async () => {
      const urls = [...told.map((url) => [url, true]), ...not_told.map((url) => [url, false])].filter(([url]) => url.startsWith("http:"));
      const { seen, output } = await sent(way, urls.map(([url]) => [url, {}]), setting);
      assert.deepEqual(seen.map((headers, index) => [urls[index][0], oursIn(headers)]), urls.map(([url, is]) => [url, is ? OURS : []]));
      assert.equal(output, "");
    });
  }
}

test("the setting alone, with the hosts that are reached by https", () => {
  const { destinations } = createRequire(import.meta.url)(path.join(process.env.OTEL_XRAY_NODE_AGENT, "propagation.js"));
  for (const { setting, told, not_told } of cases.destinations) {
    const { has } = destinations(setting ?? "", assert.fail);
    const is = (url) => {
      const { hostname, port, protocol } = new URL(url);
      return has(hostname, Number(port) || (protocol === "https:" ? 443 : 80));
    };
    for (const url of told) assert.equal(is(url), true, `${setting}: ${url}`);
    for (const url of not_told) assert.equal(is(url), false, `${setting}: ${url}`);
  }
});

for (const { setting, names } of cases.nonsense) {
  test(`OTEL_XRAY_PROPAGATE=${setting} is one line and the default`, async () => {
    const { seen, output } = await sent("http", [["http://evil.test/", {}], ["http://api.example.com/", {}]], setting);
    assert.deepEqual(seen.map(oursIn), [OURS, OURS]);
    assert.equal(
      output,
      `[otel-xray] WARN: OTEL_XRAY_PROPAGATE: "${names}" is not understood: set it to \`all\`, \`none\`, or hosts such as \`*.example.com\`, comma separated; using the default (all)\n`,
    );
  });
}

for (const way of WAYS) {
  test(`what the user has set or signed stays, over ${way}`, async () => {
    const { seen } = await sent(way, cases.requests.map(({ path: at, headers }) => [`http://api.example.com${at}`, headers]), null);
    for (const [index, { about, headers, added }] of cases.requests.entries()) {
      const own = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
      for (const [name, value] of Object.entries(own)) assert.equal(seen[index][name], value, about);
      assert.deepEqual(oursIn(seen[index]).filter((name) => own[name] === undefined), added, about);
    }
  });
}

const S3 = 'const { S3Client, GetObjectCommand } = require("@aws-sdk/client-s3"); const options = { region: "eu-west-1", endpoint: process.env.AWS_URL, forcePathStyle: true };';
const WAYS_TO_AWS = {
  "SDK 3": `${S3} const s3 = new S3Client(options);
    const own = (next) => (args) => { args.request.headers["x-amzn-trace-id"] = "mine"; return next(args); };
    if (process.env.OWN) s3.middlewareStack.add(own, { step: "build" });
    exports.handler = () => s3.send(new GetObjectCommand({ Bucket: "orders", Key: "o-1" })).then(() => 1);`,
  "SDK 2": `process.env.AWS_SDK_JS_SUPPRESS_MAINTENANCE_MODE_MESSAGE = "1"; const AWS = require("aws-sdk");
    const s3 = new AWS.S3({ endpoint: process.env.AWS_URL, s3ForcePathStyle: true, region: "eu-west-1", signatureVersion: "v4" });
    exports.handler = () => { const request = s3.getObject({ Bucket: "orders", Key: "o-1" });
      if (process.env.OWN) request.on("build", () => { request.httpRequest.headers["X-Amzn-Trace-Id"] = "mine"; });
      return request.promise().then(() => 1); };`,
};

for (const [sdk, source] of Object.entries(WAYS_TO_AWS)) {
  for (const [variables, expected] of [
    [{ OTEL_XRAY_PROPAGATE: "all" }, (span) => `Parent=${span.spanId};`],
    [{ OTEL_XRAY_PROPAGATE: "127.0.0.1" }, (span) => `Parent=${span.spanId};`],
    [{ OWN: "1" }, () => "mine"],
    // What the SDK itself has copied of Lambda's header is not ours to take away.
    [{ OTEL_XRAY_PROPAGATE: "none" }, () => `Parent=${PARENT};`],
    [{ OTEL_XRAY_PROPAGATE: "*.amazonaws.com" }, () => `Parent=${PARENT};`],
  ])
    test(`${sdk} is told of the call in front of the signature, and is one call: ${JSON.stringify(variables)}`, () =>
      withServer((address, seen) =>
        withFunction(source, { variables: { AWS_URL: `http://${address}`, ...variables } }, async (run) => {
          assert.equal((await run.invoke()).body, "1");
          await run.frames.done(1);
          assert.deepEqual(run.frames.ended.map(({ name }) => name), ["S3.GetObject", "app.handler"]);
          assert.equal(seen.length, 1);
          assert.ok(seen[0]["x-amzn-trace-id"].includes(expected(run.frames.named("S3.GetObject"))), seen[0]["x-amzn-trace-id"]);
          assert.equal(seen[0].traceparent, undefined);
        }),
      ));
}

const SIGNED_BY_SDK = `
  const seen = []; const { SignatureV4 } = require("@smithy/signature-v4"); const { createHash, createHmac } = require("node:crypto");
  class Sha256 { constructor(key) { this.hash = key === undefined ? createHash("sha256") : createHmac("sha256", key); } update(data) { this.hash.update(data); } async digest() { return new Uint8Array(this.hash.digest()); } }
  const signer = new SignatureV4({ service: "s3", region: "eu-west-1", sha256: Sha256, credentials: { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "secret" } });
  const http = require("node:http"); const { hostname, port, host } = new URL(process.env.AWS_URL);
  exports.handler = async ({ more }) => {
    const request = { method: "GET", protocol: "http:", hostname, port: Number(port), path: "/o", query: {}, headers: { host, ...more, "X-Amzn-Trace-Id": process.env._X_AMZN_TRACE_ID } };
    const signed = await signer.sign(request);
    if (more.all) signed.headers.authorization = signed.headers.authorization.replace("SignedHeaders=", "SignedHeaders=x-amzn-trace-id;");
    await new Promise((go) => http.get({ hostname, port, path: "/o", headers: signed.headers }, (res) => res.resume().on("end", go)));
    return signed.headers; };`;

test("a bundled SDK's copy of Lambda's header is put right, and nothing that is signed is changed", () =>
  withServer((address, seen) =>
    withFunction(SIGNED_BY_SDK, { variables: { AWS_URL: `http://${address}` } }, async (run) => {
      for (const more of [{}, { traceparent: "signed" }, { all: "1" }]) {
        const signed = JSON.parse((await run.invoke({ more })).body);
        const { "x-amzn-trace-id": header, connection, ...arrived } = seen.at(-1);
        const { "X-Amzn-Trace-Id": copy, ...before } = Object.fromEntries(Object.entries(signed));
        assert.deepEqual(arrived, before);
        assert.equal(copy, HEADER);
        const span = run.frames.ended.filter(({ kind }) => kind === 3).at(-1);
        assert.equal(header, more.all === undefined ? HEADER.replace(PARENT, span.spanId) : HEADER);
      }
    }),
  ));

for (const [setting, told] of [["none", []], ["*.example.com", OURS]])
  test(`messages are told of the trace unless nobody is: ${setting}`, async () => {
    const broker = await rabbitmq();
    const source = `const amqp = require("amqplib");
      exports.handler = async ({ port }) => {
        const connection = await amqp.connect("amqp://127.0.0.1:" + port), channel = await connection.createChannel();
        await channel.assertQueue("orders");
        channel.sendToQueue("orders", Buffer.from("a"), { headers: { mine: "1" } });
        const headers = await new Promise((go) => channel.consume("orders", (message) => go(message.properties.headers)));
        await connection.close();
        return Object.keys(headers).map((name) => name.toLowerCase()).sort(); };`;
    try {
      await withFunction(source, { variables: { OTEL_XRAY_PROPAGATE: setting } }, async (run) => {
        assert.deepEqual(JSON.parse((await run.invoke({ port: broker.port })).body), ["mine", ...told].sort());
        await run.frames.done(1);
        assert.equal(run.frames.ended.filter(({ kind }) => kind === 4).length, 1);
      });
    } finally {
      broker.close();
    }
  });

assert.ok(fs.existsSync(modules), "run tests/nodejs/every_version.sh");
