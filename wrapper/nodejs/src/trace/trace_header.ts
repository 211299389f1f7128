/** Trace headers. X-Ray's and the W3C's come in as text and go out as ids and a decision, and X-Ray's the other way. */

import type { Span } from "./span";

export const X_RAY = "X-Amzn-Trace-Id";

/** X-Ray's header, as far as it can be understood. Without a trace id it says nothing. */
export interface TraceHeader {
  traceId: string;
  parentId: string;
  sampled: string | undefined;
  /** Lineage and unknown fields, which go on byte for byte (L-4.4). */
  extra: string;
}

export function parseTraceHeader(raw: string): TraceHeader {
  const header: TraceHeader = { traceId: "", parentId: "", sampled: undefined, extra: "" };
  for (const part of raw.split(";")) {
    const equals = part.indexOf("=");
    if (equals < 0) continue;
    const key = part.slice(0, equals).trim();
    const value = part.slice(equals + 1).trim();
    if (key === "Root") header.traceId = rootToTraceId(value);
    else if (key === "Parent") header.parentId = hexId(value, 16);
    else if (key === "Sampled") header.sampled = value;
    else if (key !== "Self") header.extra += `;${key}=${value}`;
  }
  return header;
}

/** The header for a call made by the span. */
export const outgoing = ({ sampled, extra }: TraceHeader, { traceId, spanId }: Span): string => {
  const decision = sampled === undefined ? "" : `;Sampled=${sampled}`;
  return `Root=1-${traceId.slice(0, 8)}-${traceId.slice(8)};Parent=${spanId}${decision}${extra}`;
};

/** What a W3C header says. */
export function ofTraceparent(raw: string): TraceHeader {
  const header = parseTraceHeader("");
  const [version = "", trace = "", parent = "", flags] = raw.trim().split("-");
  if (version.length !== 2 || version === "ff" || flags === undefined) return header;
  header.traceId = hexId(trace, 32);
  header.parentId = hexId(parent, 16);
  header.sampled = /^.[13579bdf]$/.test(flags) ? "1" : "0";
  return header;
}

/** Lowercase hexadecimal of that many digits, or nothing; all zeros is no id. Without a regular expression to compile at a cold start. */
export function hexId(text: string, digits: number): string {
  const id = text.toLowerCase();
  if (id.length !== digits) return "";
  let zeros = 0;
  for (let index = 0; index < digits; index++) {
    const code = id.charCodeAt(index);
    if (!((code >= 48 && code <= 57) || (code >= 97 && code <= 102))) return "";
    if (code === 48) zeros++;
  }
  return zeros === digits ? "" : id;
}

/** The trace id of X-Ray's notation `1-8 digits-24 digits`. */
export function rootToTraceId(root: string): string {
  const parts = root.split("-");
  if (parts.length !== 3 || parts[0] !== "1" || parts[1]?.length !== 8) return "";
  return hexId(parts[1] + (parts[2] ?? ""), 32);
}
