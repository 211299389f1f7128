// The agent's attributes beside those of OpenTelemetry's own instrumentations for the same calls, one by one.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import test from "node:test";
import * as brokers from "./stage/brokers.mjs";
import * as databases from "./stage/databases.mjs";
import { listen, major, modules, node, withFunction } from "./stage/function.mjs";

const servers = { ...brokers, ...databases };

/** Why the agent does not carry an attribute that the instrumentation carries. */
const LEFT_OUT = {
  "network.transport": "always TCP",
  "net.transport": "always TCP",
  "http.url": "the older name of url.full",
  "http.host": "is in url.full",
  "http.target": "is in url.full",
  "url.path": "is in url.full",
  "url.query": "is in url.full",
  "url.scheme": "is in url.full",
  "url.template": "nothing says what it is",
  "http.method": "the older name of http.request.method",
  "http.status_code": "the older name of http.response.status_code",
  "http.status_text": "follows from the code",
  "http.flavor": "the older name of network.protocol.version",
  "http.user_agent": "the older name of user_agent.original",
  "http.response_content_length_uncompressed": "older convention",
  "http.response.header.content-length": "X-Ray has no field for it",
  "net.peer.name": "the older name of server.address",
  "net.peer.port": "the older name of server.port",
  "net.peer.ip": "the older name of network.peer.address",
  "network.peer.address": "undici does not say it to everybody; it differs from server.address behind a proxy only",
  "network.peer.port": "as network.peer.address",
  "db.system": "the older name of db.system.name",
  "db.name": "the older name of db.namespace",
  "db.statement": "the older name of db.query.text",
  "db.operation": "the older name of db.operation.name",
  "db.mongodb.collection": "the older name of db.collection.name",
  "db.connection_string": "is put together from server.address, server.port and db.namespace",
  "db.query.text": "for MongoDB: nothing of a document is worth the risk",
  "aws.region": "the older name of cloud.region",
  "aws.service.name": "is rpc.service",
  "aws.operation": "is rpc.method",
  "aws.service.identifier": "is rpc.service",
  "aws.signature.version": "says nothing about the call",
  "aws.request.id": "the older name of aws.request_id",
  "aws.request.extended_id": "the older name of aws.extended_request_id",
  "aws.request.attempts": "http.request.resend_count, where there was more than one",
  "cloud.account.id": "not known from a call",
  "http.request.method_original": "undici: the same as http.request.method",
  "network.protocol.version": "undici does not tell it",
  "messaging.destination": "the older name of messaging.destination.name",
  "messaging.destination_kind": "older convention",
  "messaging.operation": "the older name of messaging.operation.type",
  "messaging.protocol": "the older name of network.protocol.name",
  "messaging.protocol_version": "the older name of network.protocol.version",
  "messaging.rabbitmq.routing_key": "the older name of messaging.rabbitmq.destination.routing_key",
  "messaging.message_id": "the older name of messaging.message.id",
  "messaging.conversation_id": "the older name of messaging.message.conversation_id",
  "messaging.url": "is put together from network.protocol.name, server.address and server.port",
  "messaging.kafka.cluster.id": "is the same for every call",
  "hook.name": "is the name of the instrumentation",
};

/** Attributes whose text may be another, and why. */
const OTHERWISE = {
  "url.full": "ports differ from run to run",
  "server.port": "ports differ from run to run",
  "network.peer.port": "ports differ from run to run",
  "db.query.text": "Redis: the instrumentation shows what a command writes",
  "db.operation.name": "Redis: upper case here, as the protocol's documentation has it",
  "graphql.source": "the instrumentation leaves commas out",
  "rpc.method": "the newer convention has the service in it",
  "rpc.system.name": "the newer name of rpc.system",
};

