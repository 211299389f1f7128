/**
 * The Runtime API's HTTP/1.1, as the bytes of a runtime client's own socket tell of it. Given the socket by watch/connections.ts, at its
 * first word.
 */

import type { Socket } from "node:net";
import { type Agent, guarded } from "../record/agent";
import { preludeOf, RESPONSE_MODE } from "./http_client";
import { loadingReported } from "./init_error";
import type { Invocation, InvocationHeaders, Scope } from "./invocation";

/** Bytes of a body that are kept: a whole event, and the most of an answer that is looked at. */
const MAX_BODY = 6_400_000;
const MAX_HEAD = 65_536;

/** One request or response. */
interface Message {
  /** `GET /path HTTP/1.1` or `HTTP/1.1 200 OK`. */
  first: string;
  headers: Record<string, string>;
  body: string;
  /** What a chunked message says behind its body. */
  trailers: Record<string, string>;
}

function fields(lines: string[]): Record<string, string> {
  const found: Record<string, string> = {};
  for (const line of lines) {
    const colon = line.indexOf(":");
    if (colon > 0) found[line.slice(0, colon).trim().toLowerCase()] = line.slice(colon + 1).trim();
  }
  return found;
}

/** Takes the bytes of one direction apart. What does not look like HTTP ends it: then nothing more is recorded. */
class Messages {
  private data: Buffer = Buffer.alloc(0);
  private message: Message | undefined;
  private body: Buffer[] = [];
  private kept = 0;
  /** Bytes to come of the body, or of a piece of it. */
  private rest = 0;
  private state: "head" | "body" | "size" | "piece" | "trailers" | "lost" = "head";

  constructor(
    private readonly begins: (message: Message) => void,
    private readonly ends: (message: Message) => void,
  ) {}

  feed(data: Buffer): void {
    if (this.state === "lost") return;
    this.data = this.data.length === 0 ? data : Buffer.concat([this.data, data]);
    while (this.step());
  }

  /** Takes the next part. False when it is not there yet. */
  private step(): boolean {
    switch (this.state) {
      case "head":
        return this.head();
      case "body":
        if (!this.take(0)) return false;
        this.end();
        return true;
      case "piece":
        if (!this.take(2)) return false;
        this.state = "size";
        return true;
      case "size":
        return this.size();
      case "trailers":
        return this.last();
      case "lost":
        return false;
    }
  }

  /** What stands before the end mark, and drops both. */
  private until(mark: string): string | undefined {
    const at = this.data.indexOf(mark);
    if (at < 0) {
      if (this.data.length > MAX_HEAD) this.lose();
      return undefined;
    }
    const text = this.data.toString("latin1", 0, at);
    this.data = this.data.subarray(at + mark.length);
    return text;
  }

  private lose(): void {
    this.state = "lost";
    this.data = Buffer.alloc(0);
  }

  private head(): boolean {
    const text = this.until("\r\n\r\n");
    if (text === undefined) return false;
    const [first = "", ...lines] = text.split("\r\n");
    const headers = fields(lines);
    this.message = { first, headers, body: "", trailers: {} };
    const length = Number(headers["content-length"] ?? 0);
    if (!/^(?:HTTP\/1\.|[A-Z]+ \/)/.test(first) || !Number.isSafeInteger(length) || length < 0) {
      this.lose();
      return false;
    }
    if (/^HTTP\/1\.\d 1/.test(first)) return true;
    this.begins(this.message);
    this.rest = length;
    this.state = headers["transfer-encoding"]?.toLowerCase() === "chunked" ? "size" : "body";
    return true;
  }

  private size(): boolean {
    const text = this.until("\r\n");
    if (text === undefined) return false;
    this.rest = Number.parseInt(text, 16);
    if (!(this.rest >= 0)) this.lose();
    else this.state = this.rest === 0 ? "trailers" : "piece";
    return true;
  }

