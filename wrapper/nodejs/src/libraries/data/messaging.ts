/**
 * Kafka (kafkajs) and RabbitMQ (amqplib): what is sent carries the trace on, what is received is linked to the trace it comes from. Called
 * with what a client's files export; what reads sockets describes its messages by the same words.
 */

import { type Agent, guarded } from "../../record/agent";
import { type Attributes, Kind, type Span } from "../../trace/span";
import { ofTraceparent, parseTraceHeader, type TraceHeader } from "../../trace/trace_header";
import { type Method, type Prototype, runInner, text, whenSettled } from "../calls";

type Headers = Record<string, unknown>;

/** Messages of one batch that are linked to. */
const MAX_LINKS = 128;

/** Libraries that are patched: what they tell of their calls is known. */
const patched = new Set<string>();

/** Whether the library's calls are known, so that nobody need read what goes over its sockets. */
export const isTold = (library: string): boolean => patched.has(library);

export function sendSpan(agent: Agent, name: string, attributes: Attributes): Span | undefined {
  const span = agent.recorder.call(name, Kind.Producer);
  if (span === undefined) return undefined;
  span.attributes = attributes;
  agent.recorder.announce(span);
  return span;
}

/** The headers with the trace in them; those that the function has set stay. The function's own object is left alone. */
function withTrace(agent: Agent, span: Span, headers: unknown): Headers {
  const { recorder } = agent;
  return { ...(recorder.mayTellAnybody ? Object.fromEntries(recorder.headers(span)) : {}), ...(headers as Headers | undefined) };
}

function producerOf(headers: Headers = {}): TraceHeader {
  const get = (name: string): string => String(headers[name] ?? headers[name.toLowerCase()] ?? "");
  const parent = ofTraceparent(get("traceparent"));
  return parent.traceId === "" ? parseTraceHeader(get("X-Amzn-Trace-Id")) : parent;
}

/** A span for messages that a consumer of the function works on; none outside of an invocation. */
function processSpan(agent: Agent, name: string, attributes: Attributes, messages: readonly (Headers | undefined)[]): Span | undefined {
  const span = agent.recorder.child(name, Kind.Consumer);
  if (span === undefined) return undefined;
  span.attributes = attributes;
  for (const headers of messages.slice(0, MAX_LINKS)) {
    const { traceId, parentId } = producerOf(headers);
    if (traceId !== "" && parentId !== "" && traceId !== span.traceId)
      (span.links ??= []).push({ traceId, spanId: parentId, attributes: {} });
  }
  return span;
}

export interface KafkaMessage {
  key?: unknown;
  value?: unknown;
  partition?: number;
  offset?: unknown;
  headers?: Headers;
}

interface TopicMessages {
  topic: string;
  messages: KafkaMessage[];
}

interface KafkaConsumed {
  topic: string;
  partition: number;
  message: KafkaMessage;
}

interface KafkaBatch {
  batch: { topic: string; partition: number; messages: KafkaMessage[] };
}

/** What one message says of itself; nothing where there are several. */
function ofMessages(messages: readonly KafkaMessage[]): Attributes {
  const [message] = messages;
  if (message === undefined || messages.length > 1) return { "messaging.batch.message_count": messages.length };
  const { key, value, offset } = message;
  return {
    "messaging.kafka.message.key": key === undefined || key === null ? undefined : String(key),
    "messaging.kafka.message.tombstone": key && value === null ? true : undefined,
    "messaging.kafka.offset": offset,
  };
}

export function kafka(topic: string | undefined, operation: "send" | "process", messages: readonly KafkaMessage[], partition?: number): Attributes {
  return {
    "messaging.system": "kafka",
    "messaging.destination.name": topic,
    "messaging.operation.name": operation,
    "messaging.operation.type": operation,
    "messaging.destination.partition.id": partition === undefined ? undefined : String(partition),
    ...ofMessages(messages),
  };
}

/** `kafkajs/src/index.js`: the clients that it makes are objects without a class. */
export function patchKafkajs(agent: Agent, exports: unknown): void {
  const { prototype } = exports as { prototype: Prototype };
  const { producer, consumer } = prototype;
  patched.add("kafkajs");
  if (producer !== undefined)
    prototype.producer = function (...given) {
      const made = producer.apply(this, given) as Prototype;
      guarded(agent, "a Kafka producer", () => watchSending(agent, made));
      return made;
    };
  if (consumer !== undefined)
    prototype.consumer = function (...given) {
      const made = consumer.apply(this, given) as Prototype;
      guarded(agent, "a Kafka consumer", () => watchRun(agent, made));
      return made;
    };
}