const APP = `const serverless = require("serverless-http");`;
const EVENT = `{ httpMethod: "GET", path: "/items/7", headers: {}, requestContext: {} }`;
const KAFKA = `const { Kafka, logLevel } = require("kafkajs"); const client = (port) => new Kafka({ brokers: ["127.0.0.1:" + port], logLevel: logLevel.NOTHING });
  const send = async (kafka) => { const p = kafka.producer(); await p.connect(); await p.send({ topic: "orders", messages: [{ key: "k", value: "v", partition: 0 }] }); await p.disconnect(); };`;
const AMQP = `const amqp = require("amqplib"); const send = (channel) => channel.publish("", "orders", Buffer.from("a"), { messageId: "m", correlationId: "c" });`;

const GET = `const http = require("http"); const get = (url) => new Promise((go) => http.get(url, (res) => res.resume().on("end", go)));`;

const CASES = {
  http: { source: `${GET} exports.handler = async ({ port }) => { await get("http://localhost:" + port + "/a?b=1"); };`, server: "web", instrumentations: { http: "HttpInstrumentation" } },
  undici: { source: `exports.handler = async ({ port }) => { await (await fetch("http://localhost:" + port + "/a?b=1")).text(); };`, server: "web", instrumentations: { undici: "UndiciInstrumentation" } },
  pg: { source: `const pg = require("pg"); exports.handler = async ({ port }) => { const c = new pg.Client({ host: "localhost", port, user: "u", database: "shop" }); await c.connect(); await c.query("SELECT 1"); await c.end(); };`, server: "postgres", instrumentations: { pg: "PgInstrumentation" } },
  mysql2: { source: `const m = require("mysql2/promise"); exports.handler = async ({ port }) => { const c = await m.createConnection({ host: "127.0.0.1", port, user: "u", database: "shop" }); await c.query("SELECT 1"); c.destroy(); };`, server: "mysql", instrumentations: { mysql2: "MySQL2Instrumentation" } },
  ioredis: { source: `const { Redis } = require("ioredis"); exports.handler = async ({ port }) => { const c = new Redis({ port, host: "127.0.0.1" }); await c.get("key"); c.disconnect(); };`, server: "redis", instrumentations: { ioredis: "IORedisInstrumentation" }, from: 20 },
  redis: { source: `const { createClient } = require("redis"); exports.handler = async ({ port }) => { const c = createClient({ RESP: 2, socket: { port, host: "127.0.0.1" } }); await c.connect(); await c.get("key"); c.destroy(); };`, server: "redis", instrumentations: { redis: "RedisInstrumentation" }, from: 20 },
  mongodb: { source: `const { MongoClient } = require("mongodb"); exports.handler = async ({ port }) => { const c = new MongoClient("mongodb://127.0.0.1:" + port + "/?directConnection=true"); await c.db("shop").collection("orders").find({}).toArray(); await c.close(); };`, server: "mongodb", instrumentations: { mongodb: "MongoDBInstrumentation" }, from: 20 },
  "aws-sdk": { source: `const { S3Client, GetObjectCommand } = require("@aws-sdk/client-s3"); exports.handler = async ({ port }) => { const s3 = new S3Client({ region: "eu-west-1", endpoint: "http://127.0.0.1:" + port, forcePathStyle: true, credentials: { accessKeyId: "a", secretAccessKey: "b" } }); await (await s3.send(new GetObjectCommand({ Bucket: "b", Key: "k" }))).Body.transformToString(); };`, server: "web", instrumentations: { "aws-sdk": "AwsInstrumentation" }, from: 20 },
  mysql: { source: `const m = require("mysql"); exports.handler = async ({ port }) => { const c = m.createConnection({ host: "127.0.0.1", port, user: "u", database: "shop" }); await new Promise((go) => c.query("SELECT 1", go)); c.destroy(); };`, server: "mysql", instrumentations: { mysql: "MySQLInstrumentation" } },
  express: { source: `const express = require("express"); ${APP} const app = express(); app.get("/items/:id", (req, res) => res.send("ok")); const handle = serverless(app); exports.handler = async () => { await handle(${EVENT}, {}); };`, server: "web", kind: 1, span: /^request handler/, instrumentations: { express: "ExpressInstrumentation" } },
  koa: { source: `const Koa = require("koa"), Router = require("@koa/router"); ${APP} const app = new Koa(), router = new Router(); router.get("/items/:id", (ctx) => { ctx.body = "ok"; }); app.use(router.routes()); const handle = serverless(app); exports.handler = async () => { await handle(${EVENT}, {}); };`, server: "web", kind: 1, span: /^router/, instrumentations: { koa: "KoaInstrumentation" }, from: 20 },
  fastify: { source: `const app = require("fastify")(); app.get("/items/:id", async function item() { return "ok"; }); exports.handler = async () => { await app.inject("/items/7"); };`, server: "web", kind: 1, span: /^handler - item/, made: `new (require("@fastify/otel").FastifyOtelInstrumentation)({ registerOnInitialization: true })`, from: 20 },
  graphql: { source: `const { graphql, buildSchema } = require("graphql"); const schema = buildSchema("type Query { item(id: Int, name: String): String }"); exports.handler = async () => { await graphql({ schema, rootValue: { item: () => "ok" }, source: 'query Item { item(id: 7, name: "a") }' }); };`, server: "web", kind: 1, span: /^query Item/, instrumentations: { graphql: "GraphQLInstrumentation" } },
  "kafkajs, sent": { source: `${KAFKA} exports.handler = async ({ port }) => { await send(client(port)); };`, server: "kafka", kind: 4, instrumentations: { kafkajs: "KafkaJsInstrumentation" } },
  "kafkajs, received": { source: `${KAFKA} exports.handler = async ({ port }) => { const kafka = client(port); await send(kafka); const c = kafka.consumer({ groupId: "g" }); await c.connect(); await c.subscribe({ topic: "orders", fromBeginning: true }); await new Promise((go) => c.run({ eachMessage: async () => go() })); await c.disconnect(); };`, server: "kafka", kind: 5, instrumentations: { kafkajs: "KafkaJsInstrumentation" } },
  "amqplib, sent": { source: `${AMQP} exports.handler = async ({ port }) => { const c = await amqp.connect("amqp://u:p@127.0.0.1:" + port); send(await c.createChannel()); await c.close(); };`, server: "rabbitmq", kind: 4, instrumentations: { amqplib: "AmqplibInstrumentation" } },
  "amqplib, received": { source: `${AMQP} exports.handler = async ({ port }) => { const c = await amqp.connect("amqp://u:p@127.0.0.1:" + port), channel = await c.createChannel(); send(channel); await new Promise((go) => channel.consume("orders", (message) => { channel.ack(message); setImmediate(go); })); await c.close(); };`, server: "rabbitmq", kind: 5, instrumentations: { amqplib: "AmqplibInstrumentation" } },
};

