// AWS calls: SDK 3 and 2, installed and inside a bundle.

import assert from "node:assert/strict";
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import test from "node:test";
import { TRACE, listen, major, modules, withFunction } from "./stage/function.mjs";

const require = createRequire(path.join(modules, "x.js"));
// The SDK that is installed wants Node.js 20.
const skip = major < 20 && "the AWS SDK does not start on this version";

/** S3, DynamoDB and SQS as far as the functions below go. */
async function withAws(use) {
  const seen = [];
  const { address, close } = await listen((request, response) => {
    const pieces = [];
    request.on("data", (piece) => pieces.push(piece));
    request.on("end", () => {
      const target = request.headers["x-amz-target"] ?? "";
      seen.push({ url: request.url, target, headers: request.headers });
      const headers = { "x-amzn-requestid": "REQUEST", "content-type": "application/x-amz-json-1.0" };
      if (target.endsWith("GetItem")) response.writeHead(200, headers).end('{"Item":{"id":{"S":"1"}}}');
      else if (target.endsWith("Query"))
        response
          .writeHead(400, { ...headers, "x-amzn-errortype": "ValidationException" })
          .end('{"__type":"com.amazonaws.dynamodb.v20120810#ValidationException","message":"wrong"}');
      else if (/(?:Put|Write)Item$/.test(target)) response.writeHead(200, headers).end("{}");
      else if (request.method === "DELETE") response.writeHead(204).end();
      else if (request.url.endsWith("?uploads")) response.writeHead(200).end("<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>");
      else if (request.url.includes("partNumber=")) response.writeHead(200, { etag: '"part"' }).end();
      else if (request.url.endsWith("?uploadId=u")) response.writeHead(200).end("<CompleteMultipartUploadResult/>");
      else if (target.endsWith("SendMessage")) response.writeHead(200, headers).end('{"MessageId":"m","MD5OfMessageBody":""}');
      else response.writeHead(200, { "x-amz-request-id": "S3REQUEST", "x-amz-id-2": "S3ID" }).end("content");
    });
  });
  try {
    return await use(`http://${address}`, seen);
  } finally {
    close();
  }
}

const V3 = `
  const s3 = new S3Client({ region: "eu-west-1", endpoint: process.env.AWS_URL, forcePathStyle: true });
  const dynamodb = new DynamoDBClient({ region: "eu-west-1", endpoint: process.env.AWS_URL });
  const handler = async () => {
    const got = await s3.send(new GetObjectCommand({ Bucket: "orders", Key: "order/42.json" }));
    const body = await got.Body.transformToString();
    const { Item } = await dynamodb.send(new GetItemCommand({ TableName: "stock", Key: { id: { S: "1" } } }));
    const failed = await dynamodb.send(new QueryCommand({ TableName: "stock" })).catch((error) => error.name);
    const callback = await new Promise((go) => dynamodb.send(new GetItemCommand({ TableName: "stock", Key: {} }), (error, data) => go(data.Item.id.S)));
    return { body, id: Item.id.S, failed, callback };
  };`;
const IMPORTS = `import { S3Client, GetObjectCommand } from "@aws-sdk/client-s3";
  import { DynamoDBClient, GetItemCommand, QueryCommand } from "@aws-sdk/client-dynamodb";`;
const REQUIRES = `const { S3Client, GetObjectCommand } = require("@aws-sdk/client-s3");
  const { DynamoDBClient, GetItemCommand, QueryCommand } = require("@aws-sdk/client-dynamodb");`;

const FORMS = {
  "CommonJS": { "app.js": `${REQUIRES} ${V3} exports.handler = handler;` },
  "ES module": { "app.mjs": `${IMPORTS} ${V3} export { handler };` },
};

