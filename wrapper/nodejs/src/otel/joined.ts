/**
 * What the function has registered with the OpenTelemetry API, and how its spans and the agent's hang on one another. Told by the bridge of
 * what is registered, and asked by the recorder.
 */

import { type Agent, guarded } from "../record/agent";
import type { Foreign } from "../record/recorder";
import { Flag, Kind, makeSpan, type Span } from "../trace/span";
import { hexId, ofTraceparent } from "../trace/trace_header";
import { type ApiContext, isSuppressed, type Registered, SPAN } from "./context";
import { lent, LentSpan, type SpanContext } from "./span";

/** The API's own numbers for spans of calls to something outside. */
const CALLS: readonly unknown[] = [Kind.Client - 1, Kind.Producer - 1];

/** Names of tracers that are remembered. */
const MAX_TRACERS = 1024;

interface Provider {
  getTracer: (...given: unknown[]) => unknown;
}

interface ContextManager {
  active: () => ApiContext;
}

/** A span of the function's SDK. What is not the API's, an SDK has or has not. */
interface TheirSpan {
  spanContext: () => SpanContext;
  isRecording: () => boolean;
  kind?: unknown;
  startTime?: unknown;
}

export class Joined implements Foreign, Registered {
  private readonly tracers = new Set<string>();
  private listened: Provider | undefined;
  /** The provider's own method. */
  private getTracer: Provider["getTracer"] | undefined;
  private manager: ContextManager | undefined;
  /** The manager's own method. */
  private active: (() => ApiContext) | undefined;
  private readonly stands = new WeakMap<object, Span>();
  private readonly shown = new WeakMap<ApiContext, ApiContext>();

  constructor(
    private readonly agent: Agent,
    private readonly registered: Record<PropertyKey, unknown>,
  ) {
    agent.recorder.tracers = this.tracers;
    this.changed();
  }

  /** The handler's span of the invocation that runs. */
  get root(): Span | undefined {
    return this.agent.root;
  }

  /** The provider that the function has registered. */
  get provider(): unknown {
    return this.registered.trace;
  }

  /** Something has been registered, or taken back. */
  changed(): void {
    guarded(this.agent, "the function's OpenTelemetry SDK", () => {
      const { context, trace } = this.registered;
      if (context !== this.manager) {
        if (this.manager !== undefined && this.active !== undefined) delete (this.manager as Partial<ContextManager>).active;
        this.manager = context as ContextManager | undefined;
        this.active = this.manager === undefined ? undefined : this.showIn(this.manager);
      }
      if (trace !== this.listened) this.listen(trace as Provider | undefined);
      this.agent.recorder.foreign = context === undefined && trace === undefined ? undefined : this;
    });
  }

  /**
   * Where the function's own SDK looks for a parent and finds none, it finds the agent's span: one tree. Not in a trace that is not sampled,
   * of which its sampler would keep nothing, and not where an error tracker makes the first span of a trace to what it sends.
   */
  lends(): boolean {
    const { root } = this.agent;
    return root !== undefined && (root.flags & Flag.Sampled) !== 0 && !("__SENTRY__" in globalThis);
  }

  /** The context with the agent's span in it, where it has no span of its own. */
  show(context: ApiContext): ApiContext {
    const held = context.getValue(SPAN);
    const isStale = held instanceof LentSpan && !held.isOf(this.agent.root);
    if ((held !== undefined && !isStale) || !this.lends()) return isStale ? context.deleteValue(SPAN) : context;
    const span = this.agent.recorder.innermost();
    if (span === undefined) return context;
    const known = this.shown.get(context);
    const lentSpan = lent(this.agent, span);
    if (known?.getValue(SPAN) === lentSpan) return known;
    const made = context.setValue(SPAN, lentSpan);
    this.shown.set(context, made);
    return made;
  }

  /** The inner one of the agent's span and the SDK's current one, in whose place something stands. None where nothing may be recorded. */
  inner(own: Span | undefined): Span | undefined {
    const { root } = this.agent;
    const context = this.theirs();
    if (context === undefined) return own ?? root;
    if (isSuppressed(context)) return undefined;
    const stand = this.standFor(context.getValue(SPAN));
    if (stand === undefined) return own ?? root;
    return own === undefined || stand.startUs >= own.startUs ? stand : own;
  }

