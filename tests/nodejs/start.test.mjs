// What a cold start reads and compiles. Counts, because times differ from machine to machine.

import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import test from "node:test";
import { listen, withFunction } from "./stage/function.mjs";

/** Answers with the agent's files that have been read by then. */
const FILES = `Object.keys(require.cache).filter((file) => file.includes("/otel-xray/nodejs/")).map((file) => file.split("/").pop()).sort()`;

const HANDLERS = [
  ["does nothing", `exports.handler = async () => ${FILES};`, ["main.js"]],
  ["catches an error", `exports.handler = async () => { try { throw new Error("mine"); } catch { return ${FILES}; } };`, ["main.js"]],
  [
    "calls AWS",
    `const { S3Client, GetObjectCommand } = require("@aws-sdk/client-s3");
     exports.handler = async ({ url }) => {
       const s3 = new S3Client({ region: "eu-west-1", endpoint: url, forcePathStyle: true, credentials: { accessKeyId: "a", secretAccessKey: "b" } });
       await (await s3.send(new GetObjectCommand({ Bucket: "b", Key: "k" }))).Body.transformToString();
       return ${FILES};
     };`,
    ["aws_sdk_v3.js", "main.js", "packages.js", "recorder.js"],
  ],
];

for (const [what, source, files] of HANDLERS)
  test(`a function that ${what} reads ${files}`, async () => {
    const { address, close } = await listen((request, response) => response.end("content"));
    try {
      await withFunction(source, {}, async (run) => assert.deepEqual(JSON.parse((await run.invoke({ url: `http://${address}` })).body), files));
    } finally {
      close();
    }
  });

test("what main.js declares is compiled with it", () => {
  const text = fs.readFileSync(path.join(process.env.OTEL_XRAY_NODE_AGENT, "main.js"), "utf8");
  assert.match(text, /^"use strict";var \w+=\(function/);
  assert.ok(text.split("=(function(").length > 40);
  assert.doesNotMatch(text, /[;}]function \w+\(/);
});
