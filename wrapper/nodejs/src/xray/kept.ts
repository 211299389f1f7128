/**
 * Subsegments of the X-Ray SDK in a trace that nobody has sampled, recorded as the agent's spans. There the SDK would send nothing, but the
 * extension may keep the trace all the same: because nobody has decided, or because the invocation fails. Asked by sdk.ts for each that
 * ends.
 */

import { type Attributes, Kind, MAX_EVENTS, makeSpan, type Span, Status } from "../trace/span";

/** The SDK's segment or subsegment. */
export interface Entity {
  name: string;
  id: string;
  /** None above Lambda's segment. */
  parent?: Entity;
  trace_id?: string;
  parent_id?: string;
  type?: string;
  namespace?: string;
  notTraced?: boolean;
  noOp?: boolean;
  /** Epoch seconds. */
  start_time: number;
  end_time?: number;
  annotations?: Record<string, unknown>;
  metadata?: Record<string, unknown>;
  fault?: boolean;
  error?: boolean;
  cause?: { exceptions?: Thrown[] };
  reset?: () => void;
  resolveLambdaTraceData?: () => void;
}

interface Thrown {
  message?: string;
  type?: string;
  stack?: { path?: string; line?: number; label?: string }[];
}

/** The ended subsegment as a span, where `stand` stood for it. */
export function spanOf(subsegment: Entity, stand: Span): Span {
  const { name, id, start_time: start, end_time: end = start, annotations = {}, metadata = {} } = subsegment;
  const span = makeSpan(name, Kind.Internal, stand.traceId, id, stand.parentId, stand.flags, start * 1e6);
  span.endUs = Math.max(start, end) * 1e6;
  const attributes: Attributes = { ...annotations };
  const annotated = Object.keys(annotations);
  if (annotated.length > 0) attributes["aws.xray.annotations"] = annotated;
  for (const namespace in metadata) attributes[`aws.xray.metadata.${namespace}`] = JSON.stringify(metadata[namespace]);
  span.attributes = attributes;
  for (const thrown of subsegment.cause?.exceptions?.slice(0, MAX_EVENTS) ?? [])
    (span.events ??= []).push({
      name: "exception",
      timeUs: span.endUs,
      attributes: {
        "exception.type": thrown.type,
        "exception.message": thrown.message,
        "exception.stacktrace": stackOf(thrown),
      },
    });
  if (subsegment.fault === true || subsegment.error === true) span.status = Status.Error;
  return span;
}

/** What the SDK has noted of the stack, as Node.js writes it. */
function stackOf(thrown: Thrown): string {
  const own = `${__dirname}/`;
  const frames = (thrown.stack ?? []).filter(({ path }) => path?.includes(own) !== true).map(({ path, line, label }) => `\n    at ${label} (${path}:${line})`);
  return `${thrown.type}: ${thrown.message}${frames.join("")}`;
}
