/** What is known of an event: what every kind of trigger makes of one, and look-ups for events that may hold anything anywhere. */

import type { Attributes, Kind, Span } from "../trace/span";
import type { TraceHeader } from "../trace/trace_header";

export type Holder = Record<string, unknown>;

/** A trace that the event comes from, and what the link to it says. */
export interface Producer {
  header: TraceHeader;
  attributes: Attributes;
}

export interface Trigger {
  attributes: Attributes;
  kind: Kind;
  producers: Producer[];
  /** Whether a single producer's trace may go on here. Not for callers from outside. */
  decides: boolean;
  /** Looks at what the handler has returned. */
  answered?: ((span: Span, answer: unknown) => void) | undefined;
}

/** The text below the key, undefined for everything else: an event may hold anything anywhere. */
export function text(holder: unknown, key: string): string | undefined {
  const value = isHolder(holder) ? holder[key] : undefined;
  return typeof value === "string" && value !== "" ? value : undefined;
}

export function part(holder: unknown, key: string): Holder {
  const value = isHolder(holder) ? holder[key] : undefined;
  return isHolder(value) ? value : {};
}

export function isHolder(value: unknown): value is Holder {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The last part of an ARN. */
export function nameOf(arn: string | undefined): string | undefined {
  return arn?.slice(arn.lastIndexOf(":") + 1) || undefined;
}
