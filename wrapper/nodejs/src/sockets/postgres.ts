/**
 * PostgreSQL, protocol 3: simple and extended queries, also several before the first answer. Bytes of both directions come in, calls of the
 * connection go out; chosen by socket.ts.
 */

import type { Span } from "../trace/span";
import type { Connection, Conversation, Refusal } from "./connection";
import { GSS_REQUEST, SSL_REQUEST } from "./first_words";
import { Messages, zeroEnded } from "./messages";

const LIBRARIES = ["pg"];
/** A message is a gigabyte at most. */
const MAX_SIZE = 0x40000000;
const MAX_START = 10_000;
const EMPTY = Buffer.alloc(0);
/** Prepared statements whose text is known. */
const MAX_STATEMENTS = 256;

/** What the server answers in order. A `sync` is what ends each round, by itself or together with a simple query. */
interface Awaited {
  kind: "query" | "execute" | "sync";
  span?: Span | undefined;
}

export function read(connection: Connection): Conversation {
  return new Postgres(connection);
}

class Postgres implements Conversation {
  private started = false;
  /** Of the start-up message, what has been sent of it. */
  private beginning: Buffer = EMPTY;
  /** The server answers with one byte, which is no message. */
  private asked = false;
  private user = "";
  private database = "";
  private readonly awaited: Awaited[] = [];
  private readonly statements = new Map<string, string>();
  /** The statement of the last `Bind`, until it is executed: what is executed once more only fetches more rows. */
  private bound: string | undefined;
  /** The last `Parse` that nothing has executed. */
  private prepared: { text: string; startUs: number; here: <T>(run: () => T) => T } | undefined;
  private readonly fromClient = new Messages(5, sizeOf, (head, body) => this.onSent(head[0] ?? 0, body));
  private readonly fromServer = new Messages(5, sizeOf, (head, body) => this.onReceived(head[0] ?? 0, body));

  constructor(private readonly connection: Connection) {}

  sent(data: Buffer): void {
    if (this.started) this.fromClient.feed(data);
    else this.start(data);
  }

  private start(piece: Buffer): void {
    const data = this.beginning.length === 0 ? piece : Buffer.concat([this.beginning, piece]);
    const size = data.length < 8 ? 8 : data.readUInt32BE(0);
    if (size < 8 || size > MAX_START) throw new Error("PostgreSQL begins with no start-up message");
    this.beginning = data.length < size ? data : EMPTY;
    if (data.length < size) return;
    const code = data.readUInt32BE(4);
    if (size === 8 && (code === SSL_REQUEST || code === GSS_REQUEST)) {
      this.asked = true;
      return;
    }
    if (code >>> 16 !== 3) throw new Error("PostgreSQL begins with another protocol");
    this.started = true;
    this.asked = false;
    const said = data.toString("utf8", 8, size).split("\0");
    for (let index = 0; index + 1 < said.length; index += 2) {
      if (said[index] === "user") this.user = said[index + 1] ?? "";
      if (said[index] === "database") this.database = said[index + 1] ?? "";
    }
    const { user, database } = this;
    this.awaited.push({ kind: "sync", span: this.connection.connect(LIBRARIES, "postgresql", { user, database: database || user }) });
    if (data.length > size) this.fromClient.feed(data.subarray(size));
  }

  received(data: Buffer): void {
    if (!this.asked) {
      this.fromServer.feed(data);
      return;
    }
    this.asked = false;
    const [answer] = data;
    if (answer === 0x53) this.connection.afterTls = this;
    // Refused: the function goes on in clear text, or gives up.
    else if (answer !== 0x4e) this.connection.over = true;
  }

  private onSent(type: number, body: Buffer): void {
    switch (String.fromCharCode(type)) {
      case "Q":
        this.awaited.push({ kind: "query", span: this.call(zeroEnded(body, 0)[0]) });
        break;
      case "P": {
        const [name, next] = zeroEnded(body, 0);
        const [text] = zeroEnded(body, next);
        const { connection } = this;
        this.prepared = { text, startUs: connection.now(), here: connection.here() };
        if (this.statements.size >= MAX_STATEMENTS) this.statements.delete(this.statements.keys().next().value ?? "");
        this.statements.set(name, text);
        break;
      }
      case "B": {
        const [, next] = zeroEnded(body, 0);
        this.bound = this.statements.get(zeroEnded(body, next)[0]) ?? "";
        break;
      }
      case "E":
        this.awaited.push({ kind: "execute", span: this.bound === undefined ? undefined : this.call(this.bound) });
        this.bound = this.prepared = undefined;
        break;
      case "S":
        this.awaited.push({ kind: "sync" });
        break;
      case "F":
        // The server ends a function call as it ends a query.
        this.awaited.push({ kind: "query" });
        break;
      case "C":
        if (body[0] === 0x53) this.statements.delete(zeroEnded(body, 1)[0]);
        break;
    }
    if (this.awaited.length > 10_000) this.connection.over = true;
  }

  private onReceived(type: number, body: Buffer): void {
    const [head] = this.awaited;
    switch (String.fromCharCode(type)) {
      case "C":
      case "I":
      case "s":
        // A simple query may hold several statements, and is over when the server is ready again.
        if (head?.kind === "execute") this.connection.finish(this.awaited.shift()?.span);
        break;
      case "E":
        this.onError(refusalOf(body));
        break;
      case "Z":
        for (let ended = this.awaited.shift(); ended !== undefined; ended = this.awaited.shift()) {
          this.connection.finish(ended.span);
          if (ended.kind !== "execute") break;
        }
        // What was prepared to be executed later has not failed.
        if (this.awaited.length === 0) this.prepared = undefined;
        break;
    }
  }

  /** The server skips what is left of the round. */
  private onError(refusal: Refusal): void {
    const { connection, prepared } = this;
    let executes = false;
    for (const { kind, span } of this.awaited) {
      if (kind !== "sync") executes = true;
      connection.finish(span, refusal);
      if (kind !== "execute") break;
    }
    if (executes || prepared === undefined) return;
    this.prepared = undefined;
    const failed = prepared.here(() => this.call(prepared.text));
    if (failed === undefined) return;
    failed.startUs = prepared.startUs;
    connection.finish(failed, refusal);
  }

  private call(text: string): Span | undefined {
    const { host, port } = this.connection;
    const { user, database } = this;
    const config = { host, port, user, database: database || user };
    return this.connection.call(LIBRARIES, ({ sql, isUnsent }) => (isUnsent(text, config) ? undefined : sql("postgresql", text, config)));
  }
}

/** The size counts itself. */
function sizeOf(head: Buffer): number {
  const size = head.readUInt32BE(1) - 4;
  const type = head[0] ?? 0;
  const isLetter = (type >= 0x41 && type <= 0x5a) || (type >= 0x61 && type <= 0x7a);
  if (isLetter || /[1-9]/.test(String.fromCharCode(type))) return size > MAX_SIZE ? -1 : size;
  throw new Error("PostgreSQL has no such message");
}

/** Fields, each a letter and a text. */
function refusalOf(body: Buffer): Refusal {
  const refusal = { code: "", message: "" };
  for (let at = 0; at < body.length && body[at] !== 0; ) {
    const [text, next] = zeroEnded(body, at + 1);
    if (body[at] === 0x43) refusal.code = text;
    if (body[at] === 0x4d) refusal.message = text;
    at = next;
  }
  return refusal;
}
