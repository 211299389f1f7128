/**
 * Redis, versions 2 and 3 of its protocol: commands are answered in order. Bytes of both directions come in, calls of the connection go
 * out; chosen by socket.ts.
 */

import type { Span } from "../trace/span";
import type { Connection, Conversation, Refusal } from "./connection";

const LIBRARIES = ["redis", "ioredis"];
/** Words of a command that are kept, and bytes of each. */
const KEPT_WORDS = 3;
const MAX_WORD = 1024;
const MAX_LINE = 1024;
const MAX_DEPTH = 64;
const LINE_FEED = 10;

/** After these, the server speaks when it wants to. */
const LISTENING = new Set(["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "MONITOR", "SYNC", "PSYNC"]);

export function read(connection: Connection): Conversation {
  return new Redis(connection);
}

interface Awaited {
  span: Span | undefined;
  /** Nothing can be told apart after the answer to this one. */
  last: boolean;
}

class Redis implements Conversation {
  private database = "0";
  private readonly awaited: Awaited[] = [];
  private readonly requests = new Requests((words, count) => this.onCommand(words, count));
  private readonly replies = new Replies((type, line) => this.onReply(type, line));

  constructor(private readonly connection: Connection) {}

  sent(data: Buffer): void {
    this.requests.feed(data);
  }

  received(data: Buffer): void {
    this.replies.feed(data);
  }

  private onCommand(words: string[], count: number): void {
    const name = words[0]?.toUpperCase() ?? "";
    if (name === "CLIENT" && words[1]?.toUpperCase() === "REPLY") {
      this.connection.over = true;
      return;
    }
    const { host, port } = this.connection;
    const { database } = this;
    const all = [...words.slice(0, 2), ...Array<string>(Math.min(Math.max(0, count - 2), 16)).fill("?")];
    const span = this.connection.call(LIBRARIES, ({ redis, isConnecting }) => (isConnecting(name) ? undefined : redis(all, host, port, database)));
    this.awaited.push({ span, last: LISTENING.has(name) });
    if (name === "SELECT" && words[1] !== undefined) this.database = words[1];
    if (this.awaited.length > 10_000) this.connection.over = true;
  }

  private onReply(type: string, line: string): void {
    const [head] = this.awaited;
    // What the server tells without having been asked answers nothing, except that somebody listens now.
    if (head === undefined || (type === ">" && !head.last)) return;
    this.awaited.shift();
    this.connection.finish(head.span, type === "-" || type === "!" ? refusalOf(line) : undefined);
    if (head.last) this.connection.over = true;
  }
}

function refusalOf(line: string): Refusal {
  return { code: /^[A-Z]+/.exec(line)?.[0] ?? "", message: line };
}

/** A stream of lines, and of texts whose size a line has told. */
abstract class Lines {
  private line = "";
  private text: Buffer[] = [];
  private textSize = 0;
  /** Bytes of the text that have not come, its line end among them. */
  private missing = 0;
  /** How much of the text is kept. */
  private kept = 0;

  protected abstract onLine(line: string): void;
  protected abstract onText(text: string): void;

  protected expectText(size: number, kept: number): void {
    this.missing = size + 2;
    this.textSize = size;
    this.kept = Math.min(size, kept);
  }

  feed(data: Buffer): void {
    for (let at = 0; at < data.length; ) {
      if (this.missing > 0) {
        const piece = data.subarray(at, at + this.missing);
        const seen = this.textSize + 2 - this.missing;
        if (seen < this.kept) this.text.push(Buffer.from(piece.subarray(0, this.kept - seen)));
        this.missing -= piece.length;
        at += piece.length;
        if (this.missing > 0) continue;
        const text = Buffer.concat(this.text).toString();
        this.text = [];
        this.onText(text);
        continue;
      }
      const found = data.indexOf(LINE_FEED, at);
      const end = found < 0 ? data.length : found;
      if (this.line.length < MAX_LINE) this.line += data.toString("utf8", at, Math.min(end, at + MAX_LINE));
      at = end + 1;
      if (found < 0) return;
      const line = this.line.endsWith("\r") ? this.line.slice(0, -1) : this.line;
      this.line = "";
      this.onLine(line);
    }
  }
}

/** A number of things that are to come; -1 stands for none at all. */
function countOf(line: string): number {
  if (!/^.(?:-1|\d{1,10})$/.test(line)) throw new Error("Redis has no such message");
  return Number(line.slice(1));
}

class Requests extends Lines {
  private words: string[] = [];
  private count = 0;
  private left = 0;

  constructor(private readonly onCommand: (words: string[], count: number) => void) {
    super();
  }

  protected onLine(line: string): void {
    if (line[0] !== (this.left === 0 ? "*" : "$")) throw new Error("Redis has no such command");
    const count = countOf(line);
    if (this.left > 0) {
      this.expectText(Math.max(0, count), this.words.length < KEPT_WORDS ? MAX_WORD : 0);
      return;
    }
    this.words = [];
    this.count = this.left = Math.max(0, count);
  }

  protected onText(text: string): void {
    if (this.words.length < KEPT_WORDS) this.words.push(text);
    if (--this.left === 0) this.onCommand(this.words, this.count);
  }
}

/** Lists within lists; only what is outermost is told. */
class Replies extends Lines {
  private readonly outer: { type: string; left: number }[] = [];
  private type = "";

  constructor(private readonly onReply: (type: string, line: string) => void) {
    super();
  }

  protected onLine(line: string): void {
    const type = line[0] ?? "";
    switch (type) {
      case "+":
      case "-":
      case ":":
      case "_":
      case ",":
      case "#":
      case "(":
        this.complete(type, line.slice(1));
        break;
      case "$":
      case "=":
      case "!": {
        const size = countOf(line);
        this.type = type;
        if (size < 0) this.complete(type, "");
        else this.expectText(size, type === "!" ? MAX_LINE : 0);
        break;
      }
      case "*":
      case "~":
      case ">":
      case "%":
      case "|": {
        const left = countOf(line) * (type === "%" || type === "|" ? 2 : 1);
        if (left <= 0) this.complete(type, "");
        else if (this.outer.push({ type, left }) > MAX_DEPTH) throw new Error("Redis answers with too many lists in each other");
        break;
      }
      default:
        throw new Error("Redis has no such answer");
    }
  }

  protected onText(text: string): void {
    this.complete(this.type, text);
  }

  private complete(type: string, line: string): void {
    for (let done = type; ; ) {
      // Attributes belong to the answer behind them.
      if (done === "|") return;
      const list = this.outer.at(-1);
      if (list === undefined) {
        this.onReply(done, line);
        return;
      }
      if (--list.left > 0) return;
      this.outer.pop();
      done = list.type;
    }
  }
}
