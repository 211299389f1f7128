/**
 * Events of records: queues, topics, streams, tables, buckets, and messages inside of messages. The event comes in, the trigger goes out
 * (trigger.ts).
 */

import { type Attributes, Kind, type Span } from "../trace/span";
import { ofTraceparent, parseTraceHeader } from "../trace/trace_header";
import { type Holder, isHolder, nameOf, part, type Producer, text, type Trigger } from "./event";

/** Traces that one event is linked to. */
const MAX_PRODUCERS = 128;
/** Records of one event that are looked at for their producers. */
const MAX_RECORDS = 1000;
/** Characters of a message that is read for what is in it. */
const MAX_NESTED = 8192;
const MAX_FAILED_ITEMS = 10;

/** Near the beginning of whatever a service writes into a message. */
const HEAD = 1024;
const SIGNS = ['"TopicArn"', '"detail-type"', '"eventSource"'];
/** The attributes of a notification are at its end. */
const TAIL = 4096;
const TRACEPARENT_CHARS = 55;

type Reader = (records: unknown[], first: Holder) => Trigger;

const READERS: Record<string, Reader> = {
  "aws:sqs": sqs,
  "aws:sns": sns,
  "aws:kinesis": kinesis,
  "aws:dynamodb": dynamodb,
  "aws:s3": s3,
};

export function readMessages(event: Holder): Trigger | undefined {
  if (event.eventSource === "aws:kafka" || event.eventSource === "SelfManagedKafka") return kafka(event);
  const records = event.Records;
  if (!Array.isArray(records)) return undefined;
  const first: unknown = records[0];
  if (!isHolder(first)) return undefined;
  const source = text(first, "eventSource") ?? text(first, "EventSource") ?? "";
  return Object.hasOwn(READERS, source) ? READERS[source]?.(records, first) : undefined;
}

function sqs(records: unknown[], first: Holder): Trigger {
  const trigger = consumer("aws_sqs", nameOf(text(first, "eventSourceARN")), records.length);
  if (records.length === 1) trigger.attributes["messaging.message.id"] = text(first, "messageId");
  lookInside(first.body, trigger.attributes);
  const producers = new Producers();
  for (const record of records.slice(0, MAX_RECORDS)) {
    if (!isHolder(record)) continue;
    const header = text(part(record, "attributes"), "AWSTraceHeader");
    let traceparent = text(part(part(record, "messageAttributes"), "traceparent"), "stringValue");
    if (header === undefined && traceparent === undefined) traceparent = ofNotification(record.body);
    if (!producers.add(header, traceparent, text(record, "messageId"))) break;
  }
  trigger.producers = producers.sampledFirst();
  trigger.answered = batchAnswered(records.length);
  return trigger;
}

function sns(records: unknown[], first: Holder): Trigger {
  const message = part(first, "Sns");
  const topic = text(message, "TopicArn");
  const messageId = text(message, "MessageId");
  const trigger = consumer("aws.sns", nameOf(topic), records.length);
  trigger.attributes["messaging.message.id"] = messageId;
  trigger.attributes["aws.sns.topic.arn"] = topic;
  lookInside(message.Message, trigger.attributes);
  const producers = new Producers();
  producers.add(undefined, text(part(part(message, "MessageAttributes"), "traceparent"), "Value"), messageId);
  trigger.producers = producers.sampledFirst();
  return trigger;
}

function kinesis(records: unknown[], first: Holder): Trigger {
  const name = nameOf(text(first, "eventSourceARN"));
  const trigger = consumer("aws.kinesis", name?.slice(name.lastIndexOf("/") + 1), records.length);
  const id = text(first, "eventID") ?? "";
  const colon = id.indexOf(":");
  trigger.attributes["messaging.destination.partition.id"] = colon < 0 ? undefined : id.slice(0, colon);
  if (records.length === 1) trigger.attributes["messaging.message.id"] = text(part(first, "kinesis"), "sequenceNumber");
  trigger.answered = batchAnswered(records.length);
  return trigger;
}

function dynamodb(records: unknown[], first: Holder): Trigger {
  const table = text(first, "eventSourceARN")?.split(":table/")[1]?.split("/")[0] || undefined;
  const attributes: Attributes = {
    "faas.trigger": "datasource",
    "faas.document.collection": table,
    "aws.dynamodb.table_names": table === undefined ? undefined : [table],
    "messaging.batch.message_count": records.length,
  };
  const operations: Record<string, string> = { INSERT: "insert", MODIFY: "edit", REMOVE: "delete" };
  if (records.length === 1) attributes["faas.document.operation"] = operations[text(first, "eventName") ?? ""];
  return { attributes, kind: Kind.Server, producers: [], decides: true, answered: batchAnswered(records.length) };
}

function s3(_records: unknown[], first: Holder): Trigger {
  const attributes: Attributes = { "faas.trigger": "datasource" };
  noteObject(first, attributes);
  const happened = text(first, "eventName")?.split(":")[0] ?? "";
  const operations: Record<string, string> = { ObjectCreated: "insert", ObjectRemoved: "delete" };
  attributes["faas.document.collection"] = attributes["aws.s3.bucket"];
  attributes["faas.document.name"] = attributes["aws.s3.key"];
  attributes["faas.document.operation"] = operations[happened];
  attributes["faas.document.time"] = text(first, "eventTime");
  return { attributes, kind: Kind.Server, producers: [], decides: true };
}

function noteObject(record: unknown, attributes: Attributes): void {
  const object = part(record, "s3");
  attributes["aws.s3.bucket"] = text(part(object, "bucket"), "name");
  attributes["aws.s3.key"] = text(part(object, "object"), "key");
}

