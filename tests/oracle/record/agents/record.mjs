// Runs app.mjs with the agent, once for each event of its argument, and prints what the agent has written as OTLP/JSON.

import * as fs from "node:fs";
import path from "node:path";
import * as brokers from "../../../nodejs/stage/brokers.mjs";
import * as databases from "../../../nodejs/stage/databases.mjs";
import { withFunction } from "../../../nodejs/stage/function.mjs";

const here = path.dirname(new URL(import.meta.url).pathname);
const { events, server } = JSON.parse(process.argv[2]);

const value = (given) => {
  if (typeof given === "string") return { stringValue: given };
  if (typeof given === "boolean") return { boolValue: given };
  if (Array.isArray(given)) return { arrayValue: { values: given.map(value) } };
  return Number.isInteger(given) ? { intValue: String(given) } : { doubleValue: given };
};
const attributes = (given) => Object.entries(given).map(([key, content]) => ({ key, value: value(content) }));
const span = (given) => ({
  traceId: given.traceId,
  spanId: given.spanId,
  parentSpanId: given.parentId,
  name: given.name,
  kind: given.kind,
  startTimeUnixNano: String(given.start),
  endTimeUnixNano: String(given.end),
  attributes: attributes(given.attributes),
  events: given.events.map((event) => ({ timeUnixNano: String(event.time), name: event.name, attributes: attributes(event.attributes) })),
  links: given.links.map(({ traceId, spanId, attributes: said }) => ({ traceId, spanId, attributes: attributes(said) })),
  status: { code: given.status, message: given.statusMessage },
  flags: given.flags,
});

const postgres = await databases.postgres();
const kafka = await brokers.kafka();
const source = { "app.mjs": fs.readFileSync(path.join(here, "app.mjs"), "utf8") };
const variables = { SERVER: server, POSTGRES: String(postgres.port), KAFKA: String(kafka.port) };
for (const event of events) {
  await withFunction(source, { variables }, async (run) => {
    await run.invoke(event);
    await run.frames.done(1);
    process.stdout.write(`${JSON.stringify({ hello: run.frames.hello, spans: run.frames.ended.map(span) })}\n`);
  });
}
postgres.close();
kafka.close();
