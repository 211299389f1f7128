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
export function complain(key: string, message: string): void {
  if (said.has(key)) return;
  said.add(key);
  try {
    fs.writeSync(2, `[otel-xray] WARN: ${message}\n`);
  } catch {
    // A closed standard error is not the function's trouble.
  }
}

function sleep(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}

/** A pipe that is claimed when there is something to say, and another one after a failure. */
export class Wire {
  private fd = -1;
  /** Complete spans in the encoder's buffer, where they wait for the next write. */
  private waiting = 0;
  private spansDropped = 0;
  /** The invoke frame of the running invocation, said again on a new connection. */
  invocation: Uint8Array | undefined;
  /** What the pipe is called while it is being claimed. */
  claimed: string;

  constructor(
    private readonly path: string,
    readonly hello: string,
  ) {
    this.claimed = `${path}.${process.pid}`;
  }

  /** Whether there is a connection, after trying to have one. Without an extension there is nothing to claim. */
  connect(): boolean {
    if (this.fd >= 0) return true;
    const { claimed } = this;
    let fd = -1;
    try {
      // Whoever renames it has it alone, so that frames never mix and its end is the end of this process.
      fs.renameSync(this.path, claimed);
      fd = fs.openSync(claimed, fs.constants.O_WRONLY | fs.constants.O_NONBLOCK);
      fs.unlinkSync(claimed);
      this.introduce(this.hello, fd);
    } catch {
      if (fd >= 0) fs.closeSync(fd);
      return false;
    }
    this.fd = fd;
    return true;
  }

  /** Says hello, and what runs. */
  introduce(text: string, fd = this.fd): void {
    const waiting = writtenBytes();
    openFrame(Frame.Hello);
    raw(text);
    closeFrame();
    const end = writtenBytes();
    clear(waiting);
    this.write(fd, written(), waiting, end);
    if (this.invocation !== undefined) this.write(fd, this.invocation, 0, this.invocation.length);
  }

  /** Says an invoke frame again: what follows is of that invocation. */
  again(invocation: Uint8Array): void {
    append(invocation);
  }

  /** Announces an invocation and its open handler span. False when nobody listens. */
  begin(requestId: string, traceHeader: string, deadlineMs: number, span: Span): boolean {
    this.invocation = undefined;
    if (!this.connect()) return false;
    const waiting = writtenBytes();
    openFrame(Frame.Invoke);
    uint64(deadlineMs);
    sized(requestId);
    raw(traceHeader);
    closeFrame();
    this.invocation = written().slice(waiting, writtenBytes());
    return this.start(span);
  }

  start(span: Span): boolean {
    openFrame(Frame.Start);
    encode(span);
    closeFrame();
    return this.send();
  }

  /** Writes a complete span. A local one may wait for the next write. */
  end(span: Span, now: boolean): void {
    const before = writtenBytes();
    openFrame(Frame.End);
    encode(span);
    if (closeFrame() > MAX_PAYLOAD_BYTES) {
      clear(before);
      this.spansDropped++;
      return;
    }
    this.waiting++;
    if (now || this.waiting >= MAX_WAITING || writtenBytes() >= MAX_WAITING_BYTES) this.send();
  }

  /** Writes the local spans that wait. */
  flush(): void {
    if (this.waiting > 0) this.send();
  }

  /** Says that the invocation is over and everything has been written. */
  done(requestId: string, raised: boolean): void {
    openFrame(Frame.Done);
    byte(raised ? 1 : 0);
    uint32(Math.min(this.spansDropped, 0xffff_ffff));
    raw(requestId);
    closeFrame();
    if (this.send()) this.spansDropped = 0;
    this.invocation = undefined;
  }

  /** Writes what is in the encoder's buffer. A failure costs the connection, and counts. */
  private send(): boolean {
    const { waiting } = this;
    this.waiting = 0;
    try {
      if (!this.connect()) throw new Error("the extension is not listening");
      this.write(this.fd, written(), 0, writtenBytes());
      return true;
    } catch (error) {
      this.spansDropped += waiting;
      this.disconnect();
      complain("wire", `spans could not be handed to the extension and are lost: ${String(error)}`);
      return false;
    } finally {
      clear();
    }
  }

  private write(fd: number, data: Uint8Array, start: number, end: number): void {
    let at = start;
    let giveUpAt = 0;
    while (at < end) {
      try {
        at += fs.writeSync(fd, data, at, end - at);
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

  disconnect(): void {
    if (this.fd < 0) return;
    try {
      fs.closeSync(this.fd);
    } catch {
      // It is gone either way.
    }
    this.fd = -1;
  }
}
