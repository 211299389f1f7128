// AWS SDK 3 over its versions, each with the dependencies that npm gives it today: which of them has the client's class, and which
// hands it on, changes without a new version of the SDK.

import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import test from "node:test";
import { listen, version as nodeVersion, withFunction } from "./stage/function.mjs";

const packages = path.join(process.env.OTEL_XRAY_NODE_FRESH, "node_modules");
const clients = fs.readdirSync(packages).filter((name) => name.startsWith("client-"));
assert.ok(clients.length >= 9, "run layer-build/tools.sh node-fresh");

const newer = (wanted) => {
  const numbers = (text) => text.split(".").map(Number);
  const [major = 0, minor = 0] = numbers(/\d+(?:\.\d+)?/.exec(wanted)?.[0] ?? "0");
  const [isMajor, isMinor] = numbers(nodeVersion);
  return major > isMajor || (major === isMajor && minor > isMinor);
};

/** The highest Node.js that the client or one of its own dependencies asks for. */
function wants(client) {
  const engines = [client, "@smithy/core", "@smithy/smithy-client"].map(
    (name) => JSON.parse(fs.readFileSync(path.join(packages, name, "package.json"), "utf8")).engines?.node ?? "",
  );
  return engines.find(newer);
}

for (const client of clients) {
  const wanted = wants(client);
  for (const cacheMiddleware of [false, true]) {
    const what = cacheMiddleware ? " that keeps its middleware" : "";
    test(`${client}${what}: one span for each call, with its id in the request`, { skip: wanted && `it wants Node.js ${wanted}` }, async () => {
      const seen = [];
      const server = await listen((request, response) => {
        seen.push(/Parent=(\w+)/.exec(request.headers["x-amzn-trace-id"])?.[1]);
        request.resume();
        response.writeHead(200, { "content-type": "application/x-amz-json-1.0" }).end('{"Item":{"id":{"S":"1"}}}');
      });
      const source = `
        const { DynamoDBClient, GetItemCommand } = require("${client}");
        const dynamodb = new DynamoDBClient({ region: "eu-west-1", endpoint: process.env.AWS_URL, cacheMiddleware: ${cacheMiddleware} });
        const get = () => dynamodb.send(new GetItemCommand({ TableName: "stock", Key: { id: { S: "1" } } }));
        exports.handler = async () => [await get(), ...(await Promise.all([get(), get()]))].map(({ Item }) => Item.id.S).join("");`;
      try {
        await withFunction(source, { packages, variables: { AWS_URL: `http://${server.address}` } }, async (run) => {
          assert.equal((await run.invoke()).body, '"111"');
          await run.frames.done(1);
          const calls = run.frames.ended.filter(({ name }) => name !== "app.handler");
          assert.deepEqual(calls.map(({ name }) => name), Array(3).fill("DynamoDB.GetItem"));
          assert.deepEqual(seen.sort(), calls.map(({ spanId }) => spanId).sort());
        });
      } finally {
        server.close();
      }
    });
  }
}
