/** Propagation for the OpenTelemetry API: X-Ray's header, W3C trace context and W3C baggage. The bridge hands out the propagator. */

import { type Agent, guarded } from "../record/agent";
import { Flag, Kind } from "../trace/span";
import { hexId, ofTraceparent, parseTraceHeader, type TraceHeader } from "../trace/trace_header";
import { type ApiContext, BAGGAGE, SPAN } from "./context";
import { BridgeSpan, type SpanContext } from "./span";

interface BaggageEntry {
  value: string;
  metadata?: { toString: () => string };
}

/** Baggage as the API knows it; an object of the API's own has the same methods. */
class Baggage {
  constructor(private readonly entries: ReadonlyMap<string, BaggageEntry> = new Map()) {}

  getEntry(key: string): BaggageEntry | undefined {
    return this.entries.get(key);
  }

  getAllEntries(): [string, BaggageEntry][] {
    return [...this.entries];
  }

  setEntry(key: string, entry: BaggageEntry): Baggage {
    return new Baggage(new Map(this.entries).set(key, entry));
  }

  removeEntry(key: string): Baggage {
    return this.removeEntries(key);
  }

  removeEntries(...keys: string[]): Baggage {
    return new Baggage(new Map([...this.entries].filter(([key]) => !keys.includes(key))));
  }

  clear(): Baggage {
    return new Baggage();
  }
}

interface Setter {
  set: (carrier: unknown, key: string, value: string) => void;
}

interface Getter {
  get: (carrier: unknown, key: string) => string | string[] | undefined;
}

/** Characters of baggage that are read and written (W3C Baggage, 3.3.1). */
const MAX_BAGGAGE = 8192;

/** Carriers, setters and getters are the function's: what they raise is not the caller's, who has a propagator that does nothing without the agent. */
export function propagator(agent: Agent): object {
  return {
    fields: () => ["X-Amzn-Trace-Id", "traceparent", "baggage"],
    inject: (context: ApiContext, carrier: unknown, setter: Setter) => {
      guarded(agent, "a carrier", () => {
        for (const [name, value] of headersOf(agent, context.getValue(SPAN))) setter.set(carrier, name, value);
      });
      guarded(agent, "baggage", () => {
        const text = baggageText(context.getValue(BAGGAGE));
        if (text !== "" && text.length <= MAX_BAGGAGE) setter.set(carrier, "baggage", text);
      });
    },
    extract: (context: ApiContext, carrier: unknown, getter: Getter) => {
      const get = (name: string): string => {
        const value = getter.get(carrier, name) ?? getter.get(carrier, name.toLowerCase());
        const first: unknown = Array.isArray(value) ? value[0] : value;
        return typeof first === "string" ? first : "";
      };
      const withSpan = guarded(agent, "a carrier", () => {
        const remote = remoteContext(ofTraceparent(get("traceparent"))) ?? remoteContext(parseTraceHeader(get("X-Amzn-Trace-Id")));
        return remote && context.setValue(SPAN, { spanContext: () => remote, isRecording: () => false, end: () => undefined });
      });
      const extracted = withSpan ?? context;
      return (
        guarded(agent, "baggage", () => {
          const baggage = parseBaggage(get("baggage"));
          return baggage && extracted.setValue(BAGGAGE, baggage);
        }) ?? extracted
      );
    },
  };
}

function headersOf(agent: Agent, span: unknown): [string, string][] {
  if (span instanceof BridgeSpan) {
    // Whoever tells the other side of its span of a call has recorded that call.
    if (span.span.kind === Kind.Client && span.isRecording()) agent.recorder.name(span.span);
    return agent.recorder.headers(span.span);
  }
  const found = (span as { spanContext?: () => SpanContext } | undefined)?.spanContext?.();
  const traceId = hexId(String(found?.traceId), 32);
  const spanId = hexId(String(found?.spanId), 16);
  if (found === undefined || traceId === "" || spanId === "") return [];
  return [["traceparent", `00-${traceId}-${spanId}-0${found.traceFlags & Flag.Sampled}`]];
}

function baggageText(baggage: unknown): string {
  const entries = (baggage as Baggage | undefined)?.getAllEntries() ?? [];
  const listed = entries.map(([key, { value, metadata }]) => {
    const properties = metadata === undefined ? "" : metadata.toString();
    return `${encodeURIComponent(key)}=${encodeURIComponent(value)}${properties === "" ? "" : `;${properties}`}`;
  });
  return listed.join(",");
}

function remoteContext({ traceId, parentId, sampled }: TraceHeader): SpanContext | undefined {
  return traceId === "" || parentId === "" ? undefined : { traceId, spanId: parentId, traceFlags: sampled === "1" ? 1 : 0, isRemote: true };
}

function parseBaggage(text: string): Baggage | undefined {
  if (text === "" || text.length > MAX_BAGGAGE) return undefined;
  const entries = new Map<string, BaggageEntry>();
  for (const part of text.split(",")) {
    const [pair = "", ...properties] = part.split(";");
    const equals = pair.indexOf("=");
    if (equals <= 0) continue;
    try {
      const metadata = properties.join(";").trim();
      const value = decodeURIComponent(pair.slice(equals + 1).trim());
      entries.set(decodeURIComponent(pair.slice(0, equals).trim()), metadata === "" ? { value } : { value, metadata: { toString: () => metadata } });
    } catch {
      // One that is not encoded as it should be is left out.
    }
  }
  return entries.size === 0 ? undefined : new Baggage(entries);
}