for (const [name, sources] of Object.entries(FORMS)) {
  test(`SDK 3, ${name}: one span for each command`, { skip }, () =>
    withAws((url, seen) =>
      withFunction(sources, { variables: { AWS_URL: url, _X_AMZN_TRACE_ID: "wrong" } }, async (run) => {
        const answer = await run.invoke();
        assert.deepEqual(JSON.parse(answer.body), { body: "content", id: "1", failed: "ValidationException", callback: "1" });
        await run.frames.done(1);
        const names = run.frames.ended.map((span) => span.name);
        assert.deepEqual(names, ["S3.GetObject", "DynamoDB.GetItem", "DynamoDB.Query", "DynamoDB.GetItem", "app.handler"]);
        const [get, item, query] = run.frames.ended;
        const root = run.frames.named("app.handler");
        for (const span of [get, item, query]) {
          assert.equal(span.parentId, root.spanId);
          assert.equal(span.kind, 3);
          assert.equal(span.attributes["rpc.system"], "aws-api");
          assert.equal(span.attributes["cloud.region"], "eu-west-1");
        }
        assert.equal(get.attributes["rpc.method"], "GetObject");
        assert.equal(get.attributes["aws.s3.bucket"], "orders");
        assert.equal(get.attributes["aws.s3.key"], "order/42.json");
        assert.equal(get.attributes["aws.request_id"], "S3REQUEST");
        assert.equal(get.attributes["http.response.status_code"], 200);
        assert.deepEqual(item.attributes["aws.dynamodb.table_names"], ["stock"]);
        assert.equal(item.attributes["aws.request_id"], "REQUEST");
        assert.equal(query.status, 2);
        assert.equal(query.attributes["aws.error.code"], "ValidationException");
        assert.equal(query.attributes["http.response.status_code"], 400);
        assert.equal(query.events[0].attributes["exception.type"], "ValidationException");
        assert.equal(seen.length, 4);
        assert.match(seen[0].headers["x-amzn-trace-id"], new RegExp(`Parent=${get.spanId};Sampled=1`), "A-20");
        assert.doesNotMatch(seen[0].headers.authorization, /traceparent|x-amzn-trace-id/);
      }),
    ));
}

const OVER_FETCH = `
  const { HttpResponse } = require("@smithy/core/protocols");
  // The first attempt fails, and so does the header that names it.
  let attempts = 0;
  const requestHandler = { metadata: { handlerProtocol: "http/1.1" }, async handle(request) {
    attempts++;
    const { host, ...headers } = request.headers;
    const answer = await fetch(process.env.AWS_URL + request.path, { method: request.method, headers, body: request.body });
    return { response: new HttpResponse({ statusCode: attempts === 1 ? 500 : answer.status, headers: Object.fromEntries(answer.headers), body: new Uint8Array(await answer.arrayBuffer()) }) };
  } };`;

test("SDK 3: every attempt names its call, over whatever it is sent, and none is a call of its own", { skip }, () =>
  withAws((url, seen) =>
    withFunction(
      `${REQUIRES} ${OVER_FETCH}
       const dynamodb = new DynamoDBClient({ region: "eu-west-1", endpoint: process.env.AWS_URL, requestHandler });
       exports.handler = async () => {
         const { Item } = await dynamodb.send(new GetItemCommand({ TableName: "stock", Key: { id: { S: "1" } } }));
         await fetch(process.env.AWS_URL + "/own");
         return Item.id.S;
       };`,
      { variables: { AWS_URL: url, _X_AMZN_TRACE_ID: "wrong" } },
      async (run) => {
        assert.equal((await run.invoke()).body, '"1"');
        await run.frames.done(1);
        assert.deepEqual(run.frames.ended.map(({ name }) => name), ["DynamoDB.GetItem", "GET", "app.handler"]);
        const [call, own] = run.frames.ended;
        const parents = seen.map(({ headers }) => headers["x-amzn-trace-id"]?.match(/Parent=(\w+)/)?.[1]);
        assert.deepEqual(parents, [call.spanId, call.spanId, own.spanId]);
        assert.equal(call.attributes["http.request.resend_count"], 1);
        // It would have to be signed.
        assert.deepEqual(seen.map(({ headers }) => headers.traceparent?.split("-")[1]), [undefined, undefined, TRACE]);
      },
    ),
  ),
);

