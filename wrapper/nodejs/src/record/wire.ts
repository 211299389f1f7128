/**
 * The local protocol: frames, and the socket they go to. Writes are synchronous and never wait for an answer. Invocations and spans come
 * in, bytes go to the extension.
 */

import fs = require("node:fs");
import type { Span } from "../trace/span";
import { append, byte, clear, closeFrame, encode, openFrame, raw, rawId, sized, uint32, uint64, written, writtenBytes } from "./encoder";

const Frame = { Hello: 1, Invoke: 2, Start: 3, End: 4, Done: 5, Answered: 6 } as const;

const MAX_PAYLOAD_BYTES = 1_048_576;
/** How often a write that finds no room is tried again, a millisecond later. Behind that its spans are lost, and counted. */
const WRITE_TRIES = 50;
const HEAD_BYTES = 5;
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

/** An error as the log may have it: the messages of most kinds quote the values that the function works with. */
export const told = (error: unknown): string => {
  if (!(error instanceof Error)) return typeof error;
  const { code, errno } = error as NodeJS.ErrnoException;
  if (errno !== undefined || (error instanceof TypeError && code === undefined)) return String(error);
  const stack = String(error.stack);
  const place = /\n\s+at (.*)/.exec(stack.slice(stack.indexOf(error.message) + error.message.length))?.[1];
  return place === undefined ? error.name : `${error.name} at ${place}`;
};

/** A connection that does not block. The launcher has opened it, or this thread does. */
export interface Wire {
  readonly hello: string;
  fd: number;
  /** What is left of a frame that has been cut: it goes first. */
  rest: Uint8Array | undefined;
  /** The extension has taken nothing for a while: this invocation does not wait for it again. */
  isStalled: boolean;
  /** Nobody listens: the next invocation asks again. */
  isRefused: boolean;
  /** Complete spans in the encoder's buffer, where they wait for the next write. */
  waiting: number;
  spansDropped: number;
  /** The invoke frame of the running invocation, said again on a new connection. */
  invocation: Uint8Array | undefined;
  /** Takes over an open connection, and says hello. */
  adopt: (fd: number) => void;
  /** Whether there is a connection, after trying to have one. */
  connect: () => boolean;
  /** Says hello, and what runs. */
  introduce: (hello: string) => void;
  /** Says an invoke frame again: what follows is of that invocation. */
  again: (invocation: Uint8Array) => void;
  /** Announces an invocation and its open handler span. False when nobody listens. */
  begin: (requestId: string, traceHeader: string, deadlineMs: number, span: Span) => boolean;
  /** Announces an open span. */
  start: (span: Span) => void;
  /** The answer to an open call has begun, and nobody waits for the rest; at 0, somebody does. */
  answered: (span: Span, atUs: number, status: number) => void;
  /** Writes a complete span. A local one may wait for the next write. */
  end: (span: Span, now: boolean) => void;
  /** Writes the local spans that wait. */
  flush: () => void;
  /** Says that the invocation is over and everything has been written. */
  done: (requestId: string, raised: boolean) => void;
  disconnect: () => void;
  close: (fd: number) => void;
}

