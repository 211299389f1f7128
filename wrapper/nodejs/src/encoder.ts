/** Frames of the local protocol, and OTLP spans as protobuf, by hand and into one buffer. */

import { type Attributes, MAX_TEXT, type Span, type SpanEvent, type SpanLink } from "./span";

/** Nesting of lists and objects that is followed. */
const MAX_DEPTH = 8;
/** Room for a length that is not known yet. Decoders accept a varint with leading zero groups. */
const LENGTH_BYTES = 4;
const BUFFER_BYTES = 8192;
/** A buffer that has grown past this is not kept. */
const MAX_BUFFER_BYTES = 262_144;

type Write = (this: Uint8Array, text: string, at: number) => number;
/** What `buffer.write` ends up with. A cold start would have to compile the way there. */
const { utf8Write, hexWrite } = Buffer.prototype as unknown as Record<"utf8Write" | "hexWrite", Write>;

let buffer = new Uint8Array(BUFFER_BYTES);
let position = 0;

/** Where a frame begins that has not been closed. A value of the function's own may have refused to be written. */
let unfinished = -1;

export function writtenBytes(): number {
  return unfinished < 0 ? position : unfinished;
}

/** What has been written since the last `clear`: the first `writtenBytes` of memory that the next frame shares. */
export function written(): Uint8Array {
  return buffer;
}

/** Forgets what has been written, or what has been written behind `length` bytes. */
export function clear(length = 0): void {
  position = length;
  unfinished = -1;
  if (length === 0 && buffer.length > MAX_BUFFER_BYTES) buffer = new Uint8Array(BUFFER_BYTES);
}

/** Begins a frame, in the place of one that has not been closed. */
export function openFrame(kind: number): void {
  position = unfinished = writtenBytes();
  reserve(1 + LENGTH_BYTES);
  byte(kind);
  position += LENGTH_BYTES;
}

/** Ends the frame; gives the bytes of its payload. */
export function closeFrame(): number {
  const length = position - unfinished - LENGTH_BYTES - 1;
  fixed32(unfinished + 1, length);
  unfinished = -1;
  return length;
}

function fixed32(at: number, value: number): void {
  buffer[at] = value & 0xff;
  buffer[at + 1] = (value >>> 8) & 0xff;
  buffer[at + 2] = (value >>> 16) & 0xff;
  buffer[at + 3] = value >>> 24;
}

/** An unsigned number of four bytes, little-endian. */
export function uint32(value: number): void {
  reserve(4);
  fixed32(position, value);
  position += 4;
}

/** `value * factor`, both whole, in eight bytes, little-endian. Without a BigInt, whose first use costs more than all of a span. */
export function uint64(value: number, factor = 1): void {
  const low = (value % 0x1_0000_0000) * factor;
  const high = Math.floor(value / 0x1_0000_0000) * factor + Math.floor(low / 0x1_0000_0000);
  uint32(low % 0x1_0000_0000);
  uint32(high);
}

/** Text with nothing in front of it. */
export function raw(value: string): void {
  reserve(value.length * 3);
  position += utf8Write.call(buffer, value, position);
}

/** Text behind its length in two bytes. */
export function sized(value: string): void {
  reserve(2 + value.length * 3);
  const length = utf8Write.call(buffer, value, position + 2);
  byte(length & 0xff);
  byte(length >>> 8);
  position += length;
}

/** Bytes as they are. */
export const append = (bytes: Uint8Array): void => {
  reserve(bytes.length);
  buffer.set(bytes, position);
  position += bytes.length;
};

function reserve(bytes: number): void {
  if (position + bytes > buffer.length) grow(bytes);
}

const grow = (bytes: number): void => {
  const larger = new Uint8Array(Math.max(buffer.length * 2, position + bytes));
  larger.set(buffer);
  buffer = larger;
};

export function byte(value: number): void {
  buffer[position++] = value;
}

const varint = (value: number): void => {
  while (value >= 0x80) {
    byte((value % 0x80) | 0x80);
    value = Math.floor(value / 0x80);
  }
  byte(value);
};

/** Begins a message of unknown length; what it returns ends it. */
function open(tag: number): number {
  reserve(1 + LENGTH_BYTES);
  byte(tag);
  position += LENGTH_BYTES;
  return position;
}

function close(start: number): void {
  const length = position - start;
  buffer[start - 4] = (length & 0x7f) | 0x80;
  buffer[start - 3] = ((length >>> 7) & 0x7f) | 0x80;
  buffer[start - 2] = ((length >>> 14) & 0x7f) | 0x80;
  buffer[start - 1] = (length >>> 21) & 0x7f;
}

