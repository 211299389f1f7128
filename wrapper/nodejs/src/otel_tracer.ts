/** Tracers of the OpenTelemetry API whose spans go to the recorder. */

import { type Agent, guarded } from "./agent";
import { activeContext, type BridgeContext, holding, SPAN } from "./otel_context";
import { BridgeSpan, bridged, type Link, microseconds, type SpanContext, type TimeInput } from "./otel_span";
import { type Attributes, Flag, Kind, makeSpan, type Span } from "./span";

interface SpanOptions {
  kind?: number;
  attributes?: Attributes;
  links?: Link[];
  startTime?: TimeInput;
}

interface Tracer {
  startSpan: (name: string, options?: SpanOptions, context?: BridgeContext) => unknown;
  startActiveSpan: (name: string, ...given: unknown[]) => unknown;
}

interface TracerProvider {
  getTracer: (name: string, version?: string, options?: unknown) => Tracer;
}

const NO_TRACE = "0".repeat(32);
const NO_SPAN = "0".repeat(16);

/** `registered` gives the provider that the function has set in the meantime. */
export function tracerProvider(agent: Agent, registered: () => unknown): TracerProvider {
  return {
    getTracer: (name, version, options) => {
      const scope: Attributes = { "otel.scope.name": name || undefined, "otel.scope.version": version || undefined };
      const theirs = (): Tracer | undefined =>
        (registered() as TracerProvider | undefined)?.getTracer(name, version, options);
      return {
        startSpan: (spanName, spanOptions, context) =>
          theirs()?.startSpan(spanName, spanOptions, context) ?? start(agent, scope, spanName, spanOptions, context),
        startActiveSpan: (spanName, ...given) => {
          const other = theirs();
          return other === undefined
            ? startActive(agent, scope, spanName, given)
            : other.startActiveSpan(spanName, ...given);
        },
      };
    },
  };
}

function start(agent: Agent, scope: Attributes, name: string, options: SpanOptions = {}, given?: BridgeContext): BridgeSpan {
  const { recorder } = agent;
  const span = guarded(agent, "a span", () => {
    const kind = ((options.kind ?? 0) + 1) as Kind;
    const made = recorder.child(String(name), kind, microseconds(options.startTime));
    if (made !== undefined) setParent(made, (given ?? activeContext(agent)).getValue(SPAN), recorder.own());
    return made;
  });
  // Outside of an invocation there is nothing to join.
  if (span === undefined) return endedSpan(agent, name);
  span.attributes = { ...scope };
  const bridge = bridged(agent, span);
  if (options.attributes !== undefined) bridge.setAttributes(options.attributes);
  if (options.links !== undefined) bridge.addLinks(options.links);
  if (span.kind === Kind.Client || span.kind === Kind.Producer) recorder.announce(span);
  return bridge;
}

function endedSpan(agent: Agent, name: string): BridgeSpan {
  const span = makeSpan(name, Kind.Internal, NO_TRACE, NO_SPAN, "", 0, 0);
  span.endUs = 1;
  return bridged(agent, span);
}

/** The parent that the caller named, for example one that came with a message. */
function setParent(span: Span, parent: unknown, active: Span | undefined): void {
  if (parent instanceof BridgeSpan) {
    // An active span has been taken for the parent already, or a subsegment of the X-Ray SDK inside of it.
    if (parent.span.traceId === NO_TRACE || parent.span === active) return;
    span.traceId = parent.span.traceId;
    span.parentId = parent.span.spanId;
    return;
  }
  const context = (parent as { spanContext?: () => SpanContext } | undefined)?.spanContext?.();
  if (context === undefined || !/[^0]/.test(context.traceId) || !/[^0]/.test(context.spanId)) return;
  span.traceId = context.traceId;
  span.parentId = context.spanId;
  if (context.isRemote && span.flags !== 0) span.flags |= Flag.Remote;
}

/** Called as (name, fn), (name, options, fn) or (name, options, context, fn). */
function startActive(agent: Agent, scope: Attributes, name: string, given: unknown[]): unknown {
  const run = given[given.length - 1];
  if (typeof run !== "function") return undefined;
  const options = given.length > 1 ? (given[0] as SpanOptions) : undefined;
  const context = given.length > 2 ? (given[1] as BridgeContext) : activeContext(agent);
  const span = start(agent, scope, name, options, context);
  return agent.recorder.run(holding(context.setValue(SPAN, span)), () => run(span) as unknown);
}
