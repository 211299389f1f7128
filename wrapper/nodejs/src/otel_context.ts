/** The OpenTelemetry API's contexts, as what the recorder holds for each asynchronous context. */

import type { Agent } from "./agent";
import { BridgeSpan, bridged } from "./otel_span";
import type { Held } from "./recorder";
import type { Span } from "./span";

/** All copies of the API share these names. */
export const SPAN = Symbol.for("OpenTelemetry Context Key SPAN");
export const BAGGAGE = Symbol.for("OpenTelemetry Baggage Key");

/** A context as the API knows them; those that its own root gives have the same three methods. */
export class BridgeContext {
  constructor(private readonly values: ReadonlyMap<symbol, unknown> = new Map()) {}

  getValue(key: symbol): unknown {
    return this.values.get(key);
  }

  setValue(key: symbol, value: unknown): BridgeContext {
    return new BridgeContext(new Map(this.values).set(key, value));
  }

  deleteValue(key: symbol): BridgeContext {
    const left = new Map(this.values);
    left.delete(key);
    return new BridgeContext(left);
  }
}

interface HeldContext {
  readonly context: BridgeContext;
  readonly spanOf: () => Span | undefined;
}

export function holding(context: BridgeContext): HeldContext {
  return {
    context,
    spanOf: () => {
      const span = context.getValue(SPAN);
      return span instanceof BridgeSpan ? span.span : undefined;
    },
  };
}

/** What is active: what the function has set, a library's call inside of it, or the handler's span. */
export function activeContext(agent: Agent): BridgeContext {
  const held = agent.recorder.held();
  const context = contextOf(held);
  const current = agent.recorder.own();
  if (context.getValue(SPAN) !== undefined || current === undefined) return context;
  return context.setValue(SPAN, bridged(agent, current));
}

function contextOf(held: Held | undefined): BridgeContext {
  if (held === undefined) return new BridgeContext();
  if (!("spanOf" in held)) return contextOf(held.outer as Held | undefined).deleteValue(SPAN);
  return (held as HeldContext).context;
}
