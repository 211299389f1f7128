// Calls of language models say which model it is, and the tokens that it has read and written: whole answers, compressed ones and streams.

import assert from "node:assert/strict";
import http2 from "node:http2";
import test from "node:test";
import zlib from "node:zlib";
import { bundle } from "./stage/bundle.mjs";
import { listen, major, withFunction } from "./stage/function.mjs";

const FALSE = '{\\"usage\\":{\\"input_tokens\\":99,\\"prompt_tokens\\":99}}';
const long = "x".repeat(90_000);
const sse = (...events) => events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join("");
/** path -> what the server answers, then what the span says: model asked for, model of the answer, tokens in and out */
const ANSWERS = {
  "/v1/chat/completions": [`{"id":"c","model":"gpt-x-1","choices":[{"message":{"content":"${long}${FALSE}"}}],"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18,"prompt_tokens_details":{"cached_tokens":0}}}`, "openai", "gpt-x-1", [11, 7]],
  "/v1/responses": [sse({ type: "response.created", response: { model: "gpt-x-2" } }, { delta: long }, { type: "response.completed", response: { model: "gpt-x-2", usage: { input_tokens: 5, input_tokens_details: { cached_tokens: 1 }, output_tokens: 6 } } }), "openai", "gpt-x-2", [5, 6]],
  "/v1/embeddings": [`{"data":[{"embedding":[${"0.125,".repeat(20_000)}1]}],"model":"embed-1","usage":{"prompt_tokens":8,"total_tokens":8}}`, "openai", "embed-1", [8, undefined]],
  "/v1/messages": [sse({ type: "message_start", message: { model: "claude-x", usage: { input_tokens: 21, output_tokens: 1 } } }, { delta: { text: FALSE + long } }, { type: "message_delta", usage: { output_tokens: 42 } }), "anthropic", "claude-x", [21, 42]],
};
const ENCODERS = { gzip: zlib.gzipSync, br: zlib.brotliCompressSync, "": Buffer.from };

const answering = (request, response) => {
  const [, path, encoding] = /^(\/v1\/[a-z/]+)\??(.*)$/.exec(request.url) ?? [];
  const [answer = '{"usage":{"prompt_tokens":1}}'] = ANSWERS[path] ?? [];
  const body = ENCODERS[encoding ?? ""](answer);
  request.resume().on("end", () => {
    response.writeHead(200, { "content-type": "application/json", ...(encoding && { "content-encoding": encoding }) });
    // In pieces, as it comes from far away, the first of them with the head.
    response.write(body.subarray(0, 40));
    setTimeout(() => response.end(body.subarray(40)), 5);
  });
};

const BY = {
  fetch: `const ask = async (path, headers) => (await fetch(url + path, { method: "POST", headers, body })).text();`,
  http: `const ask = (path, headers) => new Promise((resolve, reject) => {
    const request = http.request(url + path, { method: "POST", headers }, (answer) => { const pieces = []; answer.on("data", (piece) => pieces.push(piece)).on("end", () => resolve(Buffer.concat(pieces).toString("latin1"))); });
    request.on("error", reject).end(body);
  });`,
};

for (const [by, ask] of Object.entries(BY))
  test(`by ${by}: the model, and the tokens at the end of its answer`, async () => {
    const server = await listen(answering);
    const source = `const http = require("node:http");
      exports.handler = async ({ url, asked }) => { const body = JSON.stringify({ model: "asked-for", messages: ["m".repeat(3000)] }); ${ask}
        const sizes = []; for (const [path, headers] of asked) sizes.push((await ask(path, { "content-type": "application/json", ...headers })).length); return sizes; };`;
    const stainless = { "x-stainless-lang": "js" };
    const asked = Object.keys(ANSWERS).flatMap((path) => Object.keys(ENCODERS).map((encoding) => [`${path}?${encoding}`, path.endsWith("messages") ? { "anthropic-version": "2023-06-01" } : stainless]));
    try {
      await withFunction(source, {}, async (run) => {
        const others = [["/v1/messages", {}], ["/v1/responses", {}], ["/orders", stainless]];
        const sizes = JSON.parse((await run.invoke({ url: `http://${server.address}`, asked: [...asked, ...others] })).body);
        if (by === "fetch") assert.deepEqual(sizes.slice(0, 3), Array(3).fill(ANSWERS["/v1/chat/completions"][0].length));
        await run.frames.done(1);
        const calls = run.frames.ended.filter(({ name }) => name === "POST").map(({ attributes: a }) => [
          a["url.full"].replace(/^.*:\d+/, ""), a["gen_ai.provider.name"], a["gen_ai.request.model"], a["gen_ai.response.model"], [a["gen_ai.usage.input_tokens"], a["gen_ai.usage.output_tokens"]],
        ]);
        const expected = asked.map(([path]) => {
          const [, provider, model, tokens] = ANSWERS[path.split("?")[0]];
          return [path, provider, "asked-for", model, tokens];
        });
        const normal = (rows) => rows.map(([path, ...rest]) => [path.replace(/\?$/, ""), ...rest]);
        assert.deepEqual(normal(calls), normal([...expected, ...others.map(([path]) => [path, undefined, undefined, undefined, [undefined, undefined]])]));
      });
    } finally {
      server.close();
    }
  });

