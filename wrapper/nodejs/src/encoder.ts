/** Frames of the local protocol, and OTLP spans as protobuf, by hand and into one buffer. */

import { type Attributes, MAX_TEXT, type Span } from "./span";

/** Nesting of lists and objects that is followed. */
const MAX_DEPTH = 8;
/** Room for a length that is not known yet. Decoders accept a varint with leading zero groups. */
const LENGTH_BYTES = 4;
const BUFFER_BYTES = 8192;
/** A buffer that has grown past this is not kept. */
const MAX_BUFFER_BYTES = 262_144;

let buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
let position = 0;

/** What has been written since the last `clear`, in memory that the next frame shares. */
export function written(from = 0): Buffer {
  return buffer.subarray(from, position);
}

export function writtenBytes(): number {
  return position;
}

/** Forgets what has been written, or what has been written behind `length` bytes. */
export function clear(length = 0): void {
  position = length;
  if (length === 0 && buffer.length > MAX_BUFFER_BYTES) buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
}

/** Writes a frame; gives the bytes of its payload. */
export function frame(kind: number, payload: () => void): number {
  reserve(1 + LENGTH_BYTES);
  byte(kind);
  position += LENGTH_BYTES;
  const start = position;
  try {
    payload();
  } catch (error) {
    // The function's own values are turned into text here, and may refuse.
    position = start - LENGTH_BYTES - 1;
    throw error;
  }
  const length = position - start;
  fixed32(start - LENGTH_BYTES, length);
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
  position += buffer.write(value, position, "utf8");
}

/** Bytes as they are. */
export function append(bytes: Uint8Array): void {
  reserve(bytes.length);
  buffer.set(bytes, position);
  position += bytes.length;
}

function reserve(bytes: number): void {
  if (position + bytes > buffer.length) grow(bytes);
}

function grow(bytes: number): void {
  const larger = Buffer.allocUnsafeSlow(Math.max(buffer.length * 2, position + bytes));
  buffer.copy(larger, 0, 0, position);
  buffer = larger;
}

export function byte(value: number): void {
  buffer[position++] = value;
}

function varint(value: number): void {
  while (value >= 0x80) {
    byte((value % 0x80) | 0x80);
    value = Math.floor(value / 0x80);
  }
  byte(value);
}

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
    const written = buffer.write(cut, position + 1, "utf8");
    byte(written);
    position += written;
    return;
  }
  const start = open(tag);
  position += buffer.write(cut, position, "utf8");
  close(start);
}

function id(tag: number, hex: string): void {
  reserve(2 + hex.length / 2);
  byte(tag);
  byte(hex.length / 2);
  position += buffer.write(hex, position, "hex");
}

function time(tag: number, us: number): void {
  reserve(9);
  byte(tag);
  uint64(Math.round(us), 1000);
}

function integer(value: bigint): void {
  let rest = BigInt.asUintN(64, value);
  while (rest >= 0x80n) {
    byte(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  byte(Number(rest));
}

/** The fields of an `AnyValue`. */
function any(value: unknown, depth: number): void {
  reserve(16);
  switch (typeof value) {
    case "string":
      text(0x0a, value);
      return;
    case "boolean":
      byte(0x10);
      byte(value ? 1 : 0);
      return;
    case "number":
      if (Number.isSafeInteger(value)) {
        byte(0x18);
        if (value >= 0) varint(value);
        else integer(BigInt(value));
      } else {
        byte(0x21);
        position = buffer.writeDoubleLE(value, position);
      }
      return;
    case "bigint":
      if (BigInt.asIntN(64, value) === value) {
        byte(0x18);
        integer(value);
        return;
      }
      break;
    case "object":
      if (value !== null && depth < MAX_DEPTH && compound(value, depth)) return;
  }
  text(0x0a, String(value));
}

function compound(value: object, depth: number): boolean {
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
}

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
  if (span.traceState !== "") text(0x1a, span.traceState);
  if (span.parentId !== "") id(0x22, span.parentId);
  text(0x2a, span.name);
  reserve(2);
  byte(0x30);
  byte(span.kind);
  time(0x39, span.startUs);
  if (span.endUs !== 0) time(0x41, span.endUs);
  pairs(0x4a, span.attributes, 0);
  for (const event of span.events ?? []) {
    const start = open(0x5a);
    time(0x09, event.timeUs);
    text(0x12, event.name);
    pairs(0x1a, event.attributes, 0);
    close(start);
  }
  for (const link of span.links ?? []) {
    const start = open(0x6a);
    id(0x0a, link.traceId);
    id(0x12, link.spanId);
    pairs(0x22, link.attributes, 0);
    close(start);
  }
  if (span.status !== 0) {
    const start = open(0x7a);
    if (span.statusMessage !== "") text(0x12, span.statusMessage);
    reserve(2);
    byte(0x18);
    byte(span.status);
    close(start);
  }
  if (span.flags !== 0) {
    reserve(6);
    byte(0x85);
    byte(0x01);
    uint32(span.flags);
  }
}
