/** Propagation for the OpenTelemetry API: X-Ray's header, W3C trace context and W3C baggage. */

import type { Agent } from "./agent";
import { BAGGAGE, type BridgeContext, SPAN } from "./otel_context";
import { BridgeSpan, type SpanContext } from "./otel_span";
import { Flag } from "./span";
import { ofTraceparent, parseTraceHeader, type TraceHeader } from "./trace_header";

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

export function propagator(agent: Agent): object {
  return {
    fields: () => ["X-Amzn-Trace-Id", "traceparent", "baggage"],
    inject: (context: BridgeContext, carrier: unknown, setter: Setter) => {
      const span = context.getValue(SPAN);
      if (span instanceof BridgeSpan) {
        for (const [name, value] of agent.recorder.headers(span.span)) setter.set(carrier, name, value);
      } else {
        const found = (span as { spanContext?: () => SpanContext } | undefined)?.spanContext?.();
        if (found !== undefined)
          setter.set(carrier, "traceparent", `00-${found.traceId}-${found.spanId}-0${found.traceFlags & Flag.Sampled}`);
      }
      const baggage = (context.getValue(BAGGAGE) as Baggage | undefined)?.getAllEntries() ?? [];
      const listed = baggage.map(([key, { value, metadata }]) => {
        const properties = metadata === undefined ? "" : metadata.toString();
        return `${encodeURIComponent(key)}=${encodeURIComponent(value)}${properties === "" ? "" : `;${properties}`}`;
      });
      const text = listed.join(",");
      if (text !== "" && text.length <= MAX_BAGGAGE) setter.set(carrier, "baggage", text);
    },
    extract: (context: BridgeContext, carrier: unknown, getter: Getter) => {
      const get = (name: string): string => {
        const value = getter.get(carrier, name) ?? getter.get(carrier, name.toLowerCase());
        return (Array.isArray(value) ? value[0] : value) ?? "";
      };
      const remote = remoteContext(ofTraceparent(get("traceparent"))) ?? remoteContext(parseTraceHeader(get("X-Amzn-Trace-Id")));
      let extracted = context;
      if (remote !== undefined) {
        const span = { spanContext: () => remote, isRecording: () => false, end: () => undefined };
        extracted = extracted.setValue(SPAN, span);
      }
      const baggage = parseBaggage(get("baggage"));
      return baggage === undefined ? extracted : extracted.setValue(BAGGAGE, baggage);
    },
  };
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
