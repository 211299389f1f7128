/**
 * MySQL and MariaDB, protocol 10: text statements and prepared ones. Bytes of both directions come in, calls of the connection go out;
 * chosen by socket.ts.
 */

import { MAX_TEXT, type Span } from "../trace/span";
import type { Connection, Conversation, Refusal } from "./connection";
import { Messages, zeroEnded } from "./messages";

/** Capabilities that the client has chosen. */
const WITH_DATABASE = 1 << 3;
const COMPRESSED = 1 << 5;
const SECURE = 1 << 15;
const PLUGIN = 1 << 19;
const CONNECT_ATTRIBUTES = 1 << 20;
const SIZED_PASSWORD = 1 << 21;
const DEPRECATE_EOF = 1 << 24;
const ZSTD = 1 << 26;
const QUERY_ATTRIBUTES = 1 << 27;

/** What the server says of itself with each result. */
const MORE_RESULTS = 1 << 3;
const CURSOR_EXISTS = 1 << 6;

const MAX_STATEMENTS = 256;
const MAX_PACKET = 0xffffff;

const Command = {
  Quit: 0x01, UseDatabase: 0x02, Query: 0x03, FieldList: 0x04, ChangeUser: 0x11, BinlogDump: 0x12, Prepare: 0x16,
  Execute: 0x17, SendLongData: 0x18, CloseStatement: 0x19, Fetch: 0x1c, BinlogDumpGtid: 0x1e, ExecuteBulk: 0xfa,
} as const;
/** A text in a statement; one that is cut off ends where it is cut. */
const QUOTED = /'(?:[^'\\]|\\[^]|'')*'?/g;
/** MariaDB: the statement that was prepared last. */
const LAST_STATEMENT = 0xffffffff;
/** MariaDB: the code of an error that is none, but tells how far the server is. */
const PROGRESS = 0xffff;

/** What the server answers, and how far it is. */
interface Awaited {
  stage: "login" | "one" | "first" | "columns" | "rows" | "prepared" | "described";
  /** Packets of this stage that are still to come. */
  left: number;
  span: Span | undefined;
  statement?: { text: string; startUs: number; here: <T>(run: () => T) => T };
}

export function read(connection: Connection): Conversation {
  return new Mysql(connection);
}

class Mysql implements Conversation {
  private capabilities = 0;
  private loggedIn = false;
  private libraries = ["mysql", "mysql2"];
  private user: string | undefined;
  private database: string | undefined;
  private readonly awaited: Awaited[] = [];
  private readonly statements = new Map<number, string>();
  private lastPrepared = "";
  private continues = false;
  private readonly fromClient = new Messages(4, sizeOf, (head, body) => this.onSent(head[3] ?? 0, body));
  private readonly fromServer = new Messages(4, sizeOf, (_, body, size) => {
    // The rest of a packet that was too long for one.
    const { continues } = this;
    this.continues = size === MAX_PACKET;
    if (!continues && body.length > 0) this.onReceived(body, size);
  });

  constructor(private readonly connection: Connection) {}

  sent(data: Buffer): void {
    this.fromClient.feed(data);
  }

  received(data: Buffer): void {
    this.fromServer.feed(data);
  }

  private onSent(sequence: number, body: Buffer): void {
    if (!this.loggedIn) this.logIn(body);
    // What is not the first packet is an answer to the server, or the rest of a long packet.
    else if (sequence === 0 && body.length > 0) this.command(body[0] ?? 0, body);
    if (this.awaited.length > 10_000) this.connection.over = true;
  }

  private logIn(body: Buffer): void {
    this.capabilities = body.readUInt32LE(0);
    if (body.length === 32) {
      this.connection.afterTls = this;
      return;
    }
    this.loggedIn = true;
    if (this.capabilities & (COMPRESSED | ZSTD)) {
      this.connection.over = true;
      return;
    }
    const [user, afterUser] = zeroEnded(body, 32);
    let at = skipPassword(body, afterUser, this.capabilities);
    this.user = user;
    if (this.capabilities & WITH_DATABASE) [this.database, at] = zeroEnded(body, at);
    if (this.capabilities & PLUGIN) [, at] = zeroEnded(body, at);
    // mysql2 says who it is wherever it tells of its calls by itself.
    this.libraries = this.capabilities & CONNECT_ATTRIBUTES && body.includes("Node-MySQL-2", at) ? ["mysql2"] : ["mysql"];
    const { database } = this;
    this.wait("login", this.connection.connect(this.libraries, "mysql", { user, database }));
  }

  private command(command: number, body: Buffer): void {
    switch (command) {
      case Command.Query: {
        // Drivers put values into a statement before they send it; patched, they tell of it as it was before.
        this.wait("first", this.call(this.textOf(body).replace(QUOTED, "?")));
        break;
      }
      case Command.Execute:
      case Command.ExecuteBulk: {
        const statement = body.length < 5 ? -1 : body.readUInt32LE(1);
        this.wait("first", this.call(statement === LAST_STATEMENT ? this.lastPrepared : (this.statements.get(statement) ?? "")));
        break;
      }
      case Command.Prepare: {
        const { connection } = this;
        this.lastPrepared = textAt(body, 1);
        const statement = { text: this.lastPrepared, startUs: connection.now(), here: connection.here() };
        this.awaited.push({ stage: "prepared", left: 0, span: undefined, statement });
        break;
      }
      case Command.CloseStatement:
        if (body.length >= 5) this.statements.delete(body.readUInt32LE(1));
        break;
      case Command.Quit:
      case Command.SendLongData:
        break;
      case Command.FieldList:
      case Command.Fetch:
        this.wait("rows");
        break;
      case Command.UseDatabase:
        this.database = textAt(body, 1);
        this.wait("one");
        break;
      case Command.ChangeUser: {
        const [user, afterUser] = zeroEnded(body, 1);
        this.user = user;
        [this.database] = zeroEnded(body, skipPassword(body, afterUser, this.capabilities & ~SIZED_PASSWORD));
        this.wait("login");
        break;
      }
      case Command.BinlogDump:
      case Command.BinlogDumpGtid:
        this.connection.over = true;
        break;
      default:
        this.wait("one");
    }
  }

