/**
 * Frames of the local protocol, and OTLP spans as protobuf, by hand and into one buffer. The wire opens a frame, writes it field by field,
 * and takes the bytes.
 */

import { type Attributes, MAX_TEXT, type Span, type SpanEvent, type SpanLink } from "../trace/span";

/** Nesting of lists and objects that is followed. */
const MAX_DEPTH = 8;
/** Room for a length that is not known yet. Decoders accept a varint with leading zero groups. */
const LENGTH_BYTES = 4;
const BUFFER_BYTES = 8192;
/** A buffer that has grown past this is not kept. */
const MAX_BUFFER_BYTES = 262_144;

/** Where a span has no more room for attributes, events and links: all of it is to fit into a frame. Those that come later are left out. */
const ATTRIBUTES_TO = 640 * 1024;
const EVENTS_TO = 832 * 1024;
const LINKS_TO = 896 * 1024;
/** What one attribute may take up; a list or an object is cut there. X-Ray shows no document that is longer. */
const MAX_ATTRIBUTE_BYTES = 65_536;

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

/** An id with nothing in front of it. */
export const rawId = (hex: string): void => {
  reserve(hex.length / 2);
  position += hexWrite.call(buffer, hex, position);
};

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

/** Nothing that does not end before is written any more. */
let limit = Number.POSITIVE_INFINITY;

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
      if (position >= limit) break;
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

const pairs = (tag: number, attributes: Attributes, depth: number): void => {
  for (const key in attributes) {
    if (position >= limit) break;
    const value = attributes[key];
    if (value !== undefined && value !== null) pair(tag, key, value, depth);
  }
};

function pair(tag: number, key: string, value: unknown, depth: number): void {
  const entry = open(tag);
  text(0x0a, key);
  const start = open(0x12);
  any(value, depth);
  close(start);
  close(entry);
}

/** Writes attributes of the span, an event or a link, and how many of them had no room or refused to be read. */
function attributesOf(tag: number, droppedTag: number, attributes: Attributes, end: number): void {
  let dropped = 0;
  for (const key in attributes) {
    const before = position;
    if (!isWritten(tag, key, attributes, end)) {
      position = before;
      dropped++;
    }
  }
  if (dropped > 0) count(droppedTag, dropped);
}

/** False where it has to be taken back. */
function isWritten(tag: number, key: string, attributes: Attributes, end: number): boolean {
  try {
    const value = attributes[key];
    if (value === undefined || value === null) return true;
    limit = position + MAX_ATTRIBUTE_BYTES;
    pair(tag, key, value, 0);
    return position - frameStart() <= end;
  } catch {
    return false;
  } finally {
    limit = Number.POSITIVE_INFINITY;
  }
}

const count = (tag: number, value: number): void => {
  reserve(1 + LENGTH_BYTES + 1);
  byte(tag);
  varint(value);
};

function frameStart(): number {
  return Math.max(unfinished, 0);
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
  attributesOf(0x4a, 0x50, span.attributes, ATTRIBUTES_TO);
  if (span.events !== undefined) encodeEvents(span.events);
  if (span.links !== undefined) encodeLinks(span.links);
  if (span.status !== 0) encodeStatus(span);
  if (span.traceState !== "") text(0x1a, span.traceState);
  reserve(6);
  byte(0x85);
  byte(0x01);
  uint32(span.flags);
}

/** Gives how many of them had no room. */
function fitting<T>(droppedTag: number, all: T[], end: number, write: (one: T) => void): void {
  let written = 0;
  for (const one of all) {
    const before = position;
    write(one);
    if (position - frameStart() > end) {
      position = before;
      break;
    }
    written++;
  }
  if (written < all.length) count(droppedTag, all.length - written);
}

const encodeEvents = (events: SpanEvent[]): void => {
  fitting(0x60, events, EVENTS_TO, (event) => {
    const start = open(0x5a);
    time(0x09, event.timeUs);
    text(0x12, event.name);
    attributesOf(0x1a, 0x20, event.attributes, EVENTS_TO);
    close(start);
  });
};

const encodeLinks = (links: SpanLink[]): void => {
  fitting(0x70, links, LINKS_TO, (link) => {
    const start = open(0x6a);
    id(0x0a, link.traceId);
    id(0x12, link.spanId);
    attributesOf(0x22, 0x28, link.attributes, LINKS_TO);
    close(start);
  });
};

const encodeStatus = ({ status, statusMessage }: Span): void => {
  const start = open(0x7a);
  if (statusMessage !== "") text(0x12, statusMessage);
  reserve(2);
  byte(0x18);
  byte(status);
  close(start);
};
