/**
 * What called the function: attributes of the handler's span, and the traces that the event comes from. The rules are those of
 * tests/triggers, shared by the agents of all languages. Nothing here walks a payload: a few look-ups, whatever the size. Asked by the
 * invocation, for events that tell.
 */

import { type Attributes, Kind, type Span } from "../trace/span";
import type { TraceHeader } from "../trace/trace_header";
import { type Holder, isHolder, part, text, type Trigger } from "./event";
import { readRequest } from "./http";
import { readMessages } from "./messages";

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