async function serve(kind) {
  if (kind !== "web") return servers[kind]();
  const { server, close } = await listen((request, response) => response.writeHead(200, { "x-amz-request-id": "R", "x-amz-id-2": "E" }).end("ok"));
  return { port: server.address().port, close };
}

/** Runs the source in a process of its own with the instrumentation; gives the attributes of its spans of that kind. */
function contrib({ source, kind = 3, made, instrumentations = {} }, port, written = () => undefined) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "otel-xray-contrib-"));
  fs.symlinkSync(modules, path.join(folder, "node_modules"));
  const all = Object.entries(instrumentations).map(([name, type]) => `new (require("@opentelemetry/instrumentation-${name}").${type})()`);
  fs.writeFileSync(path.join(folder, "app.js"), source);
  fs.writeFileSync(
    path.join(folder, "main.js"),
    `const { NodeTracerProvider, SimpleSpanProcessor, InMemorySpanExporter } = require("@opentelemetry/sdk-trace-node");
     const { registerInstrumentations } = require("@opentelemetry/instrumentation"); const { trace } = require("@opentelemetry/api");
     const exporter = new InMemorySpanExporter(); new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }).register();
     registerInstrumentations({ instrumentations: [${made ?? all}] });
     trace.getTracer("t").startActiveSpan("root", async (root) => { await require("./app.js").handler({ port: ${port} }); root.end();
       console.log(JSON.stringify(exporter.getFinishedSpans().filter((s) => s.kind === ${kind - 1}).map((s) => ({ name: s.name, attributes: s.attributes })))); process.exit(0); });`,
  );
  const env = { PATH: process.env.PATH, OTEL_SEMCONV_STABILITY_OPT_IN: "http,database" };
  return new Promise((resolve, reject) => {
    execFile(node, ["main.js"], { cwd: folder, env }, (error, stdout, stderr) => {
      fs.rmSync(folder, { recursive: true, force: true });
      written(stdout);
      if (error) reject(new Error(stderr || String(error)));
      else resolve(JSON.parse(stdout.trim().split("\n").pop()));
    });
  });
}