/** A producer, or one of its transactions. */
function watchSending(agent: Agent, producer: Prototype): void {
  watchSend(
    agent,
    producer,
    "send",
    (record) => [record as TopicMessages],
    (record, [sent]) => ({ ...(record as object), ...sent }),
  );
  watchSend(
    agent,
    producer,
    "sendBatch",
    (batch) => (batch as { topicMessages?: TopicMessages[] }).topicMessages ?? [],
    (batch, topicMessages) => ({ ...(batch as object), topicMessages }),
  );
  const { transaction } = producer;
  if (transaction !== undefined)
    producer.transaction = async function (...given) {
      const made = (await transaction.apply(this, given)) as Prototype;
      guarded(agent, "a Kafka transaction", () => watchSending(agent, made));
      return made;
    };
}

/** `topicsOf` takes what is sent apart, `put` puts it together again with the trace in it. */
function watchSend(
  agent: Agent,
  producer: Prototype,
  method: "send" | "sendBatch",
  topicsOf: (given: unknown) => TopicMessages[],
  put: (given: unknown, topics: TopicMessages[]) => unknown,
): void {
  const original = producer[method];
  if (original === undefined) return;
  producer[method] = function (...given) {
    const span = guarded(agent, "a Kafka message", () => {
      const topics = topicsOf(given[0]);
      // What is no list is for the library to complain about.
      if (!topics.every(({ messages }) => Array.isArray(messages))) return undefined;
      const names = new Set(topics.map(({ topic }) => topic));
      const topic = names.size === 1 ? topics[0]?.topic : undefined;
      const messages = topics.flatMap((sent) => sent.messages);
      const made = sendSpan(agent, topic === undefined ? "send" : `send ${topic}`, kafka(topic, "send", messages, messages.length === 1 ? messages[0]?.partition : undefined));
      if (made === undefined) return undefined;
      const traced = topics.map((sent) => ({
        ...sent,
        messages: sent.messages.map((message) => ({ ...message, headers: withTrace(agent, made, message.headers) })),
      }));
      given[0] = put(given[0], traced);
      return made;
    });
    if (span === undefined) return original.apply(this, given);
    const finish = (error?: unknown): void => void guarded(agent, "a Kafka message", () => agent.recorder.finish(span, error));
    return whenSettled(agent.recorder.run(span, () => original.apply(this, given)) as Promise<unknown>, finish);
  };
}

function watchRun(agent: Agent, consumer: Prototype): void {
  const { run } = consumer;
  if (run === undefined) return;
  consumer.run = function (...given) {
    const { eachMessage, eachBatch, ...config } = (given[0] ?? {}) as { eachMessage?: Method; eachBatch?: Method };
    const watched = { ...config } as { eachMessage?: Method; eachBatch?: Method };
    if (eachMessage)
      watched.eachMessage = function (...payload) {
        const span = guarded(agent, "a Kafka message", () => {
          const { topic, partition, message } = payload[0] as KafkaConsumed;
          return processSpan(agent, `process ${topic}`, kafka(topic, "process", [message], partition), [message.headers]);
        });
        const run = (): unknown => eachMessage.apply(this, payload);
        return span === undefined ? run() : runInner(agent, span, run);
      };
    if (eachBatch)
      watched.eachBatch = function (...payload) {
        const span = guarded(agent, "a Kafka batch", () => {
          const { topic, partition, messages } = (payload[0] as KafkaBatch).batch;
          const attributes = { ...kafka(topic, "process", messages, partition), "messaging.batch.message_count": messages.length };
          return processSpan(agent, `process ${topic}`, attributes, messages.map(({ headers }) => headers));
        });
        const run = (): unknown => eachBatch.apply(this, payload);
        return span === undefined ? run() : runInner(agent, span, run);
      };
    return run.call(this, watched, ...given.slice(1));
  };
}

/** Where connections lead to, by the connection. */
const addresses = new WeakMap<object, Attributes>();

/** `amqplib/lib/connect.js`. */
export function patchAmqpConnect(agent: Agent, exports: unknown): void {
  const connecting = exports as Prototype;
  const { connect } = connecting;
  patched.add("amqplib");
  if (connect === undefined) return;
  connecting.connect = function (...given) {
    const [url, , opened] = given;
    if (typeof opened === "function")
      given[2] = function (this: unknown, ...answer: unknown[]): unknown {
        const [, connection] = answer;
        if (typeof connection === "object" && connection !== null)
          guarded(agent, "an AMQP connection", () => addresses.set(connection, addressOf(url, connection)));
        return (opened as Method).apply(this as object, answer);
      };
    return connect.apply(this, given);
  };
}

