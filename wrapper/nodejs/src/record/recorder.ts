/** The current span of each context, and what happens to spans. The patches begin and end spans here; they go to the wire. */

import type { AsyncLocalStorage } from "node:async_hooks";
import { newId } from "../trace/ids";
import { type Attributes, Flag, INSTRUMENTATION, isLibrarysCall, Kind, MAX_EVENTS, makeSpan, type Span, Status } from "../trace/span";
import { outgoing, parseTraceHeader, type TraceHeader, X_RAY } from "../trace/trace_header";
import { chunk } from "./chunk";
import type { Fold } from "./folding";
import type { Destinations } from "./propagation";
import type { Wire } from "./wire";

/** What the context holds: a span, or a context of the OpenTelemetry API that the bridge understands. */
export type Held = Span | HeldContext;

interface HeldContext {
  readonly spanOf: () => Span | undefined;
  /** Whether what happens in it is not to be recorded. */
  readonly isSilent: () => boolean;
}

/** An OpenTelemetry SDK that the function has registered. */
export interface Foreign {
  /** The inner one of that span of ours, or the handler's, and of its own; none where nothing is to be recorded. */
  inner: (own: Span | undefined) => Span | undefined;
  /** What stands for its own span of the call that carries this `traceparent`, if it records that call. */
  callOf: (traceparent: string, current: Span) => Span | undefined;
  /** Whether what its instrumentations record is of this trace. */
  lends: () => boolean;
}

/** The X-Ray SDK that the function has loaded. */
export interface XraySdk {
  /** The innermost subsegment that is open in this context. */
  current: () => Span | undefined;
  /** Whether the SDK records the call that carries this trace header; undefined where the header is not the SDK's. */
  records: (traceHeader: string) => boolean | undefined;
}

/** What runs, and where what is recorded of it goes. */
export interface Running {
  readonly wire: Wire;
  /** The handler's span while it runs. Work without a context of its own belongs to it. */
  root: Span | undefined;
  /** Ends what nobody waits for when the invocation of that span ends; none where there has been no such call. */
  leave: ((root: Span) => void) | undefined;
  /** The trace header that what happens in the invocation goes by. */
  header: TraceHeader | undefined;
  /** Epoch microseconds. */
  readonly now: () => number;
  /** One line for each kind of trouble in the life of the process. */
  readonly complain: (key: string, message: string) => void;
}

/** In front of the id in an X-Ray header. */
const PARENT = "Parent=";
const MAX_NAMED = 1024;
/** Calls of an invocation that have the same name and address, and a span each. One more span stands for all others. */
const MAX_LIKE = 100;
/** Names and addresses that are counted in an invocation. The calls of others are not folded. */
const MAX_KINDS = 1000;
const EVERYBODY: Destinations = { none: false, has: () => true };

/** A span has the parent's, and those of a remote parent where it is one. */
const flagsBelow = ({ flags, isRemote }: Span): number => {
  const own = flags & ~Flag.Remote;
  return isRemote && own !== 0 ? own | Flag.RemoteKnown | Flag.Remote : own;
};

export class Recorder {
  xraySdk: XraySdk | undefined;
  foreign: Foreign | undefined;
  /** Names of the tracers that the function has asked the OpenTelemetry API for. */
  tracers: ReadonlySet<string> | undefined;
  private contexts: AsyncLocalStorage<Held | undefined> | undefined;
  private flushesAtExit = false;
  private destinations: Destinations | undefined;
  /** Ids of open calls that their requests name in the trace header. */
  private readonly named = new Set<string>();

  /** Calls that have been answered, and whose answer nobody reads: since when, and in which invocation. */
  private readonly unread = new Map<Span, { sinceUs: number; root: Span | undefined }>();

  /** Of each invocation: how many calls there have been of each name and address, and what they are folded into. */
  private readonly like = new WeakMap<Span, Map<string, { calls: number; fold: Fold | undefined }>>();

  constructor(private readonly agent: Running) {}

  /** What the current context holds. */
  held(): Held | undefined {
    return this.contexts?.getStore();
  }

  /** The innermost open span or subsegment of this context; the handler's where the context has none. */
  current(): Span | undefined {
    const own = this.own();
    const subsegment = own === undefined ? undefined : this.xraySdk?.current();
    // Both enclose what happens here: the later one is the inner one.
    return subsegment !== undefined && own !== undefined && subsegment.startUs > own.startUs ? subsegment : own;
  }

  /** The same, without the X-Ray SDK's subsegments. */
  own(): Span | undefined {
    if (this.agent.root === undefined) return undefined;
    const held = this.contexts?.getStore();
    if (held !== undefined && "isSilent" in held && held.isSilent()) return undefined;
    const span = this.openIn(held);
    return this.foreign === undefined ? (span ?? this.agent.root) : this.foreign.inner(span);
  }

  /** The innermost open span of the agent's own. */
  innermost(): Span | undefined {
    return this.openIn(this.contexts?.getStore()) ?? this.agent.root;
  }