  /** Where the client can, it puts attributes before the statement, or at least says that there are none. */
  private textOf(body: Buffer): string {
    const count = this.capabilities & QUERY_ATTRIBUTES ? (body[1] ?? 0) : 0x20;
    // No statement begins with a control character; one that begins behind attributes is not worth reading them.
    return count === 0 ? textAt(body, 3) : count < 9 ? "" : textAt(body, 1);
  }

  private wait(stage: Awaited["stage"], span?: Span): void {
    this.awaited.push({ stage, left: 0, span });
  }

  private onReceived(body: Buffer, size: number): void {
    const [head] = this.awaited;
    if (head === undefined) return;
    const [type] = body;
    if (type === 0xff) {
      const refusal = refusalOf(body);
      if (refusal.code !== String(PROGRESS)) this.refuse(head, refusal);
      return;
    }
    switch (head.stage) {
      case "login":
        if (type === 0) this.end(head);
        break;
      case "one":
        this.end(head);
        break;
      case "first":
        this.onFirst(head, body, size);
        break;
      case "columns":
        if (--head.left > 0) break;
        head.stage = "rows";
        // The rows stay where they are until they are fetched.
        if (type === 0xfe && size === 5 && body.readUInt16LE(3) & CURSOR_EXISTS) this.end(head);
        break;
      case "rows":
        if (type === 0xfe && (this.capabilities & DEPRECATE_EOF ? size < MAX_PACKET : size < 9))
          this.onEnd(head, this.capabilities & DEPRECATE_EOF ? flagsOfOk(body) : body.length < 5 ? 0 : body.readUInt16LE(3));
        break;
      case "prepared":
        this.onPrepared(head, body);
        break;
      case "described":
        if (--head.left === 0) this.end(head);
        break;
    }
  }

  private onFirst(head: Awaited, body: Buffer, size: number): void {
    const [type] = body;
    if (type === 0) this.onEnd(head, flagsOfOk(body));
    else if (type === 0xfe && size < 9) this.end(head);
    else if (type !== 0xfb) {
      const [columns, next] = lengthAt(body, 0);
      // MariaDB may say that the client knows them already.
      head.left = (body[next] === 0 ? 0 : columns) + (this.capabilities & DEPRECATE_EOF ? 0 : 1);
      head.stage = head.left === 0 ? "rows" : "columns";
    }
    // Else the server wants a file, and tells afterwards what has become of it.
  }

  private onEnd(head: Awaited, flags: number): void {
    if (flags & MORE_RESULTS) head.stage = "first";
    else this.end(head);
  }

  private onPrepared(head: Awaited, body: Buffer): void {
    if (body.length < 9) throw new Error("MySQL has prepared a statement without saying which");
    if (this.statements.size >= MAX_STATEMENTS) this.statements.delete(this.statements.keys().next().value ?? -1);
    this.statements.set(body.readUInt32LE(1), head.statement?.text ?? "");
    const ends = this.capabilities & DEPRECATE_EOF ? 0 : 1;
    for (const count of [body.readUInt16LE(5), body.readUInt16LE(7)]) if (count > 0) head.left += count + ends;
    head.stage = "described";
    if (head.left === 0) this.end(head);
  }

  private refuse(head: Awaited, refusal: Refusal): void {
    const { statement } = head;
    if (head.stage === "prepared" && statement !== undefined) {
      // It will not be executed: this was the call.
      head.span = statement.here(() => this.call(statement.text));
      if (head.span !== undefined) head.span.startUs = statement.startUs;
    }
    this.end(head, refusal);
  }

  private end(head: Awaited, refusal?: Refusal): void {
    this.awaited.shift();
    this.connection.finish(head.span, refusal);
  }

  private call(text: string): Span | undefined {
    const { host, port } = this.connection;
    const { user, database } = this;
    return this.connection.call(this.libraries, ({ sql }) => sql("mysql", text, { host, port, user, database }));
  }
}

function sizeOf(head: Buffer): number {
  return head.readUIntLE(0, 3);
}

function skipPassword(body: Buffer, at: number, capabilities: number): number {
  if (!(capabilities & (SIZED_PASSWORD | SECURE))) return zeroEnded(body, at)[1];
  const [size, next] = lengthAt(body, at);
  return next + size;
}

/** A number in one to nine bytes, and where the next one begins. */
function lengthAt(body: Buffer, at: number): [value: number, next: number] {
  const first = body[at] ?? 0;
  const bytes = first === 0xfc ? 2 : first === 0xfd ? 3 : first === 0xfe ? 6 : 0;
  if (bytes === 0) return [first, at + 1];
  return [body.readUIntLE(at + 1, bytes), at + 1 + (first === 0xfe ? 8 : bytes)];
}

function flagsOfOk(body: Buffer): number {
  const [, afterRows] = lengthAt(body, 1);
  const [, afterId] = lengthAt(body, afterRows);
  return afterId + 2 > body.length ? 0 : body.readUInt16LE(afterId);
}

function refusalOf(body: Buffer): Refusal {
  const code = body.length < 3 ? "" : String(body.readUInt16LE(1));
  return { code, message: textAt(body, body[3] === 0x23 ? 9 : 3) };
}

function textAt(body: Buffer, start: number): string {
  return body.toString("utf8", start, start + MAX_TEXT);
}
