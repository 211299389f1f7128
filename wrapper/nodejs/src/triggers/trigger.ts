/**
 * What called the function: attributes of the handler's span, and the traces that the event comes from. The rules are those of
 * tests/triggers, shared by the agents of all languages. Nothing here walks a payload: a few look-ups, whatever the size.
 */

import { type Attributes, Kind, type Span } from "../trace/span";
import type { TraceHeader } from "../trace/trace_header";
import { readRequest } from "./http";
import { readMessages } from "./messages";

export type Holder = Record<string, unknown>;

/** A trace that the event comes from, and what the link to it says. */
export interface Producer {
  header: TraceHeader;
  attributes: Attributes;
}

export interface Trigger {
  attributes: Attributes;
  kind: Kind;
  producers: Producer[];
  /** Whether a single producer's trace may go on here. Not for callers from outside. */
  decides: boolean;
  /** Looks at what the handler has returned. */
  answered?: ((span: Span, answer: unknown) => void) | undefined;
}

/** The producer whose trace goes on here: nobody traces the invocation itself, and one message simply connects. */
export function onlyProducer({ producers, decides }: Trigger, header: TraceHeader): TraceHeader | undefined {
  const only = producers.length === 1 ? producers[0]?.header : undefined;
  return decides && only?.sampled === "1" && header.sampled !== "1" ? only : undefined;
}

/** What the trigger says of the handler's span, with links to the producers that it does not belong to. */
export function describe(span: Span, { attributes, kind, producers }: Trigger): void {
  Object.assign(span.attributes, attributes);
  span.kind = kind;
  for (const { header, attributes: said } of producers)
    if (header.traceId !== span.traceId) (span.links ??= []).push({ traceId: header.traceId, spanId: header.parentId, attributes: said });
}

/** The text below the key, undefined for everything else: an event may hold anything anywhere. */
export function text(holder: unknown, key: string): string | undefined {
  const value = isHolder(holder) ? holder[key] : undefined;
  return typeof value === "string" && value !== "" ? value : undefined;
}

export function part(holder: unknown, key: string): Holder {
  const value = isHolder(holder) ? holder[key] : undefined;
  return isHolder(value) ? value : {};
}

export function isHolder(value: unknown): value is Holder {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The last part of an ARN. */
export function nameOf(arn: string | undefined): string | undefined {
  return arn?.slice(arn.lastIndexOf(":") + 1) || undefined;
}

/** What the event says, as JSON. Undefined for an event that no service makes. */
export function read(json: string): Trigger | undefined {
  const event: unknown = JSON.parse(json);
  if (!isHolder(event)) return undefined;
  let found: Trigger | undefined;
  if ("requestContext" in event) found = readRequest(event);
  else if ("Records" in event || "records" in event) found = readMessages(event);
  else if ("detail-type" in event) found = readEventBridge(event);
  return found ?? readStepFunctions(event);
}

function readEventBridge(event: Holder): Trigger | undefined {
  const source = text(event, "source");
  const detailType = text(event, "detail-type");
  if (source === undefined || detailType === undefined) return undefined;
  const attributes: Attributes = { "aws.eventbridge.source": source, "aws.eventbridge.detail_type": detailType };
  if (detailType === "Scheduled Event") {
    const first: unknown = Array.isArray(event.resources) ? event.resources[0] : undefined;
    attributes["faas.trigger"] = "timer";
    attributes["faas.time"] = text(event, "time");
    attributes["aws.eventbridge.rule.arn"] = typeof first === "string" ? first : undefined;
    return { attributes, kind: Kind.Server, producers: [], decides: true };
  }
  attributes["faas.trigger"] = "pubsub";
  attributes["messaging.system"] = "aws.eventbridge";
  attributes["messaging.operation.name"] = "process";
  attributes["messaging.operation.type"] = "process";
  attributes["messaging.message.id"] = text(event, "id");
  return { attributes, kind: Kind.Consumer, producers: [], decides: true };
}

/** A state machine is known only where it passes its context object on, as the input or as a part of it. */
function readStepFunctions(event: Holder): Trigger | undefined {
  for (const holder of [event, part(event, "Context"), part(event, "context")]) {
    const machine = text(part(holder, "StateMachine"), "Id");
    const execution = text(part(holder, "Execution"), "Id");
    if (machine === undefined || execution === undefined) continue;
    const state = part(holder, "State");
    const attributes: Attributes = {
      "faas.trigger": "other",
      "aws.step_functions.state_machine.arn": machine,
      "aws.step_functions.execution.arn": execution,
      "aws.step_functions.state.name": text(state, "Name"),
      "aws.step_functions.state.retry_count": Number.isSafeInteger(state.RetryCount) ? state.RetryCount : undefined,
    };
    return { attributes, kind: Kind.Server, producers: [], decides: true };
  }
  return undefined;
}