for (const [name, expected] of Object.entries(CASES)) {
  const { source, server, kind = 3, span: wanted = /(?:)/, from = 18 } = expected;
  test(`${name}: every attribute of the instrumentation, or the reason why not`, { skip: major < from }, async (t) => {
    const { port, close } = await serve(server);
    try {
      const isWanted = ({ name }) => wanted.test(name) && !/connect|info|hello|client/i.test(name);
      const theirs = (await contrib(expected, port)).filter(isWanted);
      const ours = await withFunction(source, {}, async (run) => {
        assert.equal((await run.invoke({ port })).kind, "response");
        await run.frames.done(1);
        return run.frames.ended.filter((span) => span.kind === kind && isWanted(span));
      });
      assert.equal(ours.length, 1);
      assert.ok(theirs.length > 0, "the instrumentation recorded nothing");
      const own = ours[0].attributes;
      const reference = theirs[0].attributes;
      const missing = Object.keys(reference).filter((key) => !(key in own) && !(key in LEFT_OUT));
      assert.deepEqual(missing, [], `in ${JSON.stringify(reference)}, not in ${JSON.stringify(own)}`);
      for (const [key, value] of Object.entries(reference)) {
        if (key in own && !(key in OTHERWISE)) assert.deepEqual(own[key], value, key);
      }
      t.diagnostic(`${name}: ${Object.keys(reference).filter((key) => key in own).length} attributes in common`);
    } finally {
      close();
    }
  });
}


const LOGGERS = {
  pino: { source: `const logger = require("pino")({}, require("pino").destination({ dest: 1, sync: true })); exports.handler = async () => { logger.info("here"); };`, instrumentations: { pino: "PinoInstrumentation" }, from: 20 },
  winston: { source: `const winston = require("winston"); const logger = winston.createLogger({ format: winston.format.json(), transports: [new winston.transports.Console()] }); exports.handler = async () => { logger.info("here"); };`, instrumentations: { winston: "WinstonInstrumentation" } },
};

for (const [name, { from = 18, ...expected }] of Object.entries(LOGGERS))
  test(`${name}: every field of the instrumentation`, { skip: major < from }, async () => {
    const record = (output) => JSON.parse(output.split("\n").find((line) => line.startsWith("{")));
    let theirs;
    await contrib(expected, 0, (output) => (theirs = record(output)));
    const ours = await withFunction(expected.source, { variables: { OTEL_XRAY_LOG_TRACE_IDS: "true" } }, async (run) => {
      assert.equal((await run.invoke()).kind, "response");
      await run.frames.done(1);
      return record(run.output());
    });
    assert.ok("trace_id" in theirs, "the instrumentation added nothing");
    assert.deepEqual(Object.keys(ours).sort(), Object.keys(theirs).sort());
  });