  /**
   * Stands for an open span of the function's SDK in this invocation's trace, or for one of another process in another trace, as the parent
   * of what happens in it. Never written. What another process has begun in this trace is where the invocation itself comes from.
   */
  standFor(held: unknown): Span | undefined {
    const { root } = this.agent;
    if (typeof held !== "object" || held === null || held instanceof LentSpan || root === undefined) return undefined;
    return guarded(this.agent, "the function's OpenTelemetry SDK", () => {
      const span = held as TheirSpan;
      const known = this.stands.get(span);
      if (known?.isRemote !== true && !span.isRecording()) return known === undefined ? this.makeStand(span, root, true) : undefined;
      const stand = known === undefined || (known.isRemote && known.invocation !== root) ? this.makeStand(span, root, known?.isRemote === true) : known;
      return stand?.invocation === root ? stand : undefined;
    });
  }

  private makeStand(span: TheirSpan, root: Span, isRemote: boolean): Span | undefined {
    const context = span.spanContext();
    const [traceId, id] = [hexId(context.traceId, 32), hexId(context.spanId, 16)];
    if (traceId === "" || id === "" || isRemote !== (context.isRemote === true) || isRemote === (traceId === root.traceId)) return undefined;
    const stand = makeSpan("", Kind.Internal, traceId, id, "", root.flags & ~Flag.Remote, startOf(span) || this.agent.now());
    stand.isRemote = isRemote;
    stand.isCall = CALLS.includes(span.kind);
    stand.invocation = root;
    this.stands.set(span, stand);
    return stand;
  }

  /** Its instrumentations make a span that is current nowhere, and name it in the header. Whoever injects by hand names the current one. */
  callOf(traceparent: string, current: Span): Span | undefined {
    const { root } = this.agent;
    const { traceId, parentId } = ofTraceparent(traceparent);
    if (root === undefined || traceId !== current.traceId || [current.spanId, root.spanId].includes(parentId)) return undefined;
    return makeSpan("", Kind.Client, traceId, parentId, "", root.flags & ~Flag.Remote, this.agent.now());
  }

  /** Instrumentations ask when they are made, and may be made behind the SDK. */
  private listen(provider: Provider | undefined): void {
    if (this.getTracer !== undefined) delete (this.listened as Partial<Provider>).getTracer;
    this.listened = provider;
    const getTracer = (this.getTracer = provider?.getTracer);
    if (provider === undefined || getTracer === undefined) return;
    const { agent } = this;
    const listening = (...given: unknown[]): unknown => {
      guarded(agent, "a tracer", () => this.note(given[0]));
      return getTracer.apply(provider, given);
    };
    Object.defineProperty(provider, "getTracer", { configurable: true, writable: true, value: listening });
  }

  /** Somebody has asked for that tracer. */
  note(name: unknown): void {
    if (typeof name === "string" && this.tracers.size < MAX_TRACERS) this.tracers.add(name);
  }

  private theirs(): ApiContext | undefined {
    const { manager, active } = this;
    if (manager === undefined || active === undefined) return undefined;
    return guarded(this.agent, "the function's OpenTelemetry SDK", () => active.call(manager));
  }

  private showIn(manager: ContextManager): () => ApiContext {
    const { active } = manager;
    const { agent } = this;
    const shown = (): ApiContext => {
      const context = active.call(manager);
      return guarded(agent, "the function's OpenTelemetry SDK", () => this.show(context)) ?? context;
    };
    // Only the method, so that who asks for the manager gets the one that was registered.
    Object.defineProperty(manager, "active", { configurable: true, writable: true, value: shown });
    return active;
  }
}

/** Seconds and nanoseconds in all of OpenTelemetry's own SDKs. */
function startOf({ startTime }: TheirSpan): number {
  if (!Array.isArray(startTime)) return 0;
  const us = Number(startTime[0]) * 1e6 + Number(startTime[1]) / 1e3;
  return Number.isFinite(us) ? us : 0;
}