/** A message of AWS's event streams. */
function event(type, payload) {
  const headers = Object.entries({ ":message-type": "event", ":event-type": type, ":content-type": "application/json" }).map(([name, value]) => {
    const size = Buffer.alloc(2);
    size.writeUInt16BE(value.length);
    return Buffer.concat([Buffer.of(name.length), Buffer.from(name), Buffer.of(7), size, Buffer.from(value)]);
  });
  const head = Buffer.concat(headers);
  const body = Buffer.from(JSON.stringify(payload));
  const prelude = Buffer.alloc(12);
  prelude.writeUInt32BE(head.length + body.length + 16, 0);
  prelude.writeUInt32BE(head.length, 4);
  prelude.writeUInt32BE(zlib.crc32(prelude.subarray(0, 8)), 8);
  const message = Buffer.concat([prelude, head, body]);
  const end = Buffer.alloc(4);
  end.writeUInt32BE(zlib.crc32(message));
  return Buffer.concat([message, end]);
}
const inBytes = (value) => ({ bytes: Buffer.from(JSON.stringify(value)).toString("base64") });
const STREAMS = {
  "converse-stream": [event("messageStart", { role: "assistant" }), event("contentBlockDelta", { delta: { text: FALSE }, contentBlockIndex: 0 }), event("metadata", { usage: { inputTokens: 31, outputTokens: 32, totalTokens: 63 }, metrics: { latencyMs: 1 } })],
  "invoke-with-response-stream": [event("chunk", inBytes({ delta: FALSE })), event("chunk", inBytes({ stop: 1, "amazon-bedrock-invocationMetrics": { inputTokenCount: 41, outputTokenCount: 42 } }))],
  converse: [Buffer.from('{"output":{"message":{"role":"assistant","content":[{"text":"hi"}]}},"stopReason":"end_turn","usage":{"inputTokens":51,"outputTokens":52,"totalTokens":103}}')],
};

const MODEL = (handler) => `import { BedrockRuntimeClient, ConverseCommand, ConverseStreamCommand, InvokeModelWithResponseStreamCommand } from "@aws-sdk/client-bedrock-runtime";
  import { NodeHttpHandler } from "@smithy/node-http-handler";
  const client = new BedrockRuntimeClient({ region: "eu-west-1", endpoint: process.env.AWS_URL, maxAttempts: 1${handler} });
  export const handler = async ({ leaves }) => {
    const messages = [{ role: "user", content: [{ text: "hello" }] }];
    let count = 0;
    const { stream } = await client.send(new ConverseStreamCommand({ modelId: "m", messages }));
    for await (const one of stream) { count++; if (leaves) break; }
    const { body } = await client.send(new InvokeModelWithResponseStreamCommand({ modelId: "m", contentType: "application/json", body: "{}" }));
    for await (const one of body) count++;
    await client.send(new ConverseCommand({ modelId: "m", messages }));
    return count; };`;

async function serving(isHttp2, traces) {
  const respond = (path, response) => {
    const pieces = STREAMS[path.split("/").pop()];
    response.writeHead(200, { "content-type": path.endsWith("stream") ? "application/vnd.amazon.eventstream" : "application/json" });
    pieces.forEach((piece, index) => setTimeout(() => response.write(piece), 5 * index));
    setTimeout(() => response.end(), 5 * pieces.length);
  };
  const onRequest = (request, response) => (traces.push(request.headers["x-amzn-trace-id"]), request.resume()).on("end", () => respond(request.url, response));
  if (!isHttp2) return listen(onRequest);
  const server = http2.createServer(onRequest);
  const sessions = new Set();
  server.on("session", (session) => sessions.add(session));
  await new Promise((go) => server.listen(0, "127.0.0.1", go));
  return { address: `127.0.0.1:${server.address().port}`, close: () => (sessions.forEach((session) => session.destroy()), server.close()) };
}

for (const inside of [false, true])
  for (const isHttp2 of [false, true])
    test(`Bedrock over HTTP/${isHttp2 ? 2 : 1}${inside ? ", inside of a bundle" : ""}: tokens of streams, to the end of what is read of them`, { skip: major < 20 && "the AWS SDK does not start on this version" }, async () => {
      const traces = [];
      const server = await serving(isHttp2, traces);
      const source = MODEL(isHttp2 ? "" : ", requestHandler: new NodeHttpHandler()");
      try {
        const sources = inside ? await bundle(source, {}) : { "app.mjs": source };
        await withFunction(sources, { packages: inside ? false : undefined, variables: { AWS_URL: `http://${server.address}` } }, async (run) => {
          // Inside of a bundle, one that is left goes on until the connection says that it is over.
          for (const [leaves, count, tokens] of [[false, 5, [31, 32]], ...(inside ? [] : [[true, 3, [undefined, undefined]]])]) {
            const before = run.frames.ended.length;
            assert.equal((await run.invoke({ leaves })).body, String(count), run.output());
            await run.frames.done(leaves ? 2 : 1);
            const calls = run.frames.ended.slice(before).filter(({ kind }) => kind === 3);
            // Once, and with its own call as the parent.
            assert.deepEqual(traces.splice(0).map((header) => /^Root=[^,]*;Parent=(\w+)[^,]*$/.exec(header)?.[1]).sort(), calls.map(({ spanId }) => spanId).sort());
            const said = calls.map(({ name, status, attributes: a }) => [name, status, a["gen_ai.request.model"], [a["gen_ai.usage.input_tokens"], a["gen_ai.usage.output_tokens"]]]);
            assert.deepEqual(said.sort(), [
              ["Bedrock Runtime.Converse", 0, "m", [51, 52]],
              ["Bedrock Runtime.ConverseStream", 0, "m", tokens],
              ["Bedrock Runtime.InvokeModelWithResponseStream", 0, "m", [41, 42]],
            ]);
          }
        });
      } finally {
        server.close();
      }
    });
