// Brokers: what is sent carries the trace on, what is received is linked to where it came from.

import assert from "node:assert/strict";
import test from "node:test";
import * as brokers from "./stage/brokers.mjs";
import { withFunction } from "./stage/function.mjs";

const OTHER = { traceId: "1".repeat(32), spanId: "2".repeat(16) };
const OTHER_PARENT = `00-${OTHER.traceId}-${OTHER.spanId}-01`;

async function invoke(broker, source, use, variables = {}) {
  const { port, close, transactions } = await brokers[broker]();
  try {
    await withFunction({ "app.mjs": source }, { variables }, async (run) => {
      const answer = JSON.parse((await run.invoke({ port })).body);
      await run.frames.done(1);
      assert.doesNotMatch(run.output(), /\[otel-xray\]/);
      use(answer, run.frames.ended, run.frames.named("app.handler"), transactions);
    });
  } finally {
    close();
  }
}

const KAFKA = `import { Kafka, logLevel } from "kafkajs";
  const client = (port) => new Kafka({ clientId: "c", brokers: ["127.0.0.1:" + port], logLevel: logLevel.NOTHING, retry: { retries: 0 } });
  const consume = async (kafka, topic, config) => {
    const consumer = kafka.consumer({ groupId: "g" });
    await consumer.connect(); await consumer.subscribe({ topic, fromBeginning: true });
    await new Promise((go) => consumer.run(config(go)));
    await consumer.disconnect();
  };`;

test("kafkajs: messages carry the trace of the call that sent them", () =>
  invoke(
    "kafka",
    `${KAFKA}
     export const handler = async ({ port }) => {
       const kafka = client(port), producer = kafka.producer(), seen = [];
       const message = { key: "k", value: "v", headers: { mine: "1" } };
       await producer.connect();
       await producer.send({ topic: "orders", messages: [message] });
       await producer.sendBatch({ topicMessages: [{ topic: "orders", messages: [{ value: "a" }, { value: "b", headers: { traceparent: "${OTHER_PARENT}" } }] }] });
       const error = await producer.send({ topic: "fail", messages: [message] }).catch((failed) => failed.type);
       const empty = await producer.send({ topic: "orders" }).catch((failed) => failed.message);
       await producer.disconnect();
       await consume(kafka, "orders", (go) => ({ eachMessage: async ({ message }) => { seen.push(Object.fromEntries(Object.entries(message.headers).map(([name, value]) => [name, String(value)]))); if (seen.length === 3) go(); } }));
       return { seen, error, empty, message };
     };`,
    ({ seen, error, empty, message }, ended, root) => {
      const [first, batch, failed, ...more] = ended.filter((span) => span.kind === 4);
      assert.deepEqual(more, []);
      assert.equal(error, "TOPIC_AUTHORIZATION_FAILED");
      assert.match(empty, /messages/);
      assert.deepEqual(message.headers, { mine: "1" }, "the function's own message is as it was");
      const [id, batchId] = [first, batch].map((span) => `00-${span.traceId}-${span.spanId}-01`);
      assert.deepEqual(seen.map(({ traceparent }) => traceparent), [id, batchId, OTHER_PARENT]);
      assert.equal(seen[0].mine, "1");
      assert.match(seen[0]["X-Amzn-Trace-Id"], new RegExp(`Parent=${first.spanId};Sampled=1$`));
      assert.deepEqual([first, batch, failed].map((span) => [span.name, span.status, span.parentId]), [["send orders", 0, root.spanId], ["send orders", 0, root.spanId], ["send fail", 2, root.spanId]]);
      assert.deepEqual(first.attributes, {
        "messaging.system": "kafka",
        "messaging.destination.name": "orders",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.kafka.message.key": "k",
      });
      assert.equal(batch.attributes["messaging.batch.message_count"], 2);
      assert.equal(failed.attributes["error.type"], "KafkaJSProtocolError");
    },
  ));

test("kafkajs: messages of a transaction carry the trace too", () =>
  invoke(
    "kafka",
    `${KAFKA}
     export const handler = async ({ port }) => {
       const kafka = client(port), producer = kafka.producer({ transactionalId: "t", maxInFlightRequests: 1, retry: { retries: 5 } }), seen = [];
       await producer.connect();
       for (const end of ["commit", "abort"]) {
         const transaction = await producer.transaction();
         await transaction.send({ topic: "orders", messages: [{ key: end, value: "v" }] });
         await transaction[end]();
       }
       await producer.disconnect();
       await consume(kafka, "orders", (go) => ({ eachMessage: async ({ message }) => { seen.push([String(message.key), String(message.headers.traceparent)]); if (seen.length === 2) go(); } }));
       return seen;
     };`,
    (seen, ended, root, transactions) => {
      assert.deepEqual(transactions, ["committed", "aborted"]);
      const sent = ended.filter((span) => span.kind === 4);
      assert.deepEqual(sent.map(({ name, status, parentId }) => [name, status, parentId]), Array(2).fill(["send orders", 0, root.spanId]));
      assert.deepEqual(seen, ["commit", "abort"].map((end, index) => [end, `00-${sent[index].traceId}-${sent[index].spanId}-01`]));
    },
  ));