test("SDK 3 that keeps its first call's middleware: one span for each command, and each names itself", { skip }, () =>
  withAws((url, seen) =>
    withFunction(
      `${REQUIRES}
       const options = { region: "eu-west-1", endpoint: process.env.AWS_URL, forcePathStyle: true, cacheMiddleware: true };
       const [early, s3] = [new S3Client(options), new S3Client(options)];
       const get = async (client) => void (await (await client.send(new GetObjectCommand({ Bucket: "orders", Key: "a" }))).Body.transformToString());
       const loaded = get(early);
       exports.handler = async () => {
         await loaded;
         for (let round = 0; round < 3; round++) await get(s3);
         await Promise.all([get(s3), get(s3)]);
         await new Promise((go) => s3.send(new GetObjectCommand({ Bucket: "orders", Key: "a" }), go));
         await get(early);
       };`,
      { variables: { AWS_URL: url } },
      async (run) => {
        assert.equal((await run.invoke()).kind, "response");
        await run.frames.done(1);
        const calls = run.frames.ended.filter(({ name }) => name !== "app.handler");
        assert.deepEqual(calls.map(({ name }) => name), Array(7).fill("S3.GetObject"));
        assert.ok(calls.every(({ parentId }) => parentId === run.frames.named("app.handler").spanId));
        const parents = seen.slice(1).map(({ headers }) => headers["x-amzn-trace-id"]?.match(/Parent=(\w+)/)?.[1]);
        // The middleware of the last client's first call is from before the first invocation: its request is known by its context.
        assert.deepEqual(parents.slice(0, 6).sort(), calls.slice(0, 6).map(({ spanId }) => spanId).sort());
      },
    ),
  ),
);

test("SDK 3's DocumentClient: the operations are the service's", { skip }, () =>
  withAws((url) =>
    withFunction(
      `const { DynamoDBClient, GetItemCommand } = require("@aws-sdk/client-dynamodb");
       const { DynamoDBDocumentClient, PutCommand, GetCommand, BatchWriteCommand, QueryCommand } = require("@aws-sdk/lib-dynamodb");
       const doc = DynamoDBDocumentClient.from(new DynamoDBClient({ region: "eu-west-1", endpoint: process.env.AWS_URL }));
       exports.handler = async () => {
         await doc.send(new PutCommand({ TableName: "stock", Item: { id: "1" } }));
         const { Item } = await doc.send(new GetCommand({ TableName: "stock", Key: { id: "1" } }));
         await doc.send(new BatchWriteCommand({ RequestItems: { stock: [{ PutRequest: { Item: { id: "2" } } }] } }));
         await doc.send(new QueryCommand({ TableName: "stock" })).catch(() => undefined);
         await doc.send(new GetItemCommand({ TableName: "stock", Key: { id: { S: "1" } } }));
         return Item.id;
       };`,
      { variables: { AWS_URL: url } },
      async (run) => {
        assert.equal((await run.invoke()).body, '"1"');
        await run.frames.done(1);
        const calls = run.frames.ended.slice(0, -1);
        assert.deepEqual(
          calls.map(({ attributes }) => attributes["rpc.method"]),
          ["PutItem", "GetItem", "BatchWriteItem", "Query", "GetItem"],
        );
        assert.ok(calls.every(({ attributes }) => attributes["aws.dynamodb.table_names"][0] === "stock"));
      },
    ),
  ),
);

