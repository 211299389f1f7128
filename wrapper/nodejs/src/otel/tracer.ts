/** Tracers of the OpenTelemetry API whose spans go to the recorder. The bridge hands out the provider. */

import { bare } from "../libraries/calls";
import { type Agent, guarded } from "../record/agent";
import { type Attributes, Flag, Kind, makeSpan, type Span } from "../trace/span";
import { hexId } from "../trace/trace_header";
import { activeContext, type ApiContext, asContext, holding, isSuppressed, SPAN } from "./context";
import type { Joined } from "./joined";
import { BridgeSpan, bridged, type Link, microseconds, type SpanContext, type TimeInput } from "./span";

interface SpanOptions {
  root?: boolean;
  kind?: unknown;
  attributes?: Attributes;
  links?: Link[];
  startTime?: TimeInput;
}

interface Tracer {
  startSpan: (name: string, options?: SpanOptions, context?: ApiContext) => unknown;
  startActiveSpan: (name: string, ...given: unknown[]) => unknown;
}

interface TracerProvider {
  getTracer: (name: string, version?: string, options?: unknown) => Tracer;
}

const NO_TRACE = "0".repeat(32);
const NO_SPAN = "0".repeat(16);

export function tracerProvider(agent: Agent, joined: Joined): TracerProvider {
  return {
    getTracer: (name, version, options) => {
      joined.note(name);
      const scope: Attributes = { "otel.scope.name": name || undefined, "otel.scope.version": version || undefined };
      // The function may have registered one in the meantime, which the tracer then stays with, as the API's own would.
      let delegate: Tracer | undefined;
      const theirs = (): Tracer | undefined => (delegate ??= (joined.provider as TracerProvider | undefined)?.getTracer(name, version, options));
      return {
        startSpan: (spanName, spanOptions, context) =>
          theirs()?.startSpan(spanName, spanOptions, context) ?? start(agent, joined, scope, spanName, spanOptions, context),
        startActiveSpan: (spanName, ...given) => {
          const other = theirs();
          return other === undefined ? startActive(agent, joined, scope, spanName, given) : other.startActiveSpan(spanName, ...given);
        },
      };
    },
  };
}

function start(agent: Agent, joined: Joined, scope: Attributes, name: unknown, given: unknown, context?: unknown): BridgeSpan {
  const { recorder } = agent;
  const made = guarded(agent, "a span", () => {
    const options = (given ?? {}) as SpanOptions;
    const within = asContext(context) ?? activeContext(agent, joined);
    const span = isSuppressed(within) ? undefined : recorder.child(String(name), kindOf(options.kind), microseconds(options.startTime));
    if (span === undefined) return undefined;
    if (options.root === true) setParent(agent, span, agent.root && bridged(agent, agent.root), undefined);
    else setParent(agent, span, within.getValue(SPAN), recorder.own());
    span.attributes = { ...scope };
    return { span, options };
  });
  // Outside of an invocation there is nothing to join.
  if (made === undefined) return endedSpan(agent);
  const { span, options } = made;
  const bridge = bridged(agent, span);
  guarded(agent, "a span", () => {
    if (options.attributes !== undefined) bridge.setAttributes(options.attributes);
    if (options.links !== undefined) bridge.addLinks(options.links);
  });
  if (span.kind === Kind.Client || span.kind === Kind.Producer) recorder.announce(span);
  return bridge;
}

/** The API counts from 0. */
function kindOf(kind: unknown): Kind {
  const known = Object.values(Kind).find((one) => one - 1 === kind);
  return known ?? Kind.Internal;
}

function endedSpan(agent: Agent): BridgeSpan {
  const span = makeSpan("", Kind.Internal, NO_TRACE, NO_SPAN, "", 0, 0);
  span.endUs = 1;
  return bridged(agent, span);
}

/** The parent that the caller named, for example one that came with a message. */
function setParent(agent: Agent, span: Span, parent: unknown, active: Span | undefined): void {
  if (parent instanceof BridgeSpan) {
    // An active span has been taken for the parent already, or a subsegment of the X-Ray SDK inside of it.
    if (parent.span.traceId === NO_TRACE || parent.span === active) return;
    span.traceId = parent.span.traceId;
    span.parentId = parent.span.spanId;
    span.flags &= ~Flag.Remote;
    return;
  }
  const context = (parent as { spanContext?: () => SpanContext } | undefined)?.spanContext?.();
  const traceId = hexId(String(context?.traceId), 32);
  const parentId = hexId(String(context?.spanId), 16);
  if (context === undefined || traceId === "" || parentId === "") return;
  // Where the invocation itself comes from: it is a part of that already, and a second beginning would be a second function (P6).
  if (context.isRemote && traceId === agent.root?.traceId) return;
  span.traceId = traceId;
  span.parentId = parentId;
  if (context.isRemote && span.flags !== 0) span.flags |= Flag.Remote;
}

/** Called as (name, fn), (name, options, fn) or (name, options, context, fn). */
function startActive(agent: Agent, joined: Joined, scope: Attributes, name: unknown, given: unknown[]): unknown {
  const run = given[given.length - 1];
  if (typeof run !== "function") return undefined;
  const options = given.length > 1 ? given[0] : undefined;
  const context = given.length > 2 ? asContext(given[1]) : undefined;
  const span = start(agent, joined, scope, name, options, context);
  const inner = guarded(agent, "a context", () => (context ?? activeContext(agent, joined)).setValue(SPAN, span));
  return bare(() => agent.recorder.run(holding(inner, joined), () => run(span) as unknown));
}