/** Address, port and product, never the user or the password. */
function addressOf(url: unknown, connection: { serverProperties?: { product?: unknown } }): Attributes {
  const parts = (typeof url === "object" ? (url ?? {}) : new URL(String(url ?? "amqp://localhost"))) as Record<string, unknown>;
  const secure = String(parts.protocol ?? "amqp").startsWith("amqps");
  return {
    "messaging.system": text(connection.serverProperties?.product)?.toLowerCase() ?? "rabbitmq",
    "network.protocol.name": "amqp",
    "network.protocol.version": "0.9.1",
    "server.address": text(parts.hostname) ?? "localhost",
    "server.port": Number(parts.port || (secure ? 5671 : 5672)),
  };
}

interface AmqpProperties {
  headers?: Headers;
  messageId?: unknown;
  correlationId?: unknown;
}

interface AmqpMessage {
  fields: { exchange?: unknown; routingKey?: unknown };
  properties: AmqpProperties;
}

export function amqp(channel: object, operation: "publish" | "process", exchange: unknown, routingKey: unknown, properties: AmqpProperties): Attributes {
  const { connection } = channel as { connection?: object };
  return {
    "messaging.system": "rabbitmq",
    ...(connection === undefined ? {} : addresses.get(connection)),
    "messaging.destination.name": [text(exchange), text(routingKey)].filter(Boolean).join(":") || undefined,
    "messaging.rabbitmq.destination.routing_key": text(routingKey),
    "messaging.operation.name": operation,
    "messaging.operation.type": operation === "publish" ? "send" : "process",
    "messaging.message.id": text(properties.messageId),
    "messaging.message.conversation_id": text(properties.correlationId),
  };
}

/** `amqplib/lib/channel_model.js` and `amqplib/lib/callback_model.js`. */
export function patchAmqpChannels(agent: Agent, exports: unknown): void {
  const { Channel: channel, ConfirmChannel: confirmChannel } = exports as Record<string, { prototype: Prototype }>;
  if (confirmChannel !== undefined && Object.hasOwn(confirmChannel.prototype, "publish")) watchPublish(agent, confirmChannel.prototype, true);
  if (channel === undefined) return;
  watchPublish(agent, channel.prototype, false);
  watchConsume(agent, channel.prototype);
}

/** A publication is over when it is on its way, on a channel with confirmations when it is confirmed. */
function watchPublish(agent: Agent, channel: Prototype, confirms: boolean): void {
  const { publish } = channel;
  if (publish === undefined) return;
  const { recorder } = agent;
  channel.publish = function (...given) {
    const [exchange, routingKey, , options] = given;
    const outer = recorder.held();
    const span = guarded(agent, "an AMQP message", () => {
      const properties = (options ?? {}) as AmqpProperties;
      const attributes = amqp(this, "publish", exchange, routingKey, properties);
      const made = sendSpan(agent, `publish ${text(exchange) ?? text(routingKey) ?? ""}`.trimEnd(), attributes);
      if (made !== undefined) given[3] = { ...properties, headers: withTrace(agent, made, properties.headers) };
      return made;
    });
    if (span === undefined) return publish.apply(this, given);
    const finish = (error?: unknown): void => void guarded(agent, "an AMQP message", () => recorder.finish(span, error));
    const callback = given[4];
    if (confirms)
      given[4] = function (this: unknown, ...answer: unknown[]): unknown {
        finish(answer[0]);
        return typeof callback === "function" ? recorder.run(outer, () => (callback as Method).apply(this as object, answer)) : undefined;
      };
    try {
      const sent = recorder.run(span, () => publish.apply(this, given));
      if (!confirms) finish();
      return sent;
    } catch (error) {
      finish(error);
      throw error;
    }
  };
}

function watchConsume(agent: Agent, channel: Prototype): void {
  const { consume } = channel;
  if (consume === undefined) return;
  channel.consume = function (...given) {
    const [queue, onMessage] = given;
    const self = this;
    if (typeof onMessage === "function")
      given[1] = function (this: unknown, ...received: unknown[]): unknown {
        const message = received[0] as AmqpMessage | null;
        const span = guarded(agent, "an AMQP message", () => {
          // None: the broker has cancelled the consumer.
          if (message === null) return undefined;
          const { fields, properties } = message;
          const attributes = amqp(self, "process", fields.exchange, fields.routingKey, properties);
          return processSpan(agent, `process ${String(queue)}`, attributes, [properties.headers]);
        });
        const run = (): unknown => (onMessage as Method).apply(this as object, received);
        return span === undefined ? run() : runInner(agent, span, run);
      };
    return consume.apply(this, given);
  };
}
