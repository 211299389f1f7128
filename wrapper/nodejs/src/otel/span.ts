/**
 * A recorder's span, as the OpenTelemetry API knows spans. Nothing that a caller hands over can raise. Made by tracers, and for whatever
 * asks for the span of a context.
 */

import { type Agent, guarded } from "../record/agent";
import { type Attributes, Flag, MAX_ATTRIBUTES, type Span, Status } from "../trace/span";
import { hexId } from "../trace/trace_header";

export interface SpanContext {
  traceId: string;
  spanId: string;
  traceFlags: number;
  isRemote?: boolean;
}

export interface Link {
  context: SpanContext;
  attributes?: Attributes;
}

/** Epoch or performance milliseconds, a date, or seconds and nanoseconds. */
export type TimeInput = number | Date | [number, number];

const known = new WeakMap<Span, BridgeSpan>();
const knownLent = new WeakMap<Span, LentSpan>();

export function bridged(agent: Agent, span: Span): BridgeSpan {
  let made = known.get(span);
  if (made === undefined) known.set(span, (made = new BridgeSpan(agent, span)));
  return made;
}

/** The same for the function's own SDK. */
export function lent(agent: Agent, span: Span): LentSpan {
  let made = knownLent.get(span);
  if (made === undefined) knownLent.set(span, (made = new LentSpan(agent, span)));
  return made;
}

/** Zero where it tells no time. */
export function microseconds(time: unknown): number {
  let us = 0;
  try {
    if (Array.isArray(time)) us = Number(time[0]) * 1e6 + Number(time[1]) / 1e3;
    else if (time instanceof Date) us = time.getTime() * 1e3;
    else if (typeof time === "number") us = (time < performance.timeOrigin ? performance.timeOrigin + time : time) * 1e3;
  } catch {
    // A number or date that is none.
  }
  return us > 0 && us <= Number.MAX_SAFE_INTEGER ? us : 0;
}

function isTime(value: unknown): value is TimeInput {
  return typeof value === "number" || value instanceof Date || Array.isArray(value);
}

export class BridgeSpan {
  constructor(
    protected readonly agent: Agent,
    readonly span: Span,
  ) {}

  spanContext(): SpanContext {
    return { traceId: this.span.traceId, spanId: this.span.spanId, traceFlags: this.span.flags & Flag.Sampled };
  }

  isRecording(): boolean {
    return this.span.endUs === 0;
  }

  /** Whether it belongs to the invocation of that handler's span. */
  isOf(root: Span | undefined): boolean {
    return this.span === root || (root !== undefined && this.span.invocation === root);
  }

  setAttribute(key: unknown, value: unknown): this {
    return this.change(() => this.set(String(key), value));
  }

  setAttributes(attributes: Attributes): this {
    return this.change(() => {
      // One that refuses to be read is left out.
      for (const key of Object.keys(attributes)) guarded(this.agent, "an attribute", () => this.set(key, attributes[key]));
    });
  }

  addEvent(name: unknown, attributesOrTime?: Attributes | TimeInput, time?: TimeInput): this {
    return this.change(() => {
      const attributes = isTime(attributesOrTime) ? {} : { ...attributesOrTime };
      const when = isTime(attributesOrTime) ? attributesOrTime : time;
      this.agent.recorder.addEvent(this.span, String(name), attributes, microseconds(when));
    });
  }

  addLink(link: Link): this {
    return this.change(() => {
      const traceId = hexId(link.context.traceId, 32);
      const spanId = hexId(link.context.spanId, 16);
      if (traceId !== "" && spanId !== "") (this.span.links ??= []).push({ traceId, spanId, attributes: { ...link.attributes } });
    });
  }

  addLinks(links: Link[]): this {
    return this.change(() => {
      for (const link of links) this.addLink(link);
    });
  }

  setStatus(status: { code: number; message?: unknown }): this {
    return this.change(() => {
      if (this.span.status === Status.Ok) return;
      const { code, message } = status;
      this.span.status = code === Status.Ok || code === Status.Error ? code : Status.Unset;
      this.span.statusMessage = code === Status.Error ? String(message ?? "") : "";
    });
  }

  updateName(name: unknown): this {
    return this.change(() => {
      this.span.name = String(name);
    });
  }

  recordException(exception: unknown, time?: TimeInput): void {
    this.change(() => this.agent.recorder.recordException(this.span, exception, microseconds(time)));
  }

  end(time?: TimeInput): void {
    const { agent, span } = this;
    // The handler's own span ends with the handler, and a library's with its call.
    if (!this.isRecording() || span === agent.root || span.isCall) return;
    guarded(agent, "a span", () => {
      span.endUs = microseconds(time) || agent.now();
      agent.recorder.endLocal(span);
    });
  }

  private set(key: string, value: unknown): void {
    const { attributes } = this.span;
    if (key in attributes || Object.keys(attributes).length < MAX_ATTRIBUTES) attributes[key] = value;
  }

  private change(run: () => void): this {
    if (this.isRecording()) guarded(this.agent, "a span", run);
    return this;
  }
}

/**
 * A span of the agent's as a parent of what the function's own SDK records. Not a remote one: what has a remote parent is where a
 * service begins, and the function would be there twice (P6).
 */
export class LentSpan extends BridgeSpan {}
