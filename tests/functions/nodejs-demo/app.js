// Ships an order: reads it from S3, asks a web page whether the carrier is there, and puts a message into a queue.
//
// Nothing here turns tracing on. The one span made by hand shows that own instrumentation joins in: it becomes
// a subsegment with an annotation and metadata.
"use strict";

const { GetObjectCommand, S3Client } = require("@aws-sdk/client-s3");
const { SendMessageCommand, SQSClient } = require("@aws-sdk/client-sqs");
const { trace } = require("@opentelemetry/api");

const s3 = new S3Client({ forcePathStyle: true });
const sqs = new SQSClient({});
const tracer = trace.getTracer("nodejs-demo");

class OutOfStock extends Error {
  name = "OutOfStock";
}

exports.handler = async (event) => {
  const { Body } = await s3.send(new GetObjectCommand({ Bucket: process.env.ORDERS_BUCKET, Key: event.key }));
  const order = JSON.parse(await Body.transformToString());
  const carrier = await fetch(process.env.CARRIER_URL);
  await carrier.text();
  const packed = tracer.startActiveSpan("pack", (span) => {
    try {
      span.setAttributes({ order_id: order.id, "aws.xray.annotations": ["order_id"] });
      span.setAttribute("aws.xray.metadata.order", JSON.stringify({ items: order.items }));
      return pack(order.items, event.missing);
    } catch (error) {
      span.recordException(error);
      span.setStatus({ code: 2, message: error.message });
      throw error;
    } finally {
      span.end();
    }
  });
  const message = JSON.stringify({ order: order.id, packed, carrier: carrier.status });
  await sqs.send(new SendMessageCommand({ QueueUrl: process.env.SHIPMENTS_QUEUE_URL, MessageBody: message }));
  return { order: order.id, packed };
};

function pack(items, missing) {
  for (const { sku } of items) if (sku === missing) throw new OutOfStock(`${missing} is out of stock`);
  return items.reduce((sum, { count }) => sum + count, 0);
}
