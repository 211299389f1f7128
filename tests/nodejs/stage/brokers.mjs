// Brokers that speak as much of Kafka's and RabbitMQ's protocols as one producer and one consumer need. What was sent is kept and
// handed out byte for byte.

import { createRequire } from "node:module";
import path from "node:path";
import { serve } from "./databases.mjs";
import { modules } from "./function.mjs";

const require = createRequire(path.join(modules, "x.js"));

/** The only version of each kind of request that the broker speaks. */
const VERSIONS = { 0: 3, 1: 4, 2: 1, 3: 0, 8: 2, 9: 1, 10: 0, 11: 0, 12: 0, 13: 0, 14: 0, 18: 0, 22: 0, 24: 0, 26: 0 };
const NOT_AUTHORIZED = 29;

/** Kafka with one broker and one partition for each topic; nobody may write to the topic `fail`. */
export async function kafka() {
  const Decoder = require("kafkajs/src/protocol/decoder");
  const Encoder = require("kafkajs/src/protocol/encoder");
  const logs = new Map();
  const transactions = [];
  const log = (topic) => logs.get(topic) ?? logs.set(topic, { batches: [], end: 0 }).get(topic);
  const append = (topic, batch) => {
    const kept = log(topic);
    batch = Buffer.from(batch);
    batch.writeBigInt64BE(BigInt(kept.end), 0);
    kept.batches.push({ first: kept.end, batch });
    kept.end += batch.readInt32BE(23) + 1;
  };
  const partitions = (topic, ...fields) => {
    const encoder = new Encoder().writeString(topic).writeInt32(1).writeInt32(0);
    for (const [type, value] of fields) encoder[`write${type}`](value);
    return encoder;
  };
  /** Topics of a request that names its partitions one by one; `read` reads what is said of each. */
  const topicsOf = (decoder, read) => decoder.readArray((each) => ({ topic: each.readString(), of: each.readArray((one) => (one.readInt32(), read(one))) }));
  let port = 0;
  const answers = {
    0: (decoder) => {
      decoder.readString(); decoder.readInt16(); decoder.readInt32();
      const topics = decoder.readArray((each) => ({ topic: each.readString(), of: each.readArray((one) => (one.readInt32(), one.readBytes())) }));
      for (const { topic, of } of topics) if (topic !== "fail") of.forEach((batch) => append(topic, batch));
      return new Encoder().writeArray(topics.map(({ topic }) => partitions(topic, ["Int16", topic === "fail" ? NOT_AUTHORIZED : 0], ["Int64", 0], ["Int64", -1]))).writeInt32(0);
    },
    1: async (decoder) => {
      decoder.readInt32(); decoder.readInt32(); decoder.readInt32(); decoder.readInt32(); decoder.readInt8();
      const topics = topicsOf(decoder, (one) => (({ offset }) => (one.readInt32(), offset))({ offset: Number(one.readInt64()) }));
      if (topics.every(({ topic, of }) => log(topic).end <= of[0])) await new Promise((go) => setTimeout(go, 20));
      const found = topics.map(({ topic, of }) => {
        const kept = Buffer.concat(log(topic).batches.filter(({ first }) => first >= of[0]).map(({ batch }) => batch));
        return partitions(topic, ["Int16", 0], ["Int64", log(topic).end], ["Int64", log(topic).end], ["Int32", 0], ["Bytes", kept]);
      });
      return new Encoder().writeInt32(0).writeArray(found);
    },
    2: (decoder) => {
      decoder.readInt32();
      return new Encoder().writeArray(topicsOf(decoder, (one) => one.readInt64()).map(({ topic }) => partitions(topic, ["Int16", 0], ["Int64", -1], ["Int64", 0])));
    },
    3: (decoder) => {
      const broker = new Encoder().writeInt32(1).writeString("127.0.0.1").writeInt32(port);
      const partition = () => new Encoder().writeInt16(0).writeInt32(0).writeInt32(1).writeArray([1]).writeArray([1]);
      const topic = (name) => new Encoder().writeInt16(0).writeString(name).writeArray([partition()]);
      return new Encoder().writeArray([broker]).writeArray(decoder.readArray((each) => each.readString()).map(topic));
    },
    8: (decoder) => {
      decoder.readString(); decoder.readInt32(); decoder.readString(); decoder.readInt64();
      return new Encoder().writeArray(topicsOf(decoder, (one) => (one.readInt64(), one.readString())).map(({ topic }) => partitions(topic, ["Int16", 0])));
    },
    9: (decoder) => {
      decoder.readString();
      return new Encoder().writeArray(topicsOf(decoder, () => 0).map(({ topic }) => partitions(topic, ["Int64", -1], ["String", ""], ["Int16", 0])));
    },
    10: () => new Encoder().writeInt16(0).writeInt32(1).writeString("127.0.0.1").writeInt32(port),
    11: (decoder) => {
      decoder.readString(); decoder.readInt32(); decoder.readString(); decoder.readString();
      const [protocol] = decoder.readArray((each) => ({ name: each.readString(), metadata: each.readBytes() }));
      const member = new Encoder().writeString("me").writeBytes(protocol.metadata);
      return new Encoder().writeInt16(0).writeInt32(1).writeString(protocol.name).writeString("me").writeString("me").writeArray([member]);
    },
    12: () => new Encoder().writeInt16(0),
    13: () => new Encoder().writeInt16(0),
    14: (decoder) => {
      decoder.readString(); decoder.readInt32(); decoder.readString();
      const [assigned] = decoder.readArray((each) => (each.readString(), each.readBytes()));
      return new Encoder().writeInt16(0).writeBytes(assigned);
    },
    22: () => new Encoder().writeInt32(0).writeInt16(0).writeInt64(7).writeInt16(0),
    24: (decoder) => {
      decoder.readString(); decoder.readInt64(); decoder.readInt16();
      return new Encoder().writeInt32(0).writeArray(topicsOf(decoder, () => 0).map(({ topic }) => partitions(topic, ["Int16", 0])));
    },
    26: (decoder) => {
      decoder.readString(); decoder.readInt64(); decoder.readInt16();
      transactions.push(decoder.readInt8() === 1 ? "committed" : "aborted");
      return new Encoder().writeInt32(0).writeInt16(0);
    },
    18: () => new Encoder().writeInt16(0).writeArray(Object.entries(VERSIONS).map(([key, version]) => new Encoder().writeInt16(Number(key)).writeInt16(version).writeInt16(version))),
  };
  const served = await serve((socket) => {
    let data = Buffer.alloc(0);
    socket.on("data", async (chunk) => {
      data = Buffer.concat([data, chunk]);
      while (data.length >= 4 && data.length >= data.readInt32BE(0) + 4) {
        const message = data.subarray(4, data.readInt32BE(0) + 4);
        data = data.subarray(message.length + 4);
        const decoder = new Decoder(message);
        const key = decoder.readInt16();
        decoder.readInt16();
        const correlation = decoder.readInt32();
        decoder.readString();
        const body = (await answers[key](decoder)).buffer;
        const head = Buffer.alloc(8);
        head.writeInt32BE(body.length + 4, 0);
        head.writeInt32BE(correlation, 4);
        socket.write(Buffer.concat([head, body]));
      }
    });
  });
  port = served.port;
  return { ...served, transactions };
}

