// Ships an order, as an ES module: it waits for its settings while it loads, and asks the carrier through node:http.
//
// Nothing here turns tracing on. See nodejs-demo for the same with a span made by hand.

import { get } from "node:http";
import { GetObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";

const s3 = new S3Client({ forcePathStyle: true });
const sqs = new SQSClient({});
const settings = await Promise.resolve({ bucket: process.env.ORDERS_BUCKET, queue: process.env.SHIPMENTS_QUEUE_URL });

class OutOfStock extends Error {
  name = "OutOfStock";
}

export const handler = async (event) => {
  const { Body } = await s3.send(new GetObjectCommand({ Bucket: settings.bucket, Key: event.key }));
  const order = JSON.parse(await Body.transformToString());
  const carrier = await status(process.env.CARRIER_URL);
  const packed = pack(order.items, event.missing);
  const message = JSON.stringify({ order: order.id, packed, carrier });
  await sqs.send(new SendMessageCommand({ QueueUrl: settings.queue, MessageBody: message }));
  return { order: order.id, packed };
};

function status(url) {
  return new Promise((resolve, reject) => {
    const answered = (response) => response.resume().on("end", () => resolve(response.statusCode));
    get(url, answered).on("error", reject);
  });
}

function pack(items, missing) {
  for (const { sku } of items) if (sku === missing) throw new OutOfStock(`${missing} is out of stock`);
  return items.reduce((sum, { count }) => sum + count, 0);
}