  /** The span that the context holds, if it is open, and of this invocation: a context may be left by an earlier one. */
  private openIn(held: Held | undefined): Span | undefined {
    const span = held !== undefined && "spanOf" in held ? held.spanOf() : held;
    return span !== undefined && span.endUs === 0 && span.invocation === this.agent.root ? span : undefined;
  }

  /** Whether something else in the function looks for its context. */
  get needsContexts(): boolean {
    return this.contexts !== undefined || this.xraySdk !== undefined || this.foreign !== undefined;
  }

  /** The requests of this call will carry its headers: they are known by them, and are no calls of their own. */
  name(span: Span): void {
    // Those of calls that never ended.
    if (this.named.size >= MAX_NAMED) this.named.clear();
    this.named.add(span.spanId);
  }

  /** Runs what begins the call, in its context unless its requests alone tell whose they are. */
  within<T>(span: Span, run: () => T): T {
    return this.needsContexts || !this.named.has(span.spanId) ? this.run(span, run) : run();
  }

  /** Whether a request with this trace header belongs to such a call. */
  isNamed(header: unknown): boolean {
    if (this.named.size === 0 || typeof header !== "string") return false;
    const start = header.indexOf(PARENT) + PARENT.length;
    return this.named.has(header.slice(start, start + 16));
  }

  /** Runs the function with what is held as its context. */
  run<T>(held: Held | undefined, run: () => T): T {
    return this.storage().run(held, run);
  }

  /** Makes it the context of what follows. */
  enter(held: Held | undefined): void {
    this.storage().enterWith(held);
  }

  private storage(): AsyncLocalStorage<Held | undefined> {
    if (this.contexts === undefined) {
      // Not before it is needed: on some versions its hooks cost every promise something.
      const hooks = require("node:async_hooks") as typeof import("node:async_hooks");
      this.contexts = new hooks.AsyncLocalStorage<Held | undefined>();
    }
    return this.contexts;
  }

  /** Runs later in the context of now, whoever calls it. */
  bind<T extends (this: unknown, ...given: never[]) => unknown>(run: T): T {
    const held = this.held();
    const contexts = (): AsyncLocalStorage<Held | undefined> | undefined => this.contexts;
    const bound = function (this: unknown, ...given: never[]): unknown {
      // One that nobody has asked for costs every promise something, and would hold nothing.
      const storage = contexts();
      return storage === undefined ? run.apply(this, given) : storage.run(held, () => run.apply(this, given));
    };
    return bound as T;
  }

  /** Whether an OpenTelemetry instrumentation of the function's own records the library's calls, in this trace. */
  instruments(library: string): boolean {
    return this.tracers?.has(INSTRUMENTATION + library) === true && (this.foreign === undefined || this.foreign.lends());
  }

  /** The same of the calls of this very method, on which it has put its own: it may have been made too late, or see no module. */
  records(library: string, method: unknown): boolean {
    return (method as { __wrapped?: unknown } | undefined)?.__wrapped === true && this.instruments(library);
  }

  /** A new span below the current one; none outside of an invocation. */
  child(name: string, kind: Kind, startUs = 0): Span | undefined {
    const parent = this.current();
    if (parent === undefined) return undefined;
    const span = makeSpan(
      name,
      kind,
      parent.traceId,
      newId(8),
      parent.spanId,
      flagsBelow(parent),
      startUs || this.agent.now(),
    );
    span.outer = this.held();
    span.invocation = this.agent.root;
    return span;
  }

  /**
   * A call to something outside begins. None outside of an invocation, and inside of another call: the outermost
   * library speaks for all.
   */
  call(name: string, kind: Kind = Kind.Client): Span | undefined {
    const parent = this.current();
    if (parent === undefined || isLibrarysCall(parent)) return undefined;
    const span = this.child(name, kind);
    if (span !== undefined) {
      span.isCall = true;
      span.fold = undefined;
    }
    return span;
  }

  /** Tells of an open span, because it may hang; not of a call of which there have been too many. */
  announce(span: Span): void {
    this.settle(span);
    if (!span.fold) this.agent.wire.start(span);
  }

  /** Whether a call stands for itself, or is folded with those of the same name to the same address. */
  private settle(span: Span): void {
    const { invocation } = span;
    if (span.fold !== undefined || invocation === undefined) return;
    span.fold = false;
    let like = this.like.get(invocation);
    if (like === undefined) this.like.set(invocation, (like = new Map()));
    const key = `${span.name}\n${span.attributes["server.address"]}\n${span.attributes["server.port"]}`;
    const seen = like.get(key);
    if (seen === undefined) {
      if (like.size < MAX_KINDS) like.set(key, { calls: 1, fold: undefined });
      return;
    }
    seen.calls++;
    if (seen.calls <= MAX_LIKE) return;
    span.fold = seen.fold ?? this.beginFold(seen, span);
    span.spanId = span.fold.span.spanId;
  }

  private beginFold(seen: { fold: Fold | undefined }, first: Span): Fold {
    seen.fold = new (chunk("folding").Fold)(first);
    this.agent.leave ??= (root) => this.leave(root);
    this.agent.wire.start(seen.fold.span);
    return seen.fold;
  }