/** RabbitMQ with queues and its nameless exchange; what is sent to the queue `fail` is not confirmed. */
export function rabbitmq() {
  const defs = require(path.join(modules, "amqplib/lib/defs.js"));
  const { decodeFrame, makeBodyFrame, parseFrame } = require(path.join(modules, "amqplib/lib/frame.js"));
  const queues = new Map();
  const queue = (name) => queues.get(name) ?? queues.set(name, { waiting: [], consumer: undefined }).get(name);
  return serve((socket) => {
    const send = (channel, method, fields = {}) => socket.write(defs.encodeMethod(method, channel, fields));
    const state = { data: Buffer.alloc(0), greeted: false, confirmed: new Map(), delivered: 0, message: undefined };
    const deliver = (name) => {
      const { waiting, consumer } = queue(name);
      while (consumer !== undefined && waiting.length > 0) {
        const { fields, properties, content } = waiting.shift();
        send(consumer, defs.BasicDeliver, { consumerTag: name, deliveryTag: ++state.delivered, redelivered: false, exchange: fields.exchange, routingKey: fields.routingKey });
        socket.write(defs.encodeProperties(defs.BasicProperties, consumer, content.length, properties));
        socket.write(makeBodyFrame(consumer, content));
      }
    };
    const published = (channel, message) => {
      const name = message.fields.routingKey;
      if (name !== "fail") queue(name).waiting.push(message);
      const count = state.confirmed.get(channel);
      if (count !== undefined) {
        state.confirmed.set(channel, count + 1);
        send(channel, name === "fail" ? defs.BasicNack : defs.BasicAck, { deliveryTag: count + 1, multiple: false, requeue: false });
      }
      deliver(name);
    };
    const methods = {
      [defs.ConnectionStartOk]: () => send(0, defs.ConnectionTune, { channelMax: 10, frameMax: 131072, heartbeat: 0 }),
      [defs.ConnectionTuneOk]: () => undefined,
      [defs.ConnectionOpen]: () => send(0, defs.ConnectionOpenOk, { knownHosts: "" }),
      [defs.ConnectionClose]: () => send(0, defs.ConnectionCloseOk),
      [defs.ChannelOpen]: (channel) => send(channel, defs.ChannelOpenOk, { channelId: Buffer.alloc(0) }),
      [defs.ChannelClose]: (channel) => send(channel, defs.ChannelCloseOk),
      [defs.ConfirmSelect]: (channel) => (state.confirmed.set(channel, 0), send(channel, defs.ConfirmSelectOk)),
      [defs.QueueDeclare]: (channel, fields) => send(channel, defs.QueueDeclareOk, { queue: fields.queue, messageCount: 0, consumerCount: 0 }),
      [defs.BasicConsume]: (channel, fields) => {
        send(channel, defs.BasicConsumeOk, { consumerTag: fields.queue });
        queue(fields.queue).consumer = channel;
        deliver(fields.queue);
      },
      [defs.BasicPublish]: (channel, fields) => (state.message = { fields, content: Buffer.alloc(0) }),
      [defs.BasicAck]: () => undefined,
    };
    socket.on("close", () => queues.clear());
    socket.on("data", (chunk) => {
      state.data = Buffer.concat([state.data, chunk]);
      if (!state.greeted) {
        if (state.data.length < 8) return;
        state.data = state.data.subarray(8);
        state.greeted = true;
        send(0, defs.ConnectionStart, { versionMajor: 0, versionMinor: 9, serverProperties: { product: "RabbitMQ" }, mechanisms: Buffer.from("PLAIN"), locales: Buffer.from("en_US") });
      }
      for (;;) {
        const frame = parseFrame(state.data, 0);
        if (!frame) return;
        state.data = Buffer.from(frame.rest);
        const { id, channel, fields, size, content } = { content: frame.payload, ...decodeFrame(frame) };
        if (frame.type === defs.constants.FRAME_METHOD) methods[id](channel, fields);
        else if (frame.type === defs.constants.FRAME_HEADER) Object.assign(state.message, { properties: fields, size });
        else if (frame.type === defs.constants.FRAME_BODY) state.message.content = Buffer.concat([state.message.content, content]);
        if (state.message?.size !== undefined && state.message.content.length >= state.message.size) {
          published(channel, state.message);
          state.message = undefined;
        }
      }
    });
  });
}