  private last(): boolean {
    const line = this.until("\r\n");
    if (line === undefined) return false;
    if (line === "") this.end();
    else if (this.message !== undefined) Object.assign(this.message.trailers, fields([line]));
    return true;
  }

  /** Takes what is there of the body. True when all of it has been there, and the bytes `behind` it. */
  private take(behind: number): boolean {
    const part = this.data.subarray(0, this.rest);
    this.data = this.data.subarray(part.length);
    this.rest -= part.length;
    if (part.length > 0 && this.kept + part.length <= MAX_BODY) {
      this.body.push(part);
      this.kept += part.length;
    }
    if (this.rest > 0 || this.data.length < behind) return false;
    this.data = this.data.subarray(behind);
    return true;
  }

  private end(): void {
    const { message } = this;
    if (message !== undefined) message.body = Buffer.concat(this.body).toString();
    this.body = [];
    this.kept = 0;
    this.state = "head";
    this.message = undefined;
    if (message !== undefined) this.ends(message);
  }
}

type Methods = Record<"_write" | "_writev" | "push", (...args: unknown[]) => unknown>;
type Written = string | Uint8Array;

export function watch(agent: Agent, invocation: Invocation, socket: Socket): void {
  const [sent, received] = conversation(agent, invocation);
  const methods = socket as unknown as Methods;
  const { _write: write, _writev: writev, push } = methods;
  const feed = (messages: Messages, data: Written, encoding?: unknown): void => {
    guarded(agent, "the runtime client", () => messages.feed(typeof data === "string" ? Buffer.from(data, encoding as BufferEncoding) : Buffer.from(data)));
  };
  methods._write = function (...args) {
    feed(sent, args[0] as Written, args[1]);
    return write.apply(this, args);
  };
  methods._writev = function (...args) {
    for (const { chunk, encoding } of args[0] as { chunk: Written; encoding: unknown }[]) feed(sent, chunk, encoding);
    return writev.apply(this, args);
  };
  methods.push = function (...args) {
    if (args[0] !== null) feed(received, args[0] as Written, args[1]);
    return push.apply(this, args);
  };
}

/** Both directions of one socket: what it asks, and what is answered to that. */
function conversation(agent: Agent, invocation: Invocation): [Messages, Messages] {
  /** What each request makes of its response, in their order. */
  const waiting: ((response: Message) => void)[] = [];
  const sent = new Messages(
    ({ first }) => {
      if (!/^GET \S+\/runtime\/invocation\/next /.test(first)) return;
      const scope = invocation.asks();
      waiting.push(({ headers, body }) => invocation.begin(scope, headers as InvocationHeaders, body));
    },
    (request) => {
      if (/^POST \S+\/runtime\/init\/error /.test(request.first)) loadingReported(invocation, request.body);
      const [, requestId, kind] = /^POST \S+\/runtime\/invocation\/([^/ ]+)\/(response|error) /.exec(request.first) ?? [];
      if (requestId === undefined) {
        if (!request.first.startsWith("GET ")) waiting.push(() => undefined);
        return;
      }
      waiting.push(answered(invocation, invocation.answers(requestId), agent.now(), request, kind === "error"));
    },
  );
  const received = new Messages(
    () => undefined,
    (response) => waiting.shift()?.(response),
  );
  return [sent, received];
}

/** The answer has been sent; what is left is done when it has been taken, and costs the caller nothing. */
function answered(invocation: Invocation, scope: Scope, endUs: number, request: Message, isError: boolean): () => void {
  const said = request.trailers["lambda-runtime-function-error-body"];
  const report = isError ? request.body : said && Buffer.from(said, "base64").toString();
  // A streaming handler may work on until the next event is asked for.
  if (request.headers[RESPONSE_MODE] === "streaming")
    return () => {
      invocation.streaming(scope, preludeOf(request.headers["content-type"], request.body) ?? "{}");
      if (report !== undefined) invocation.failing(scope, report);
    };
  return () => invocation.end(scope, endUs, report, request.body);
}
