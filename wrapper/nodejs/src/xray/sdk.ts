/**
 * The X-Ray SDK for Node.js beside the agent: its subsegments and the agent's spans nest in one trace, each call once.
 *
 * The SDK keeps its own documents. They go to the extension instead of to the daemon, before the invocation ends. Called with what
 * `aws-xray-sdk-core` exports.
 */

import { type Agent, guarded } from "../record/agent";
import { Flag, Kind, type Span } from "../trace/span";
import { type Entity, spanOf } from "./kept";
import { connect, extensionAddress, HEADER, isListening, MAX_DATAGRAM } from "./sender";

export { extensionAddress };

interface Classes {
  prototype: {
    addSubsegment: (this: Entity, subsegment: Entity) => void;
    close?: (this: Entity, ...rest: unknown[]) => void;
    flush?: (this: Entity) => void;
  };
}

interface Sdk {
  Segment: Classes;
  Subsegment: Classes;
  getNamespace: () => { get: (key: string) => Entity | undefined };
}

export function patch(agent: Agent, exports: unknown): void {
  const sdk = exports as Sdk;
  const join = new Join(agent, sdk);
  for (const { prototype } of [sdk.Segment, sdk.Subsegment]) {
    const { addSubsegment } = prototype;
    prototype.addSubsegment = function (subsegment) {
      addSubsegment.call(this, subsegment);
      guarded(agent, "a subsegment", () => join.opened(this, subsegment));
    };
  }
  const { prototype } = sdk.Subsegment;
  const { close, flush } = prototype;
  prototype.close = function (...rest) {
    join.closed(this);
    close?.apply(this, rest);
  };
  prototype.flush = function () {
    if (!guarded(agent, "a subsegment", () => join.flushed(this))) flush?.call(this);
  };
  join.leadFacade();
  agent.recorder.xraySdk = join;
}

class Join {
  /** Stands for a subsegment among the agent's spans, as the parent of what happens in it. Never written. */
  private readonly stands = new WeakMap<Entity, Span>();
  /** Those whose call the agent records itself. */
  private readonly dropped = new WeakSet<Entity>();
  private readonly open = new Map<string, Entity>();
  private readonly sender: ((document: string) => void) | undefined;

  constructor(
    private readonly agent: Agent,
    private readonly sdk: Sdk,
  ) {
    const address = extensionAddress(process.env);
    if (address !== undefined && agent.wire.connect() && isListening(...address)) this.sender = connect(...address);
  }

  /** The innermost open subsegment of this context. */
  current(): Span | undefined {
    let entity = this.sdk.getNamespace().get("segment");
    for (; entity?.parent !== undefined; entity = entity.parent) {
      const span = this.stands.get(entity);
      // Nobody will hear of a library's subsegment in a trace that is not sampled: the agent records that call.
      if (span !== undefined && span.endUs === 0 && !(entity.notTraced === true && entity.namespace !== undefined)) return span;
    }
    return undefined;
  }

  /** Whether the SDK records the call that has this trace header; undefined where the header is not the SDK's. */
  records(traceHeader: string): boolean | undefined {
    const entity = this.open.get(/Parent=([0-9a-f]{16})/.exec(traceHeader)?.[1] ?? "");
    return entity === undefined ? undefined : entity.notTraced !== true;
  }

  /** `outer` is what the function adds it to: what it has in hand, or what is current for the SDK. */
  opened(outer: Entity, subsegment: Entity): void {
    const { recorder } = this.agent;
    const parent = recorder.current();
    if (parent === undefined || subsegment.end_time !== undefined) return;
    if (parent.isCall) {
      // The SDK tells the other side this id.
      subsegment.id = parent.spanId;
      this.dropped.add(subsegment);
      return;
    }
    const span = recorder.child(subsegment.name, Kind.Internal);
    if (span === undefined) return;
    // What is current for the SDK may have a span of the agent's inside of it; what the function has in hand is meant.
    const explicit = this.sdk.getNamespace().get("segment") === outer ? undefined : this.stands.get(outer);
    if (explicit !== undefined && explicit.traceId === span.traceId) span.parentId = explicit.spanId;
    span.spanId = subsegment.id;
    this.stands.set(subsegment, span);
    this.open.set(subsegment.id, subsegment);
  }

  closed(subsegment: Entity): void {
    const span = this.stands.get(subsegment);
    if (span !== undefined) span.endUs = this.agent.now();
    this.open.delete(subsegment.id);
  }

  /** Sends the document. False when the SDK has to. */
  flushed(subsegment: Entity): boolean {
    if (this.dropped.has(subsegment)) return true;
    const span = this.stands.get(subsegment);
    if (span === undefined) return false;
    if (subsegment.notTraced === true) {
      if (subsegment.namespace === undefined) this.agent.recorder.endLocal(spanOf(subsegment, span));
      return true;
    }
    if (this.sender === undefined) return false;
    subsegment.type = "subsegment";
    subsegment.parent_id = span.parentId;
    subsegment.trace_id = traceId(span);
    const document = HEADER + String(subsegment);
    if (Buffer.byteLength(document) > MAX_DATAGRAM) this.agent.recorder.endLocal(spanOf(subsegment, span));
    else this.sender(document);
    return true;
  }

  /** Makes the handler's span what the SDK takes for Lambda's segment. */
  leadFacade(): void {
    const facade = this.sdk.getNamespace().get("segment");
    const original = facade?.resolveLambdaTraceData;
    if (facade === undefined || original === undefined) return;
    facade.resolveLambdaTraceData = () => {
      const { root } = this.agent;
      if (root === undefined) {
        original.call(facade);
        return;
      }
      if (facade.id !== root.spanId) {
        facade.reset?.();
        this.open.clear();
      }
      facade.id = root.spanId;
      facade.trace_id = traceId(root);
      facade.notTraced = !(root.flags & Flag.Sampled);
      facade.noOp = false;
    };
  }
}

function traceId(span: Span): string {
  return `1-${span.traceId.slice(0, 8)}-${span.traceId.slice(8)}`;
}