  /** The call has been answered, and nobody waits for the rest of it: what comes later is not its fault. */
  answered(span: Span, status: number): void {
    if (span.endUs !== 0 || this.unread.has(span)) return;
    this.agent.leave ??= (root) => this.leave(root);
    const sinceUs = this.agent.now();
    this.unread.set(span, { sinceUs, root: this.agent.root });
    if (!span.fold) this.agent.wire.answered(span, sinceUs, status);
  }

  /** Somebody waits for the rest after all. */
  awaited(span: Span): void {
    if (this.unread.delete(span) && span.endUs === 0 && !span.fold) this.agent.wire.answered(span, 0, 0);
  }

  /** The invocation ends: its calls that nobody waits for ended when they were answered. */
  private leave(of: Span): void {
    for (const [span, { sinceUs, root }] of this.unread) {
      if (root !== of) continue;
      this.unread.delete(span);
      span.endUs = sinceUs;
      if (!span.fold || !span.fold.add(span, false, () => undefined)) this.agent.wire.end(span, true);
    }
    for (const { fold } of this.like.get(of)?.values() ?? []) {
      const folded = fold?.end();
      if (folded === undefined) continue;
      this.named.delete(folded.spanId);
      this.agent.wire.end(folded, false);
    }
  }

  /** The call is over. Later ends of the same span change nothing. What the function has broken off has not failed. */
  finish(span: Span, error?: unknown): void {
    if (span.endUs !== 0) return;
    if (!span.fold) this.named.delete(span.spanId);
    this.unread.delete(span);
    const isFailed = error !== undefined && error !== null && !chunk("errors").isOnPurpose(error);
    const note = (on: Span): void => {
      if (!isFailed) return;
      this.recordException(on, error);
      on.status = Status.Error;
      const { codeOf, errorType, messageOf } = chunk("errors");
      on.statusMessage = messageOf(error);
      const code = codeOf(on.attributes["db.system.name"], error);
      if (code !== undefined) on.attributes["db.response.status_code"] = code;
      on.attributes["error.type"] ??= code ?? errorType(error);
    };
    span.endUs = this.agent.now();
    if (span.fold && span.fold.add(span, isFailed, note)) return;
    note(span);
    this.agent.wire.end(span, true);
  }

  /** A span of the function's own is over. */
  endLocal(span: Span): void {
    this.named.delete(span.spanId);
    const now = span.kind === Kind.Client || span.kind === Kind.Producer;
    if (!now && !this.flushesAtExit) {
      this.flushesAtExit = true;
      process.once("exit", () => this.agent.wire.flush());
    }
    this.agent.wire.end(span, now);
  }

  /** Whether what is sent there may carry the trace. The setting is read with the first call. */
  mayTell(host: string, port: number): boolean {
    return this.told().has(host, port);
  }

  /** Whether anything may carry the trace. */
  get mayTellAnybody(): boolean {
    return !this.told().none;
  }

  private told(): Destinations {
    const setting = process.env.OTEL_XRAY_PROPAGATE || "all";
    return (this.destinations ??= setting === "all" ? EVERYBODY : chunk("propagation").destinations(setting, this.agent.complain));
  }

  /** Whether an AWS SDK has put this X-Ray header into the call: it copies Lambda's own, which names the wrong parent. */
  isLambdas(value: string): boolean {
    const { root } = this.agent;
    if (value === process.env._X_AMZN_TRACE_ID) return true;
    const { traceId, parentId } = parseTraceHeader(value);
    return root !== undefined && traceId !== "" && traceId === root.traceId && parentId === root.parentId;
  }

  /**
   * Puts X-Ray's header into what an AWS SDK is about to sign, which leaves it out of the signature. Any other would have to be signed:
   * a `traceparent` that something on the way then writes anew would cost the call. False where the header is not the span's.
   */
  putHeader(span: Span, headers: Record<string, string>, host: string, port: number): boolean {
    if (!this.mayTell(host, port)) return false;
    const names = Object.keys(headers).filter((name) => name.toLowerCase() === "x-amzn-trace-id");
    const isOurs = (value: string): boolean => this.isLambdas(value) || value.includes(PARENT + span.spanId);
    if (!names.every((name) => isOurs(String(headers[name])))) return false;
    for (const name of names) delete headers[name];
    for (const [name, value] of this.headers(span)) if (name === X_RAY) headers[name] = value;
    return true;
  }

  /** What a call made by the span carries on: header name and value, one after the other. */
  headers(span: Span): [string, string][] {
    this.settle(span);
    if (this.agent.header === undefined) return [];
    const flags = span.flags & Flag.Sampled ? "01" : "00";
    return [
      [X_RAY, outgoing(this.agent.header, span)],
      ["traceparent", `00-${span.traceId}-${span.spanId}-${flags}`],
    ];
  }

  addEvent(span: Span, name: string, attributes: Attributes, timeUs = 0): void {
    span.events ??= [];
    if (span.events.length < MAX_EVENTS) span.events.push({ name, timeUs: timeUs || this.agent.now(), attributes });
  }

  recordException(span: Span, error: unknown, timeUs = 0): void {
    this.addEvent(span, "exception", chunk("errors").describe(error), timeUs);
  }
}