export function makeWire(hello: string): Wire {
  return {
    hello,
    fd: -1,
    rest: undefined,
    isStalled: false,
    isRefused: false,
    waiting: 0,
    spansDropped: 0,
    invocation: undefined,
    adopt,
    connect,
    introduce,
    again: append,
    begin,
    start,
    answered,
    end,
    flush,
    done,
    disconnect,
    close: fs.closeSync,
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

/** Without the launcher's there is no extension. */
const connect = function (this: Wire): boolean {
  return this.fd >= 0;
};

function introduce(this: Wire, text: string): void {
  const start = writtenBytes();
  openFrame(Frame.Hello);
  raw(text);
  closeFrame();
  if (this.invocation !== undefined) append(this.invocation);
  const data = written();
  const end = writtenBytes();
  clear(start);
  const at = write(this, data, start, end);
  // Nothing that follows would be understood without it.
  if (at < end) keep(this, data.slice(at, end));
}

function begin(this: Wire, requestId: string, traceHeader: string, deadlineMs: number, span: Span): boolean {
  this.invocation = undefined;
  this.isRefused = false;
  if (!isConnected(this)) return false;
  this.isStalled = false;
  const start = writtenBytes();
  openFrame(Frame.Invoke);
  uint64(deadlineMs);
  sized(requestId);
  raw(traceHeader);
  closeFrame();
  this.invocation = written().slice(start, writtenBytes());
  spanFrame(Frame.Start, span);
  const isTold = send(this) > start;
  if (!isTold) this.spansDropped++;
  return isTold;
}

/** Whether there is a connection, after trying to have one, though not twice in an invocation. */
const isConnected = (wire: Wire): boolean => {
  if (wire.fd < 0 && !wire.isRefused) wire.isRefused = !wire.connect();
  return wire.fd >= 0;
};

/** Gives the bytes of its payload; less than none where a value of the function's own has refused to be read. */
function spanFrame(kind: number, span: Span): number {
  openFrame(kind);
  try {
    encode(span);
  } catch (error) {
    complain("a span", `a span could not be recorded: ${told(error)}`);
    return -1;
  }
  return closeFrame();
}

function start(this: Wire, span: Span): void {
  spanFrame(Frame.Start, span);
  send(this);
}

const answered = function (this: Wire, span: Span, atUs: number, status: number): void {
  openFrame(Frame.Answered);
  rawId(span.traceId);
  rawId(span.spanId);
  uint64(Math.round(atUs), 1000);
  byte(status & 0xff);
  byte(status >>> 8);
  closeFrame();
  send(this);
};

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
  const start = writtenBytes();
  openFrame(Frame.Done);
  byte(raised ? 1 : 0);
  uint32(Math.min(this.spansDropped, 0xffff_ffff));
  raw(requestId);
  closeFrame();
  const { spansDropped } = this;
  if (send(this) > start) this.spansDropped -= spansDropped;
  this.invocation = undefined;
}

/** Writes what is in the encoder's buffer, and gives how much of it is on its way. */
function send(wire: Wire): number {
  const end = writtenBytes();
  wire.waiting = 0;
  let at = 0;
  try {
    if (!isConnected(wire)) throw new Error("the extension is not listening");
    at = write(wire, written(), 0, end);
    if (at < end) lose(wire, at, end);
  } catch (error) {
    wire.disconnect();
    at = 0;
    lose(wire, at, end, error);
  }
  clear();
  return at;
}

/** Gives where it has stopped: at the end, unless the extension takes no more. */
function write(wire: Wire, data: Uint8Array, start: number, end: number): number {
  if (wire.rest !== undefined && !isRestWritten(wire, wire.rest)) return start;
  let at = start;
  let tries = 0;
  while (at < end) {
    try {
      at += fs.writeSync(wire.fd, data, at, end - at);
    } catch (error) {
      if (!mayTryAgain(wire, error as NodeJS.ErrnoException, tries++)) return at;
    }
  }
  wire.isStalled = false;
  return at;
}

const isRestWritten = (wire: Wire, rest: Uint8Array): boolean => {
  wire.rest = undefined;
  const at = write(wire, rest, 0, rest.length);
  if (at < rest.length) wire.rest = rest.subarray(at);
  return wire.rest === undefined;
};

/** Waits for a moment: the extension may need the processor. */
const mayTryAgain = (wire: Wire, error: NodeJS.ErrnoException, tries: number): boolean => {
  if (error.code !== "EAGAIN") throw error;
  wire.isStalled ||= tries >= WRITE_TRIES;
  if (!wire.isStalled) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
  return !wire.isStalled;
};

/** Of the frames that have found no room the one that is cut goes on with the next write; the spans of the others are lost. */
const lose = (wire: Wire, at: number, end: number, error?: unknown): void => {
  const data = written();
  let isLost = false;
  for (let frame = 0, next = 0; frame < end; frame = next) {
    next = frame + HEAD_BYTES + new DataView(data.buffer).getUint32(frame + 1, true);
    if (frame >= at) {
      isLost = true;
      if (data[frame] === Frame.End) wire.spansDropped++;
    } else if (next > at) {
      keep(wire, data.slice(at, next));
    }
  }
  const reason = error === undefined ? "it takes nothing" : String(error);
  if (isLost) complain("wire", `spans could not be handed to the extension and are lost: ${reason}`);
};

const keep = (wire: Wire, rest: Uint8Array): void => {
  wire.rest = wire.rest === undefined ? rest : Buffer.concat([wire.rest, rest]);
};

const disconnect = function (this: Wire): void {
  this.rest = undefined;
  this.isStalled = false;
  if (this.fd < 0) return;
  try {
    this.close(this.fd);
  } catch {
    // It is gone either way.
  }
  this.fd = -1;
};