test("kafkajs: each message and each batch that a consumer works on is linked to its producer", () =>
  invoke(
    "kafka",
    `${KAFKA}
     const messages = ["a", "b"].map((value) => ({ key: "k", value, headers: { traceparent: "${OTHER_PARENT}" } }));
     export const handler = async ({ port }) => {
       const kafka = client(port), producer = kafka.producer();
       await producer.connect(); await producer.send({ topic: "orders", messages: messages.slice(0, 1) }); await producer.send({ topic: "lines", messages }); await producer.disconnect();
       await consume(kafka, "orders", (go) => ({ eachMessage: async () => go() }));
       await consume(kafka, "lines", (go) => ({ eachBatch: async () => { setImmediate(go); throw new RangeError("no"); } }));
     };`,
    (answer, ended, root) => {
      const [message, batch] = ended.filter((span) => span.kind === 5);
      for (const span of [message, batch]) {
        assert.equal(span.parentId, root.spanId);
        assert.equal(span.attributes["messaging.destination.partition.id"], "0");
      }
      assert.deepEqual([message.name, message.status, message.links], ["process orders", 0, [{ ...OTHER, attributes: {} }]]);
      assert.equal(message.attributes["messaging.kafka.offset"], "0");
      assert.deepEqual([batch.name, batch.status, batch.links.length], ["process lines", 2, 2]);
      assert.equal(batch.attributes["messaging.batch.message_count"], 2);
      assert.equal(batch.events[0].attributes["exception.type"], "RangeError");
    },
  ));

for (const [style, source] of Object.entries({
  promises: `import amqp from "amqplib";
    export const handler = async ({ port }) => {
      const connection = await amqp.connect("amqp://user:secret@127.0.0.1:" + port), channel = await connection.createChannel(), confirmed = await connection.createConfirmChannel();
      const options = { messageId: "m1", correlationId: "c1", headers: { mine: "1" } };
      await channel.assertQueue("orders");
      channel.sendToQueue("orders", Buffer.from("a"), options);
      channel.publish("", "orders", Buffer.from("b"), { headers: { traceparent: "${OTHER_PARENT}" } });
      await new Promise((go) => confirmed.sendToQueue("other", Buffer.from("c"), {}, go));
      const failed = await new Promise((go) => confirmed.publish("", "fail", Buffer.from("d"), {}, (error) => go(error?.message)));
      const seen = [];
      await new Promise((go) => channel.consume("orders", async (message) => { seen.push(message.properties.headers); await null; channel.ack(message); if (seen.length === 2) setImmediate(go); }));
      await connection.close();
      return { seen, failed, options }; };`,
  callbacks: `import { createRequire } from "node:module"; import { promisify } from "node:util"; const amqp = createRequire(import.meta.url)("amqplib/callback_api");
    export const handler = async ({ port }) => {
      const connection = await promisify(amqp.connect)("amqp://user:secret@127.0.0.1:" + port), channel = await promisify(connection.createChannel.bind(connection))(), confirmed = await promisify(connection.createConfirmChannel.bind(connection))();
      const options = { messageId: "m1", correlationId: "c1", headers: { mine: "1" } };
      await promisify(channel.assertQueue.bind(channel))("orders", {});
      channel.sendToQueue("orders", Buffer.from("a"), options);
      channel.publish("", "orders", Buffer.from("b"), { headers: { traceparent: "${OTHER_PARENT}" } });
      await new Promise((go) => confirmed.sendToQueue("other", Buffer.from("c"), {}, go));
      const failed = await new Promise((go) => confirmed.publish("", "fail", Buffer.from("d"), {}, (error) => go(error?.message)));
      const seen = [];
      await new Promise((go) => channel.consume("orders", (message) => { seen.push(message.properties.headers); channel.ack(message); if (seen.length === 2) setImmediate(go); }));
      connection.close();
      return { seen, failed, options }; };`,
}))
  test(`amqplib with ${style}: messages carry the trace, consumers are linked`, () =>
    invoke("rabbitmq", source, ({ seen, failed, options }, ended, root) => {
      const sent = ended.filter((span) => span.kind === 4);
      assert.deepEqual(sent.map((span) => [span.name, span.status]), [["publish orders", 0], ["publish orders", 0], ["publish other", 0], ["publish fail", 2]]);
      assert.match(failed, /nack/);
      assert.deepEqual(options, { messageId: "m1", correlationId: "c1", headers: { mine: "1" } });
      assert.equal(seen[0].mine, "1");
      assert.deepEqual(seen.map(({ traceparent }) => traceparent), [`00-${sent[0].traceId}-${sent[0].spanId}-01`, OTHER_PARENT]);
      const { "server.port": port, ...attributes } = sent[0].attributes;
      assert.ok(port > 0);
      assert.deepEqual(attributes, {
        "messaging.system": "rabbitmq",
        "network.protocol.name": "amqp",
        "network.protocol.version": "0.9.1",
        "server.address": "127.0.0.1",
        "messaging.destination.name": "orders",
        "messaging.rabbitmq.destination.routing_key": "orders",
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.message.id": "m1",
        "messaging.message.conversation_id": "c1",
      });
      const received = ended.filter((span) => span.kind === 5);
      assert.deepEqual(received.map((span) => [span.name, span.parentId, span.links]), [["process orders", root.spanId, []], ["process orders", root.spanId, [{ ...OTHER, attributes: {} }]]]);
      assert.equal(received[0].attributes["messaging.operation.name"], "process");
      assert.doesNotMatch(JSON.stringify(ended, (_, value) => (typeof value === "bigint" ? 0 : value)), /secret/);
    }));