function kafka(event: Holder): Trigger {
  const partitions = Object.values(part(event, "records")).filter(Array.isArray) as unknown[][];
  const count = partitions.reduce((sum, records) => sum + records.length, 0);
  const trigger = consumer("kafka", undefined, count);
  const { attributes } = trigger;
  attributes["aws.msk.cluster.arn"] = text(event, "eventSourceArn");
  const first = partitions.length === 1 ? partitions[0]?.[0] : undefined;
  if (isHolder(first)) {
    const { partition, offset } = first;
    attributes["messaging.destination.name"] = text(first, "topic");
    attributes["messaging.destination.partition.id"] = Number.isSafeInteger(partition) ? String(partition) : undefined;
    attributes["messaging.kafka.offset"] = count === 1 && Number.isSafeInteger(offset) ? offset : undefined;
  }
  const producers = new Producers();
  for (const record of partitions.flat().slice(0, MAX_RECORDS))
    if (isHolder(record) && !producers.add(undefined, ofKafkaHeaders(record.headers), undefined)) break;
  trigger.producers = producers.sampledFirst();
  return trigger;
}

function ofKafkaHeaders(headers: unknown): string | undefined {
  for (const header of Array.isArray(headers) ? (headers.slice(0, MAX_PRODUCERS) as unknown[]) : []) {
    const spelled = isHolder(header) ? header.traceparent : undefined;
    if (Array.isArray(spelled)) return String.fromCharCode(...(spelled.slice(0, TRACEPARENT_CHARS) as unknown[]).map(Number));
  }
  return undefined;
}

function consumer(system: string, destination: string | undefined, count: number): Trigger {
  return {
    attributes: {
      "faas.trigger": "pubsub",
      "messaging.system": system,
      "messaging.destination.name": destination,
      "messaging.operation.name": "process",
      "messaging.operation.type": "process",
      "messaging.batch.message_count": count,
    },
    kind: Kind.Consumer,
    producers: [],
    decides: true,
  };
}

/** Whom the messages come from, each once. */
class Producers {
  private readonly seen = new Set<string>();
  private readonly found: Producer[] = [];

  /** Notes what one message names. False when there is no room for more. */
  add(header: string | undefined, traceparent: string | undefined, messageId: string | undefined): boolean {
    const key = `${header ?? ""} ${traceparent ?? ""}`;
    if (this.seen.has(key)) return true;
    this.seen.add(key);
    let named = parseTraceHeader(header ?? "");
    if (traceparent !== undefined && !(named.parentId !== "" && named.sampled === "1")) {
      const other = ofTraceparent(traceparent);
      if (other.parentId !== "" && (other.sampled === "1" || named.parentId === "")) named = other;
    }
    const ids = named.traceId + named.parentId;
    if (named.traceId !== "" && named.parentId !== "" && !this.seen.has(ids)) {
      this.seen.add(ids);
      this.found.push({ header: named, attributes: { "messaging.message.id": messageId } });
    }
    return this.found.length < MAX_PRODUCERS;
  }

  /** X-Ray counts the first links only, and those to a trace that exists are worth more. */
  sampledFirst(): Producer[] {
    const rank = (producer: Producer): number => (producer.header.sampled === "1" ? 0 : 1);
    return this.found.sort((one, other) => rank(one) - rank(other));
  }
}

/** The traceparent among the attributes of a notification in a queue, found without reading the message. */
function ofNotification(body: unknown): string | undefined {
  if (typeof body !== "string") return undefined;
  const tail = body.slice(-TAIL);
  const at = tail.indexOf('"traceparent"');
  const begin = at < 0 ? -1 : tail.slice(0, at + 128).indexOf('"00-', at);
  return begin < 0 ? undefined : tail.slice(begin + 1, begin + 1 + TRACEPARENT_CHARS);
}

/** Notes what a message of one service holds of another's: a notification, an event, or both. */
function lookInside(outer: unknown, attributes: Attributes): void {
  let message = outer;
  for (let depth = 0; depth < 2; depth++) {
    if (typeof message !== "string" || message.length > MAX_NESTED) return;
    const head = message.slice(0, HEAD);
    if (head[0] !== "{" || !SIGNS.some((sign) => head.includes(sign))) return;
    let inside: unknown;
    try {
      inside = JSON.parse(message);
    } catch {
      return;
    }
    const topic = text(inside, "TopicArn");
    if (topic !== undefined) {
      attributes["aws.sns.topic.arn"] = topic;
      message = (inside as Holder).Message;
      continue;
    }
    if (text(inside, "detail-type") !== undefined) {
      attributes["aws.eventbridge.source"] = text(inside, "source");
      attributes["aws.eventbridge.detail_type"] = text(inside, "detail-type");
      return;
    }
    const records = (inside as Holder).Records;
    const first: unknown = Array.isArray(records) ? records[0] : undefined;
    if (isHolder(first) && first.eventSource === "aws:s3") noteObject(first, attributes);
    return;
  }
}

function batchAnswered(count: number): (span: Span, answer: unknown) => void {
  return (span, answer) => {
    const failures = isHolder(answer) ? answer.batchItemFailures : undefined;
    if (!Array.isArray(failures) || failures.length === 0) return;
    const items = (failures.slice(0, MAX_RECORDS) as unknown[]).map((item) => (isHolder(item) ? item.itemIdentifier : undefined));
    const whole = items.some((item) => !item);
    const { attributes } = span;
    attributes["aws.lambda.batch.failures"] = whole ? count : failures.length;
    if (!whole) attributes["aws.lambda.batch.failed_items"] = items.slice(0, MAX_FAILED_ITEMS).map(String);
    const annotated = attributes["aws.xray.annotations"];
    attributes["aws.xray.annotations"] = [...(Array.isArray(annotated) ? (annotated as unknown[]) : []), "aws.lambda.batch.failures"];
  };
}
