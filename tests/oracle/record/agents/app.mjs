// What the Node.js agent is recorded in. Every host by its name leads to the one server.

import net from "node:net";

const { connect } = net.Socket.prototype;
net.Socket.prototype.connect = function (...given) {
  const options = Array.isArray(given[0]) ? given[0][0] : given[0];
  if (Number(options.port) === 80) Object.assign(options, { host: "127.0.0.1", port: Number(process.env.SERVER.split(":")[1]), lookup: undefined });
  return connect.apply(this, given);
};

const { S3Client, GetObjectCommand } = await import("@aws-sdk/client-s3");
const { Kafka, logLevel } = (await import("kafkajs")).default;
const { default: pg } = await import("pg");
const { trace, SpanKind } = (await import("@opentelemetry/api")).default;
const tracer = trace.getTracer("shop.orders");
const s3 = new S3Client({ region: "eu-west-1", endpoint: "http://s3.eu-west-1.amazonaws.com", forcePathStyle: true });

export const handler = async (event) => {
  await s3.send(new GetObjectCommand({ Bucket: "orders", Key: "42.json" }));
  await (await fetch("http://carrier.example.com/quotes?order=42")).text();
  await (await fetch("http://stock.example.com/busy")).text();
  const database = new pg.Client({ host: "127.0.0.1", port: Number(process.env.POSTGRES), user: "u", password: "secret", database: "shop" });
  await database.connect();
  await database.query("SELECT total FROM orders WHERE id = 42");
  await database.end();
  const producer = new Kafka({ clientId: "c", brokers: [`127.0.0.1:${process.env.KAFKA}`], logLevel: logLevel.NOTHING, retry: { retries: 0 } }).producer();
  await tracer.startActiveSpan("POST /orders", { kind: SpanKind.SERVER }, async (span) => {
    await producer.connect();
    await producer.send({ topic: "orders", messages: [{ value: "42" }] });
    await producer.disconnect();
    span.end();
  });
  tracer.startSpan("named", { kind: SpanKind.CLIENT, attributes: { "peer.service": "billing" } }).end();
  return tracer.startActiveSpan("pack", (span) => {
    try {
      if (event.Records !== undefined) throw new RangeError("shade is out of stock");
      return 42;
    } catch (error) {
      span.recordException(error);
      span.setStatus({ code: 2, message: error.message });
      throw error;
    } finally {
      span.end();
    }
  });
};
