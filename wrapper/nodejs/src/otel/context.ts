/**
 * The OpenTelemetry API's contexts, as what the recorder holds for each asynchronous context. The bridge hands out the context manager, and
 * the tracers ask for the active context.
 */

import { bare } from "../libraries/calls";
import { type Agent, guarded } from "../record/agent";
import type { Held } from "../record/recorder";
import type { Span } from "../trace/span";
import { BridgeSpan, bridged } from "./span";

/** All copies of the API share these names. */
export const SPAN = Symbol.for("OpenTelemetry Context Key SPAN");
export const BAGGAGE = Symbol.for("OpenTelemetry Baggage Key");
const SUPPRESS = Symbol.for("OpenTelemetry SDK Context Key SUPPRESS_TRACING");

export interface ApiContext {
  getValue: (key: symbol) => unknown;
  setValue: (key: symbol, value: unknown) => ApiContext;
  deleteValue: (key: symbol) => ApiContext;
}

/** A context as the API knows them; those that its own root gives have the same three methods. */
class BridgeContext implements ApiContext {
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

const EMPTY = new BridgeContext();

/** Whether OpenTelemetry's `suppressTracing` has made the context: exporters call out in such ones. */
export function isSuppressed(context: ApiContext): boolean {
  return context.getValue(SUPPRESS) === true;
}

/** What the function has registered with the API. */
export interface Registered {
  /** The handler's span of the invocation that runs. */
  readonly root: Span | undefined;
  readonly provider: unknown;
  /** Stands for a span of the function's SDK as the parent of what happens in it. */
  standFor: (held: unknown) => Span | undefined;
  /** The context with the agent's span in it, where it has no span of its own. */
  show: (context: ApiContext) => ApiContext;
}

/** A context that is active. */
class HeldContext {
  /** The handler's span of the invocation that it was left attached in; any, where it ends by itself. */
  constructor(
    readonly context: ApiContext,
    private readonly joined: Registered,
    readonly attachedIn?: Span,
  ) {}

  isSilent(): boolean {
    return !this.isLeft() && isSuppressed(this.context);
  }

  /** Whether an earlier invocation has left it. */
  private isLeft(): boolean {
    return this.attachedIn !== undefined && this.attachedIn !== this.joined.root;
  }

  spanOf(): Span | undefined {
    if (this.isLeft()) return undefined;
    const span = this.context.getValue(SPAN);
    return span instanceof BridgeSpan ? span.span : this.joined.standFor(span);
  }
}

/** What the recorder holds while the context is active. Whatever is none counts as an empty one. */
export function holding(context: unknown, joined: Registered, attachedIn?: Span): Held {
  return new HeldContext(asContext(context) ?? EMPTY, joined, attachedIn);
}

/** What a caller has handed over, if it is a context. */
export function asContext(given: unknown): ApiContext | undefined {
  try {
    return typeof (given as ApiContext | undefined)?.getValue === "function" ? (given as ApiContext) : undefined;
  } catch {
    return undefined;
  }
}

/** What is active: what the function has set, a library's call inside of it, or the handler's span. */
export function activeContext(agent: Agent, joined: Registered): ApiContext {
  const { recorder, root } = agent;
  const context = contextOf(recorder.held(), root);
  const span = context.getValue(SPAN);
  // What an earlier invocation has left is not this one's.
  const isStale = root !== undefined && span instanceof BridgeSpan && !span.isOf(root);
  if (span !== undefined && !isStale) return context;
  const clean = isStale ? context.deleteValue(SPAN) : context;
  if (joined.provider !== undefined) return joined.show(clean);
  const current = recorder.own();
  return current === undefined ? clean : clean.setValue(SPAN, bridged(agent, current));
}

function contextOf(held: Held | undefined, root: Span | undefined): ApiContext {
  if (held === undefined) return EMPTY;
  if (!("spanOf" in held)) return contextOf(held.outer as Held | undefined, root).deleteValue(SPAN);
  const { context, attachedIn } = held as HeldContext;
  return attachedIn === undefined || attachedIn === root ? context : EMPTY;
}

/** The API's context manager, for a function that registers none. */
export function contextManager(agent: Agent, joined: Registered): object {
  const { recorder } = agent;
  const active = (): ApiContext => guarded(agent, "a context", () => activeContext(agent, joined)) ?? EMPTY;
  return {
    active,
    with: (context: unknown, run: (...given: unknown[]) => unknown, self?: unknown, ...given: unknown[]) =>
      bare(() => recorder.run(holding(context, joined), () => run.apply(self, given))),
    bind: (context: unknown, target: unknown) => {
      if (typeof target !== "function") return target;
      const bound = function (this: unknown, ...given: unknown[]): unknown {
        return bare(() => recorder.run(holding(context, joined), () => target.apply(this, given) as unknown));
      };
      Object.defineProperty(bound, "length", { configurable: true, value: target.length });
      return bound;
    },
    attach: (context: unknown) => {
      const outer = recorder.held();
      let isOver = false;
      recorder.enter(holding(context, joined, agent.root));
      return {
        dispose: () => {
          if (!isOver) recorder.enter(outer);
          isOver = true;
        },
      };
    },
    enable() {
      return this;
    },
    disable() {
      return this;
    },
  };
}
