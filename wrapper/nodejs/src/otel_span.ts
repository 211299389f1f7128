/** A recorder's span, as the OpenTelemetry API knows spans. */

import type { Agent } from "./agent";
import { type Attributes, Flag, MAX_ATTRIBUTES, type Span, Status } from "./span";

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

export function bridged(agent: Agent, span: Span): BridgeSpan {
  let made = known.get(span);
  if (made === undefined) known.set(span, (made = new BridgeSpan(agent, span)));
  return made;
}

export function microseconds(time: TimeInput | undefined): number {
  if (time === undefined) return 0;
  if (Array.isArray(time)) return time[0] * 1e6 + time[1] / 1e3;
  if (time instanceof Date) return time.getTime() * 1e3;
  return (time < performance.timeOrigin ? performance.timeOrigin + time : time) * 1e3;
}

function isTime(value: unknown): value is TimeInput {
  return typeof value === "number" || value instanceof Date || Array.isArray(value);
}

export class BridgeSpan {
  constructor(
    private readonly agent: Agent,
    readonly span: Span,
  ) {}

  spanContext(): SpanContext {
    return { traceId: this.span.traceId, spanId: this.span.spanId, traceFlags: this.span.flags & Flag.Sampled };
  }

  isRecording(): boolean {
    return this.span.endUs === 0;
  }

  setAttribute(key: string, value: unknown): this {
    const { attributes } = this.span;
    if (this.isRecording() && (key in attributes || Object.keys(attributes).length < MAX_ATTRIBUTES)) attributes[key] = value;
    return this;
  }

  setAttributes(attributes: Attributes): this {
    for (const [key, value] of Object.entries(attributes)) this.setAttribute(key, value);
    return this;
  }

  addEvent(name: string, attributesOrTime?: Attributes | TimeInput, time?: TimeInput): this {
    if (!this.isRecording()) return this;
    const attributes = isTime(attributesOrTime) ? {} : { ...attributesOrTime };
    const when = isTime(attributesOrTime) ? attributesOrTime : time;
    this.agent.recorder.addEvent(this.span, name, attributes, microseconds(when));
    return this;
  }

  addLink(link: Link): this {
    if (!this.isRecording() || !/[^0]/.test(link.context.traceId)) return this;
    const { traceId, spanId } = link.context;
    (this.span.links ??= []).push({ traceId, spanId, attributes: { ...link.attributes } });
    return this;
  }

  addLinks(links: Link[]): this {
    for (const link of links) this.addLink(link);
    return this;
  }

  setStatus(status: { code: number; message?: string }): this {
    if (!this.isRecording() || this.span.status === Status.Ok) return this;
    this.span.status = status.code === Status.Ok || status.code === Status.Error ? status.code : Status.Unset;
    this.span.statusMessage = this.span.status === Status.Error ? (status.message ?? "") : "";
    return this;
  }

  updateName(name: string): this {
    if (this.isRecording()) this.span.name = String(name);
    return this;
  }

  recordException(exception: unknown, time?: TimeInput): void {
    if (this.isRecording()) this.agent.recorder.recordException(this.span, exception, microseconds(time));
  }

  end(time?: TimeInput): void {
    const { agent, span } = this;
    // The handler's own span ends with the handler, and a library's with its call.
    if (!this.isRecording() || span === agent.root || span.isCall) return;
    span.endUs = microseconds(time) || agent.now();
    agent.recorder.endLocal(span);
  }
}
