/**
 * Kafka: what a producer sends. Nothing can be added to it on the way, so the trace does not go on in whoever receives it. Bytes of both
 * directions come in, calls of the connection go out; chosen by socket.ts.
 */

import type { KafkaMessage } from "../libraries/data/messaging";
import type { Span } from "../trace/span";
import type { Connection, Conversation, Refusal } from "./connection";
import { Messages } from "./messages";

const LIBRARY = "kafkajs";
const PRODUCE = 0;
/** From here on requests are written in another way. */
const FLEXIBLE = 9;
const MAX_SIZE = 128 * 1024 * 1024;
/** Of a batch of records: where it says its format, its compression, how many they are, and where they begin. */
const BATCH = { format: 16, attributes: 21, count: 57, records: 61 } as const;

export function read(connection: Connection): Conversation {
  return new Kafka(connection);
}

class Kafka implements Conversation {
  private readonly awaited = new Map<number, { span: Span; version: number }>();
  private readonly fromClient = new Messages(4, sizeOf, (_, body) => this.onRequest(new Reader(body)));
  private readonly fromServer = new Messages(4, sizeOf, (_, body) => this.onAnswer(new Reader(body)));

  constructor(private readonly connection: Connection) {}

  sent(data: Buffer): void {
    this.fromClient.feed(data);
  }

  received(data: Buffer): void {
    this.fromServer.feed(data);
  }

  private onRequest(request: Reader): void {
    const key = request.int16();
    const version = request.int16();
    const correlation = request.int32();
    if (key !== PRODUCE || version >= FLEXIBLE) return;
    request.text();
    if (version >= 3) request.text();
    const acknowledgements = request.int16();
    request.int32();
    const { topics, first, total } = produced(request);
    const topic = topics.size === 1 ? [...topics][0] : undefined;
    const { host, port } = this.connection;
    const span = this.connection.send(LIBRARY, ({ kafka }) => [
      topic === undefined ? "send" : `send ${topic}`,
      {
        ...kafka(topic, "send", total === 1 ? [first] : []),
        ...(total === 1 ? {} : { "messaging.batch.message_count": total }),
        "server.address": host,
        "server.port": port,
      },
    ]);
    if (span === undefined) return;
    if (acknowledgements === 0) this.connection.finish(span);
    else this.awaited.set(correlation, { span, version });
  }

  private onAnswer(answer: Reader): void {
    const correlation = answer.int32();
    const call = this.awaited.get(correlation);
    if (call === undefined) return;
    this.awaited.delete(correlation);
    this.connection.finish(call.span, refusalOf(answer, call.version));
  }
}

/** Topics, and their messages: what one says of itself, or how many they are. */
function produced(request: Reader): { topics: Set<string>; first: KafkaMessage; total: number } {
  const topics = new Set<string>();
  let first: KafkaMessage = {};
  let total = 0;
  for (let left = request.int32(); left > 0 && request.more(); left--) {
    topics.add(request.text() ?? "");
    for (let partitions = request.int32(); partitions > 0 && request.more(); partitions--) {
      request.int32();
      const records = request.bytes();
      const known = records.length > BATCH.records && records[BATCH.format] === 2;
      total += known ? Math.max(0, records.readInt32BE(BATCH.count)) : 1;
      const compressed = ((records[BATCH.attributes + 1] ?? 7) & 7) !== 0;
      if (known && total === 1 && !compressed) first = firstRecord(new Reader(records.subarray(BATCH.records)));
    }
  }
  return { topics, first, total };
}

/** Its key, and whether it has a value. */
function firstRecord(record: Reader): KafkaMessage {
  record.varint();
  record.skip(1);
  record.varint();
  record.varint();
  const keySize = record.varint();
  const key = keySize < 0 ? undefined : record.take(keySize).toString();
  return { key, value: record.varint() < 0 ? null : undefined };
}

/** The first partition that did not take its records. */
function refusalOf(answer: Reader, version: number): Refusal | undefined {
  const more = 8 + (version >= 2 ? 8 : 0) + (version >= 5 ? 8 : 0);
  for (let topics = answer.int32(); topics > 0 && answer.more(); topics--) {
    answer.text();
    for (let partitions = answer.int32(); partitions > 0 && answer.more(); partitions--) {
      answer.int32();
      const code = answer.int16();
      if (code !== 0) return { code: String(code), message: `The broker answered with error ${code}` };
      // What version 8 says besides is not read.
      if (version >= 8) return undefined;
      answer.skip(more);
    }
  }
  return undefined;
}

function sizeOf(head: Buffer): number {
  const size = head.readInt32BE(0);
  if (size < 4 || size > MAX_SIZE) throw new Error("Kafka has no such message");
  return size;
}

/** Reads one value after the other; behind the end of what is there, everything is zero. */
class Reader {
  private at = 0;

  constructor(private readonly data: Buffer) {}

  more(): boolean {
    return this.at < this.data.length;
  }

  take(size: number): Buffer {
    const start = this.at;
    this.at += Math.max(0, size);
    return this.data.subarray(start, this.at);
  }

  skip(size: number): void {
    this.at += size;
  }

  int16(): number {
    const value = this.take(2);
    return value.length < 2 ? 0 : value.readInt16BE(0);
  }

  int32(): number {
    const value = this.take(4);
    return value.length < 4 ? 0 : value.readInt32BE(0);
  }

  text(): string | undefined {
    const size = this.int16();
    return size < 0 ? undefined : this.take(size).toString();
  }

  bytes(): Buffer {
    return this.take(this.int32());
  }

  /** A number whose bytes say whether another one follows, with its sign in the last bit. */
  varint(): number {
    let value = 0;
    for (let shift = 0; shift < 35 && this.more(); shift += 7) {
      const [byte = 0] = this.take(1);
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) break;
    }
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }
}
