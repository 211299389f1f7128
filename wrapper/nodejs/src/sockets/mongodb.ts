/**
 * MongoDB: commands in `OP_MSG`, answered by the number of their request. Compressed ones are not read. Bytes of both directions come in,
 * calls of the connection go out; chosen by socket.ts.
 */

import { MAX_TEXT, type Span } from "../trace/span";
import type { Connection, Conversation, Refusal } from "./connection";
import { Messages } from "./messages";

const LIBRARIES = ["mongodb"];
const OP_COMPRESSED = 2012;
const OP_MSG = 2013;
const HEAD = 16;
const MAX_SIZE = 64 * 1024 * 1024;
/** Nobody answers. */
const MORE_TO_COME = 2;

export function read(connection: Connection): Conversation {
  return new Mongodb(connection);
}

class Mongodb implements Conversation {
  private readonly awaited = new Map<number, Span>();
  private readonly fromClient = new Messages(HEAD, sizeOf, (head, body) => this.onSent(head, body));
  private readonly fromServer = new Messages(HEAD, sizeOf, (head, body) => this.onReceived(head, body));

  constructor(private readonly connection: Connection) {}

  sent(data: Buffer): void {
    this.fromClient.feed(data);
  }

  received(data: Buffer): void {
    this.fromServer.feed(data);
  }

  private onSent(head: Buffer, body: Buffer): void {
    const operation = head.readInt32LE(12);
    if (operation === OP_COMPRESSED) this.connection.over = true;
    if (operation !== OP_MSG || body.length < 5) return;
    const command = commandOf(body);
    if (command === undefined) return;
    const { host, port } = this.connection;
    const { name, database, collection } = command;
    const span = this.connection.call(LIBRARIES, ({ mongodb }) => mongodb(name, database, collection, host, port));
    if (span === undefined) return;
    if (body.readUInt32LE(0) & MORE_TO_COME) this.connection.finish(span);
    else this.awaited.set(head.readInt32LE(4), span);
  }

  private onReceived(head: Buffer, body: Buffer): void {
    const answered = head.readInt32LE(8);
    const span = this.awaited.get(answered);
    if (span === undefined) return;
    this.awaited.delete(answered);
    this.connection.finish(span, refusalOf(body));
  }
}

interface Command {
  name: string;
  database: string | undefined;
  collection: string | undefined;
}

function commandOf(body: Buffer): Command | undefined {
  const command: Command = { name: "", database: undefined, collection: undefined };
  readDocument(body, (field, value) => {
    const text = typeof value === "string" ? value : undefined;
    if (command.name === "") {
      command.name = field;
      command.collection = text;
    } else if (field === "$db") command.database = text;
    else if (field === "collection") command.collection ??= text;
  });
  return command.name === "" ? undefined : command;
}

/** None where the command has succeeded. */
function refusalOf(body: Buffer): Refusal | undefined {
  const said: Record<string, Value> = {};
  readDocument(body, (field, value) => {
    if (["ok", "code", "codeName", "errmsg"].includes(field)) said[field] = value;
  });
  if (said.ok === undefined || Number(said.ok) !== 0) return undefined;
  return { code: String(said.code ?? said.codeName ?? ""), message: String(said.errmsg ?? "") };
}

/** Bytes of a value by its type in BSON; those that tell their own size are below. */
const FIXED: Record<number, number> = { 1: 8, 6: 0, 7: 12, 8: 1, 9: 8, 10: 0, 16: 4, 17: 8, 18: 8, 19: 16, 127: 0, 255: 0 };
/** Types that begin with a size, and what comes on top of it. */
const SIZED: Record<number, number> = { 2: 4, 3: 0, 4: 0, 5: 5, 12: 16, 13: 4, 14: 4, 15: 0 };

type Value = string | number | boolean | undefined;

/** The fields of the message's one document, but not what is in them; ends where it is cut off. */
function readDocument(body: Buffer, onField: (name: string, value: Value) => void): void {
  let at = 4;
  // Sequences of documents may come before it.
  while (body[at] === 1 && at + 5 <= body.length) at += 1 + Math.max(4, body.readUInt32LE(at + 1));
  if (body[at] !== 0) return;
  at += 5;
  while (at < body.length) {
    const type = body[at] ?? 0;
    const nameEnds = type === 0 ? -1 : body.indexOf(0, at + 1);
    if (nameEnds < 0) return;
    const name = body.toString("utf8", at + 1, Math.min(nameEnds, at + 256));
    at = nameEnds + 1;
    const more = SIZED[type];
    if (more !== undefined && at + 4 > body.length) return;
    const size = more === undefined ? FIXED[type] : body.readUInt32LE(at) + more;
    if (size === undefined || at + size > body.length) return;
    onField(name, valueOf(type, body, at, size));
    at += size;
  }
}

function valueOf(type: number, body: Buffer, at: number, size: number): Value {
  switch (type) {
    case 1:
      return body.readDoubleLE(at);
    case 2:
      return body.toString("utf8", at + 4, Math.min(at + size - 1, at + 4 + MAX_TEXT));
    case 8:
      return body[at] === 1;
    case 16:
      return body.readInt32LE(at);
    case 18:
      return Number(body.readBigInt64LE(at));
    default:
      return undefined;
  }
}

function sizeOf(head: Buffer): number {
  const size = head.readInt32LE(0) - HEAD;
  if (size > MAX_SIZE) throw new Error("MongoDB has no such message");
  return size;
}
