/** The local protocol: frames, and the pipe they go to. Writes are synchronous and never wait for an answer. */

import fs = require("node:fs");
import { monotonicUs } from "./clock";
import { append, byte, clear, closeFrame, encode, openFrame, raw, sized, uint32, uint64, written, writtenBytes } from "./encoder";
import type { Span } from "./span";

const Frame = { Hello: 1, Invoke: 2, Start: 3, End: 4, Done: 5 } as const;

const MAX_PAYLOAD_BYTES = 1_048_576;
/** The longest a write may hold the function. Past it the spans of the write are lost, and counted. */
const WRITE_LIMIT_US = 50_000;
/** Local spans, and bytes of them, that wait for the next write. */
const MAX_WAITING = 64;
const MAX_WAITING_BYTES = 65_536;

const said = new Set<string>();

/** One line for each kind of trouble in the life of the process: log lines cost the user money. */
export const complain = (key: string, message: string): void => {
  if (said.has(key)) return;
  said.add(key);
  try {
    fs.writeSync(2, `[otel-xray] WARN: ${message}\n`);
  } catch {
    // A closed standard error is not the function's trouble.
  }
};

/** A pipe that is claimed when there is something to say, and another one after a failure. */
export interface Wire {
  readonly path: string;
  readonly hello: string;
  /** What the pipe is called while it is being claimed. */
  claimed: string;
  fd: number;
  /** Complete spans in the encoder's buffer, where they wait for the next write. */
  waiting: number;
  spansDropped: number;
  /** The invoke frame of the running invocation, said again on a new connection. */
  invocation: Uint8Array | undefined;
  /** Takes over a pipe that has been claimed for this process. */
  adopt: (fd: number) => void;
  /** Whether there is a connection, after trying to have one. Without an extension there is nothing to claim. */
  connect: () => boolean;
  /** Says hello, and what runs. */
  introduce: (hello: string) => void;
  /** Says an invoke frame again: what follows is of that invocation. */
  again: (invocation: Uint8Array) => void;
  /** Announces an invocation and its open handler span. False when nobody listens. */
  begin: (requestId: string, traceHeader: string, deadlineMs: number, span: Span) => boolean;
  /** Announces an open span. */
  start: (span: Span) => boolean;
  /** Writes a complete span. A local one may wait for the next write. */
  end: (span: Span, now: boolean) => void;
  /** Writes the local spans that wait. */
  flush: () => void;
  /** Says that the invocation is over and everything has been written. */
  done: (requestId: string, raised: boolean) => void;
  disconnect: () => void;
}

export function makeWire(path: string, hello: string): Wire {
  return {
    path,
    hello,
    claimed: `${path}.${process.pid}`,
    fd: -1,
    waiting: 0,
    spansDropped: 0,
    invocation: undefined,
    adopt,
    connect,
    introduce,
    again: append,
    begin,
    start,
    end,
    flush,
    done,
    disconnect,
  };
}

function adopt(this: Wire, fd: number): void {
  this.fd = fd;
  try {
    this.introduce(this.hello);
  } catch {
    this.disconnect();
  }
}

const connect = function (this: Wire): boolean {
  if (this.fd >= 0) return true;
  const { claimed } = this;
  try {
    // Whoever renames it has it alone, so that frames never mix and its end is the end of this process.
    fs.renameSync(this.path, claimed);
    this.fd = fs.openSync(claimed, fs.constants.O_WRONLY | fs.constants.O_NONBLOCK);
    fs.unlinkSync(claimed);
    this.introduce(this.hello);
  } catch {
    this.disconnect();
  }
  return this.fd >= 0;
};

function introduce(this: Wire, text: string): void {
  const { fd, invocation } = this;
  const start = writtenBytes();
  openFrame(Frame.Hello);
  raw(text);
  closeFrame();
  const end = writtenBytes();
  clear(start);
  write(fd, written(), start, end);
  if (invocation !== undefined) write(fd, invocation, 0, invocation.length);
}

function begin(this: Wire, requestId: string, traceHeader: string, deadlineMs: number, span: Span): boolean {
  this.invocation = undefined;
  if (this.fd < 0 && !this.connect()) return false;
  const start = writtenBytes();
  openFrame(Frame.Invoke);
  uint64(deadlineMs);
  sized(requestId);
  raw(traceHeader);
  closeFrame();
  this.invocation = written().slice(start, writtenBytes());
  return this.start(span);
}

/** Gives the bytes of its payload; less than none where a value of the function's own has refused to be read. */
function spanFrame(kind: number, span: Span): number {
  openFrame(kind);
  try {
    encode(span);
  } catch (error) {
    complain("a span", `a span could not be recorded: ${String(error)}`);
    return -1;
  }
  return closeFrame();
}

function start(this: Wire, span: Span): boolean {
  spanFrame(Frame.Start, span);
  return send(this);
}

function end(this: Wire, span: Span, now: boolean): void {
  const before = writtenBytes();
  const payloadBytes = spanFrame(Frame.End, span);
  if (payloadBytes < 0 || payloadBytes > MAX_PAYLOAD_BYTES) {
    clear(before);
    this.spansDropped++;
    return;
  }
  this.waiting++;
  if (now || this.waiting >= MAX_WAITING || writtenBytes() >= MAX_WAITING_BYTES) send(this);
}

const flush = function (this: Wire): void {
  if (this.waiting > 0) send(this);
};

function done(this: Wire, requestId: string, raised: boolean): void {
  openFrame(Frame.Done);
  byte(raised ? 1 : 0);
  uint32(Math.min(this.spansDropped, 0xffff_ffff));
  raw(requestId);
  closeFrame();
  if (send(this)) this.spansDropped = 0;
  this.invocation = undefined;
}

/** Writes what is in the encoder's buffer. A failure costs the connection, and counts. */
function send(wire: Wire): boolean {
  const { waiting } = wire;
  wire.waiting = 0;
  try {
    if (wire.fd < 0 && !wire.connect()) throw new Error("the extension is not listening");
    write(wire.fd, written(), 0, writtenBytes());
    return true;
  } catch (error) {
    wire.spansDropped += waiting;
    wire.disconnect();
    complain("wire", `spans could not be handed to the extension and are lost: ${String(error)}`);
    return false;
  } finally {
    clear();
  }
}

function write(fd: number, data: Uint8Array, start: number, end: number): void {
  let at = start;
  let giveUpAt = 0;
  while (at < end) {
    try {
      at += fs.writeSync(fd, data, at, end - at);
    } catch (error) {
      giveUpAt ||= monotonicUs() + WRITE_LIMIT_US;
      waitForRoom(error as NodeJS.ErrnoException, giveUpAt);
    }
  }
}

/** The pipe is full: the extension needs the processor for a moment. */
const waitForRoom = (error: NodeJS.ErrnoException, giveUpAtUs: number): void => {
  if (error.code !== "EAGAIN" || monotonicUs() >= giveUpAtUs) throw error;
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
};

const disconnect = function (this: Wire): void {
  if (this.fd < 0) return;
  try {
    fs.closeSync(this.fd);
  } catch {
    // It is gone either way.
  }
  this.fd = -1;
};
