/** The local protocol: frames, and the pipe they go to. Writes are synchronous and never wait for an answer. */

import fs = require("node:fs");
import { monotonicUs } from "./clock";
import { encode } from "./encoder";
import type { Span } from "./span";

const Frame = { Hello: 1, Invoke: 2, Start: 3, End: 4, Done: 5 } as const;

const HEAD_BYTES = 5;
const MAX_PAYLOAD_BYTES = 1_048_576;
/** The longest a write may hold the function. Past it the spans of the write are lost, and counted. */
const WRITE_LIMIT_US = 50_000;
/** Local spans that wait for the next write. */
const MAX_WAITING = 64;

const said = new Set<string>();

/** One line for each kind of trouble in the life of the process: log lines cost the user money. */
export function complain(key: string, message: string): void {
  if (said.has(key)) return;
  said.add(key);
  try {
    fs.writeSync(2, `[otel-xray] WARN: ${message}\n`);
  } catch {
    // A closed standard error is not the function's trouble.
  }
}

function frame(kind: number, payload: Buffer): Buffer {
  const framed = Buffer.allocUnsafe(HEAD_BYTES + payload.length);
  framed[0] = kind;
  framed.writeUInt32LE(payload.length, 1);
  payload.copy(framed, HEAD_BYTES);
  return framed;
}

function spanFrame(kind: number, span: Span): Buffer {
  const encoded = encode(span, HEAD_BYTES);
  encoded[0] = kind;
  encoded.writeUInt32LE(encoded.length - HEAD_BYTES, 1);
  return encoded;
}

export function invokeFrame(requestId: string, traceHeader: string, deadlineMs: number): Buffer {
  const id = Buffer.from(requestId);
  const head = Buffer.allocUnsafe(10);
  head.writeBigUInt64LE(BigInt(deadlineMs));
  head.writeUInt16LE(id.length, 8);
  return frame(Frame.Invoke, Buffer.concat([head, id, Buffer.from(traceHeader)]));
}

function sleep(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}

/** A pipe that is claimed when there is something to say, and another one after a failure. */
export class Wire {
  private readonly hello: Buffer;
  private fd = -1;
  private waiting: Buffer[] = [];
  private spansDropped = 0;
  /** The invoke frame of the running invocation, said again on a new connection. */
  private invocation: Buffer | undefined;

  constructor(
    private readonly path: string,
    hello: string,
  ) {
    this.hello = frame(Frame.Hello, Buffer.from(hello));
  }

  /** Whether there is a connection, after trying to have one. Without an extension there is nothing to claim. */
  connect(): boolean {
    if (this.fd >= 0) return true;
    const claimed = `${this.path}.${process.pid}`;
    let fd = -1;
    try {
      // Whoever renames it has it alone, so that frames never mix and its end is the end of this process.
      fs.renameSync(this.path, claimed);
      fd = fs.openSync(claimed, fs.constants.O_WRONLY | fs.constants.O_NONBLOCK);
      fs.unlinkSync(claimed);
      this.write(fd, this.invocation === undefined ? this.hello : Buffer.concat([this.hello, this.invocation]));
    } catch {
      if (fd >= 0) fs.closeSync(fd);
      return false;
    }
    this.fd = fd;
    return true;
  }

  /** Announces an invocation and its open handler span. False when nobody listens. */
  begin(invocation: Buffer, span: Span): boolean {
    this.invocation = undefined;
    if (!this.connect()) return false;
    this.invocation = invocation;
    return this.send(Buffer.concat([invocation, spanFrame(Frame.Start, span)]));
  }

  start(span: Span): void {
    this.send(spanFrame(Frame.Start, span));
  }

  /** Writes a complete span. A local one may wait for the next write. */
  end(span: Span, now: boolean): void {
    const framed = spanFrame(Frame.End, span);
    if (framed.length > MAX_PAYLOAD_BYTES) {
      this.spansDropped++;
    } else if (now && this.waiting.length === 0) {
      if (!this.send(framed)) this.spansDropped++;
    } else {
      this.waiting.push(Buffer.from(framed));
      if (now || this.waiting.length >= MAX_WAITING) this.flush();
    }
  }

  /** Writes the local spans that wait. */
  flush(): void {
    if (this.waiting.length > 0) this.send(Buffer.alloc(0));
  }

  /** Says that the invocation is over and everything has been written. */
  done(requestId: string, raised: boolean): void {
    const id = Buffer.from(requestId);
    const payload = Buffer.allocUnsafe(5);
    payload[0] = raised ? 1 : 0;
    payload.writeUInt32LE(Math.min(this.spansDropped, 0xffff_ffff), 1);
    if (this.send(frame(Frame.Done, Buffer.concat([payload, id])))) this.spansDropped = 0;
    this.invocation = undefined;
  }

  /** Writes the waiting spans, then `data`. A failure costs the connection, and counts. */
  private send(data: Buffer): boolean {
    const waiting = this.waiting.length;
    const all = waiting > 0 ? Buffer.concat([...this.waiting, data]) : data;
    if (waiting > 0) this.waiting = [];
    try {
      if (!this.connect()) throw new Error("the extension is not listening");
      this.write(this.fd, all);
      return true;
    } catch (error) {
      this.spansDropped += waiting;
      this.disconnect();
      complain("wire", `spans could not be handed to the extension and are lost: ${String(error)}`);
      return false;
    }
  }

  private write(fd: number, data: Buffer): void {
    let written = 0;
    let giveUpAt = 0;
    while (written < data.length) {
      try {
        written += fs.writeSync(fd, data, written);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
        // The pipe is full: the extension needs the processor for a moment.
        const now = monotonicUs();
        giveUpAt ||= now + WRITE_LIMIT_US;
        if (now >= giveUpAt) throw error;
        sleep(1);
      }
    }
  }

  private disconnect(): void {
    if (this.fd < 0) return;
    try {
      fs.closeSync(this.fd);
    } catch {
      // It is gone either way.
    }
    this.fd = -1;
  }
}