for (const minify of [false, true]) {
  for (const format of ["cjs", "esm"]) {
    test(`SDK 3 inside of a ${minify ? "minified " : ""}bundle (${format}) is recognised by its requests`, { skip }, () =>
      withAws(async (url, seen) => {
        const esbuild = require("esbuild");
        const built = await esbuild.build({
          stdin: { contents: `${IMPORTS} ${V3} export { handler };`, resolveDir: path.dirname(modules) },
          bundle: true,
          platform: "node",
          format,
          minify,
          write: false,
          banner: format === "esm" ? { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" } : {},
        });
        const sources = { [format === "esm" ? "app.mjs" : "app.js"]: built.outputFiles[0].text };
        await withFunction(sources, { packages: false, variables: { AWS_URL: url } }, async (run) => {
          const answer = await run.invoke();
          assert.equal(JSON.parse(answer.body).body, "content");
          await run.frames.done(1);
          const names = run.frames.ended.map((span) => span.name);
          assert.deepEqual(names, ["S3.GetObject", "DynamoDB.GetItem", "DynamoDB.Query", "DynamoDB.GetItem", "app.handler"]);
          const [get, , query] = run.frames.ended;
          assert.equal(get.attributes["rpc.service"], "S3");
          assert.equal(get.attributes["cloud.region"], "eu-west-1");
          assert.equal(get.attributes["aws.s3.bucket"], "orders");
          assert.equal(get.attributes["aws.request_id"], "S3REQUEST");
          assert.equal(query.attributes["aws.error.code"], "ValidationException");
          assert.match(seen[0].headers["x-amzn-trace-id"], new RegExp(`Root=1-${TRACE.slice(0, 8)}-.*Parent=${get.spanId}`));
        });
      }));
  }
}

test("SDK 2: promises, callbacks and errors", () =>
  withAws((url, seen) =>
    withFunction(
      `process.env.AWS_SDK_JS_SUPPRESS_MAINTENANCE_MODE_MESSAGE = "1"; const AWS = require("aws-sdk");
       const s3 = new AWS.S3({ endpoint: process.env.AWS_URL, s3ForcePathStyle: true, region: "eu-west-1" });
       const dynamodb = new AWS.DynamoDB({ endpoint: process.env.AWS_URL, region: "eu-west-1", maxRetries: 0 });
       exports.handler = async () => {
         const { Body } = await s3.getObject({ Bucket: "orders", Key: "order/42.json" }).promise();
         const failed = await dynamodb.query({ TableName: "stock" }).promise().catch((error) => error.code);
         const item = await new Promise((go) => dynamodb.getItem({ TableName: "stock", Key: { id: { S: "1" } } }, (error, data) => go(data.Item.id.S)));
         const signed = s3.getSignedUrl("getObject", { Bucket: "orders", Key: "a" }).includes("Signature=");
         return { body: Body.toString(), failed, item, signed };
       };`,
      { variables: { AWS_URL: url } },
      async (run) => {
        assert.deepEqual(JSON.parse((await run.invoke()).body), { body: "content", failed: "ValidationException", item: "1", signed: true });
        await run.frames.done(1);
        const names = run.frames.ended.map((span) => span.name);
        assert.deepEqual(names, ["S3.GetObject", "DynamoDB.Query", "DynamoDB.GetItem", "app.handler"]);
        const [get, query] = run.frames.ended;
        assert.equal(get.attributes["aws.s3.bucket"], "orders");
        assert.equal(get.attributes["aws.request_id"], "S3REQUEST");
        assert.equal(get.attributes["aws.extended_request_id"], "S3ID");
        assert.equal(query.attributes["aws.error.code"], "ValidationException");
        assert.equal(query.status, 2);
        assert.match(seen[0].headers["x-amzn-trace-id"], new RegExp(`Parent=${get.spanId}`));
      },
    ),
  ));

test("SDK 2: every part of an upload is a call of its own, with its own id", () =>
  withAws((url, seen) =>
    withFunction(
      `process.env.AWS_SDK_JS_SUPPRESS_MAINTENANCE_MODE_MESSAGE = "1"; const AWS = require("aws-sdk");
       const s3 = new AWS.S3({ endpoint: process.env.AWS_URL, s3ForcePathStyle: true, region: "eu-west-1" });
       exports.handler = async () => {
         await s3.upload({ Bucket: "orders", Key: "big", Body: Buffer.alloc(11_000_000) }).promise();
         await new Promise((go) => s3.deleteObject({ Bucket: "orders", Key: "old" }).on("success", () => s3.headBucket({ Bucket: "orders" }, go)).send());
       };`,
      { variables: { AWS_URL: url } },
      async (run) => {
        assert.equal((await run.invoke()).kind, "response");
        await run.frames.done(1);
        const calls = run.frames.ended.filter(({ name }) => name !== "app.handler");
        const names = ["S3.CompleteMultipartUpload", "S3.CreateMultipartUpload", "S3.DeleteObject", "S3.HeadBucket", "S3.UploadPart", "S3.UploadPart", "S3.UploadPart"];
        assert.deepEqual(calls.map(({ name }) => name).sort(), names);
        assert.ok(calls.every(({ parentId, status }) => parentId === run.frames.named("app.handler").spanId && status !== 2));
        const parents = seen.map(({ headers }) => headers["x-amzn-trace-id"].match(/Parent=(\w+)/)[1]);
        assert.deepEqual(parents.sort(), calls.map(({ spanId }) => spanId).sort());
      },
    ),
  ));

assert.ok(fs.existsSync(modules), "run tests/nodejs/every_version.sh");