function text(tag: number, value: string): void {
  const cut = value.length > MAX_TEXT ? value.slice(0, MAX_TEXT) : value;
  reserve(1 + LENGTH_BYTES + cut.length * 3);
  if (cut.length * 3 < 0x80) {
    byte(tag);
    const written = utf8Write.call(buffer, cut, position + 1);
    byte(written);
    position += written;
    return;
  }
  const start = open(tag);
  position += utf8Write.call(buffer, cut, position);
  close(start);
}

function id(tag: number, hex: string): void {
  reserve(2 + hex.length / 2);
  byte(tag);
  byte(hex.length / 2);
  position += hexWrite.call(buffer, hex, position);
}

function time(tag: number, us: number): void {
  reserve(9);
  byte(tag);
  uint64(Math.round(us), 1000);
}

const integer = (value: bigint): void => {
  let rest = BigInt.asUintN(64, value);
  while (rest >= 0x80n) {
    byte(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  byte(Number(rest));
};

/** The fields of an `AnyValue`. */
function any(value: unknown, depth: number): void {
  if (typeof value === "string") {
    text(0x0a, value);
    return;
  }
  reserve(16);
  if (typeof value === "boolean") {
    byte(0x10);
    byte(value ? 1 : 0);
  } else if (typeof value === "number") {
    number(value);
  } else if (typeof value === "bigint" && BigInt.asIntN(64, value) === value) {
    byte(0x18);
    integer(value);
  } else if (typeof value !== "object" || value === null || depth >= MAX_DEPTH || !compound(value, depth)) {
    text(0x0a, String(value));
  }
}

const number = (value: number): void => {
  if (Number.isSafeInteger(value)) {
    byte(0x18);
    if (value >= 0) varint(value);
    else integer(BigInt(value));
  } else {
    byte(0x21);
    new DataView(buffer.buffer).setFloat64(position, value, true);
    position += 8;
  }
};

const compound = (value: object, depth: number): boolean => {
  if (value instanceof Uint8Array) {
    const length = Math.min(value.length, MAX_TEXT);
    const start = open(0x3a);
    reserve(length);
    buffer.set(value.subarray(0, length), position);
    position += length;
    close(start);
    return true;
  }
  const array = Array.isArray(value);
  const prototype: unknown = Object.getPrototypeOf(value);
  if (!array && prototype !== Object.prototype && prototype !== null) return false;
  const start = open(array ? 0x2a : 0x32);
  if (array) {
    for (const item of value as unknown[]) {
      const entry = open(0x0a);
      any(item, depth + 1);
      close(entry);
    }
  } else {
    pairs(0x0a, value as Attributes, depth + 1);
  }
  close(start);
  return true;
};

function pairs(tag: number, attributes: Attributes, depth: number): void {
  for (const key in attributes) {
    const value = attributes[key];
    if (value === undefined || value === null) continue;
    const entry = open(tag);
    text(0x0a, key);
    const start = open(0x12);
    any(value, depth);
    close(start);
    close(entry);
  }
}

/** Writes `opentelemetry.proto.trace.v1.Span`, without an end time while it is open. */
export function encode(span: Span): void {
  id(0x0a, span.traceId);
  id(0x12, span.spanId);
  if (span.parentId !== "") id(0x22, span.parentId);
  text(0x2a, span.name);
  reserve(2);
  byte(0x30);
  byte(span.kind);
  time(0x39, span.startUs);
  if (span.endUs !== 0) time(0x41, span.endUs);
  pairs(0x4a, span.attributes, 0);
  if (span.events !== undefined) encodeEvents(span.events);
  if (span.links !== undefined) encodeLinks(span.links);
  if (span.status !== 0) encodeStatus(span);
  if (span.traceState !== "") text(0x1a, span.traceState);
  reserve(6);
  byte(0x85);
  byte(0x01);
  uint32(span.flags);
}

const encodeEvents = (events: SpanEvent[]): void => {
  for (const event of events) {
    const start = open(0x5a);
    time(0x09, event.timeUs);
    text(0x12, event.name);
    pairs(0x1a, event.attributes, 0);
    close(start);
  }
};

const encodeLinks = (links: SpanLink[]): void => {
  for (const link of links) {
    const start = open(0x6a);
    id(0x0a, link.traceId);
    id(0x12, link.spanId);
    pairs(0x22, link.attributes, 0);
    close(start);
  }
};

const encodeStatus = ({ status, statusMessage }: Span): void => {
  const start = open(0x7a);
  if (statusMessage !== "") text(0x12, statusMessage);
  reserve(2);
  byte(0x18);
  byte(status);
  close(start);
};
