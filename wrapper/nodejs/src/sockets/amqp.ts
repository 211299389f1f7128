/**
 * AMQP 0-9-1: what is published. Nothing can be added to it on the way, so the trace does not go on in whoever receives it. Bytes of both
 * directions come in, calls of the connection go out; chosen by socket.ts.
 */

import type { Attributes, Span } from "../trace/span";
import type { Connection, Conversation, Refusal } from "./connection";
import { Messages } from "./messages";

const LIBRARY = "amqplib";
const FRAME_METHOD = 1;
const FRAME_HEADER = 2;
const MAX_SIZE = 128 * 1024 * 1024;
/** Class and number of a method in one. */
const Method = {
  ChannelOpen: (20 << 16) | 10,
  ChannelClose: (20 << 16) | 40,
  Publish: (60 << 16) | 40,
  Ack: (60 << 16) | 80,
  Nack: (60 << 16) | 120,
  ConfirmSelect: (85 << 16) | 10,
} as const;
const NOT_TAKEN: Refusal = { code: "nack", message: "The broker did not take the message" };

/** Properties of a message in the order in which they are sent; those that are not texts by their size. */
const PROPERTIES: readonly (readonly [flag: number, name: string, size?: number | "table"])[] = [
  [1 << 15, "contentType"],
  [1 << 14, "contentEncoding"],
  [1 << 13, "headers", "table"],
  [1 << 12, "deliveryMode", 1],
  [1 << 11, "priority", 1],
  [1 << 10, "correlationId"],
  [1 << 9, "replyTo"],
  [1 << 8, "expiration"],
  [1 << 7, "messageId"],
];

export function read(connection: Connection): Conversation {
  return new Amqp(connection);
}

interface Channel {
  /** The message that has been named, and not been described yet. */
  exchange: string;
  routingKey: string;
  publishing: boolean;
  /** What waits to be confirmed, by its number. */
  confirmed: Map<number, Span | undefined> | undefined;
  sent: number;
}

class Amqp implements Conversation {
  private greeted = false;
  private readonly channels = new Map<number, Channel>();
  private readonly fromClient = new Messages(7, sizeOf, (head, body) => this.onFrame(head, body, true));
  private readonly fromServer = new Messages(7, sizeOf, (head, body) => this.onFrame(head, body, false));

  constructor(private readonly connection: Connection) {}

  sent(data: Buffer): void {
    this.fromClient.feed(this.greeted ? data : data.subarray(8));
    this.greeted = true;
  }

  received(data: Buffer): void {
    this.fromServer.feed(data);
  }

  private onFrame(head: Buffer, body: Buffer, fromClient: boolean): void {
    const number = head.readUInt16BE(1);
    const [type] = head;
    if (type === FRAME_METHOD && body.length >= 4) this.onMethod(number, body.readUInt32BE(0), body, fromClient);
    else if (type === FRAME_HEADER && fromClient) this.onHeader(number, body);
  }

  private onMethod(number: number, method: number, body: Buffer, fromClient: boolean): void {
    if (fromClient && method === Method.Publish) {
      const [exchange, next] = shortText(body, 6);
      const [routingKey] = shortText(body, next);
      Object.assign(this.channel(number), { exchange, routingKey, publishing: true });
    } else if (fromClient && method === Method.ConfirmSelect) {
      Object.assign(this.channel(number), { confirmed: new Map(), sent: 0 });
    } else if (fromClient && method === Method.ChannelOpen) {
      this.channels.delete(number);
    } else if (!fromClient && method === Method.ChannelClose && body.length >= 7) {
      // The broker says what was wrong with something that was published.
      this.onConfirmed(this.channel(number), Infinity, true, { code: String(body.readUInt16BE(4)), message: shortText(body, 6)[0] });
    } else if (!fromClient && (method === Method.Ack || method === Method.Nack) && body.length >= 13) {
      this.onConfirmed(this.channel(number), body.readUInt32BE(8), ((body[12] ?? 0) & 1) === 1, method === Method.Nack ? NOT_TAKEN : undefined);
    }
  }

  private channel(number: number): Channel {
    let channel = this.channels.get(number);
    if (channel === undefined) {
      channel = { exchange: "", routingKey: "", publishing: false, confirmed: undefined, sent: 0 };
      this.channels.set(number, channel);
    }
    return channel;
  }

  private onHeader(number: number, body: Buffer): void {
    const channel = this.channel(number);
    if (!channel.publishing) return;
    channel.publishing = false;
    const { exchange, routingKey } = channel;
    const { host, port } = this.connection;
    const address: Attributes = { "network.protocol.name": "amqp", "network.protocol.version": "0.9.1", "server.address": host, "server.port": port };
    const span = this.connection.send(LIBRARY, ({ amqp }) => [
      `publish ${exchange || routingKey}`.trimEnd(),
      { ...amqp({}, "publish", exchange, routingKey, propertiesOf(body)), ...address },
    ]);
    channel.sent++;
    if (channel.confirmed === undefined) this.connection.finish(span);
    else channel.confirmed.set(channel.sent, span);
    if (channel.confirmed !== undefined && channel.confirmed.size > 10_000) this.connection.over = true;
  }

  private onConfirmed(channel: Channel, number: number, andEarlier: boolean, refusal?: Refusal): void {
    const { confirmed } = channel;
    if (confirmed === undefined) return;
    // Zero stands for all of them.
    const numbers = andEarlier ? [...confirmed.keys()].filter((each) => number === 0 || each <= number) : [number];
    for (const each of numbers) {
      this.connection.finish(confirmed.get(each), refusal);
      confirmed.delete(each);
    }
  }
}

function shortText(body: Buffer, at: number): [text: string, next: number] {
  const next = at + 1 + (body[at] ?? 0);
  return [body.toString("utf8", at + 1, next), next];
}

function propertiesOf(body: Buffer): Record<string, string> {
  const found: Record<string, string> = {};
  const flags = body.length < 14 ? 0 : body.readUInt16BE(12);
  let at = 14;
  for (const [flag, name, size] of PROPERTIES) {
    if (!(flags & flag)) continue;
    if (size === undefined) [found[name], at] = shortText(body, at) as [string, number];
    else if (size === "table") at += 4 + (at + 4 > body.length ? 0 : body.readUInt32BE(at));
    else at += size;
  }
  return found;
}

/** A frame ends with a byte of its own. */
function sizeOf(head: Buffer): number {
  const [type = 0] = head;
  if (type < 1 || type > 8) throw new Error("AMQP has no such frame");
  const size = head.readUInt32BE(3) + 1;
  return size > MAX_SIZE ? -1 : size;
}
