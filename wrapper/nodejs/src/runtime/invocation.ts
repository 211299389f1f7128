/**
 * The invocation's own span, from what the runtime client receives and answers. Called by whichever client has been found; the spans go to
 * the wire.
 */

import { type Agent, guarded } from "../record/agent";
import { chunk } from "../record/chunk";
import { told } from "../record/wire";
import { setClock } from "../trace/clock";
import { newId } from "../trace/ids";
import { type Attributes, Flag, Kind, makeSpan, type Span, Status } from "../trace/span";
import { parseTraceHeader, type TraceHeader } from "../trace/trace_header";
import type { Trigger } from "../triggers/event";

/** Response headers of the Runtime API's `next` (lambda.md section 4), lower case. */
export type InvocationHeaders = Record<string, unknown>;

/** One of these is in every event that tells what called the function; no file is read for any other. */
const SIGNS = ['"Records"', '"requestContext"', '"records"', '"detail-type"', '"StateMachine"', '"Context"', '"context"'];
/** No event that says so is shorter. */
const MIN_TELLING = 12;

/** Tells an invocation from others that run at the same time; nothing where they run one after the other. */
export type Scope = object | undefined;

/** The invocation that runs, and what happens to it. None of the methods throws. */
export interface Invocation {
  readonly agent: Agent;
  readonly environ: NodeJS.ProcessEnv;
  /** What Lambda was told to call. The function may change the variable. */
  readonly handler: string;
  trigger: Trigger | undefined;
  requestId: string;
  /** The error report of a response that failed after it had begun. */
  failure: string | undefined;
  /** What a streamed response says in front of its body, in JSON: its status among others. */
  prelude: string | undefined;
  isCold: boolean;
  /** The function could not be loaded, and that has been told. */
  isLost: boolean;
  /** Without active tracing Lambda makes up `Sampled=0` (LAM-6). Whoever decides says yes now and then. */
  othersDecide: boolean;
  /** The runtime client asks for the next event. The scope is that of the invocation that will come. */
  asks: () => Scope;
  /** It answers, or is about to. `requestId` is as in the path of the answer. */
  answers: (requestId: string) => Scope;
  begin: (scope: Scope, headers: InvocationHeaders, event: string) => void;
  /** The handler has answered, in JSON. `endUs` is when, before the answer was sent. */
  end: (scope: Scope, endUs: number, error?: string, answer?: string) => void;
  /** A streamed response says behind its body that it has failed (L-4.1). */
  failing: (scope: Scope, report: string) => void;
  /** A streamed response begins. */
  streaming: (scope: Scope, prelude: string) => void;
  /** A streamed response has been sent, or the runtime asks for the next event: what had not ended by then has now. */
  settle: (scope: Scope) => void;
}

export function makeInvocation(agent: Agent, environ: NodeJS.ProcessEnv): Invocation {
  const invocation: Invocation = {
    agent,
    environ,
    handler: environ._HANDLER ?? "",
    trigger: undefined,
    requestId: "",
    failure: undefined,
    prelude: undefined,
    isCold: true,
    isLost: false,
    othersDecide: false,
    asks,
    answers: () => undefined,
    begin,
    end,
    failing: (_scope, report) => {
      invocation.failure = report;
    },
    streaming: (_scope, prelude) => {
      invocation.prelude = prelude;
    },
    settle,
  };
  return invocation;
}

function asks(this: Invocation): Scope {
  this.settle(undefined);
  return undefined;
}

function begin(this: Invocation, _scope: Scope, headers: InvocationHeaders, event: string): void {
  const { agent, environ } = this;
  try {
    setClock();
    agent.root = undefined;
    const requestId = textOf(headers["lambda-runtime-aws-request-id"]);
    this.requestId = requestId;
    const trigger = event.length >= MIN_TELLING ? triggerOf(agent, event) : undefined;
    this.trigger = trigger;
    const rawHeader = textOf(headers["lambda-runtime-trace-id"]);
    const header = decided(this, parseTraceHeader(rawHeader), trigger);
    const flags = header.sampled === "1" ? Flag.Sampled | Flag.RemoteKnown | Flag.Remote : 0;
    const span = makeSpan(this.handler, Kind.Server, header.traceId, newId(8), header.parentId, flags, agent.now());
    const arn = textOf(headers["lambda-runtime-invoked-function-arn"]);
    span.attributes = {
      "faas.invocation_id": requestId,
      "faas.coldstart": this.isCold,
      "cloud.resource_id": arn || undefined,
      "cloud.account.id": arn.split(":")[4] || undefined,
      "faas.name": environ.AWS_LAMBDA_FUNCTION_NAME,
      "faas.version": environ.AWS_LAMBDA_FUNCTION_VERSION,
    };
    if (trigger !== undefined) chunk("trigger").describe(span, trigger);
    const deadlineMs = Number(headers["lambda-runtime-deadline-ms"]);
    if (!agent.wire.begin(requestId, rawHeader, deadlineMs > 0 && Number.isSafeInteger(deadlineMs) ? deadlineMs : 0, span)) return;
    agent.header = header;
    agent.root = span;
    this.isCold = false;
  } catch (error) {
    complain(agent, error);
  }
}

function textOf(header: unknown): string {
  return typeof header === "string" ? header : "";
}

const triggerOf = (agent: Agent, event: string): Trigger | undefined =>
  SIGNS.some((sign) => event.includes(sign)) ? guarded(agent, "the event", () => chunk("trigger").read(event)) : undefined;

/** The header that what happens in the invocation goes by. */
function decided(invocation: Invocation, header: TraceHeader, trigger: Trigger | undefined): TraceHeader {
  let isUndecided = false;
  if (header.traceId === "") chunk("sampler").beginTrace(header);
  else if (header.sampled === "1") invocation.othersDecide = true;
  else isUndecided = chunk("sampler").isOurs(header, invocation.environ, invocation.othersDecide);
  const producer = trigger && chunk("trigger").onlyProducer(trigger, header);
  if (producer === undefined && isUndecided) chunk("sampler").decide(header);
  return producer ?? header;
}

function end(this: Invocation, _scope: Scope, endUs: number, error?: string, answer?: string): void {
  const { agent, trigger } = this;
  try {
    const span = agent.root;
    if (span === undefined) return;
    agent.root = undefined;
    if (error !== undefined) fail(agent, span, error, endUs);
    else if (trigger?.answered !== undefined && answer !== undefined) readAnswer(agent, span, trigger.answered, answer);
    span.endUs = endUs;
    agent.leave?.(span);
    // What is written now delays nobody: the answer is on its way.
    agent.wire.end(span, false);
    agent.wire.done(this.requestId, error !== undefined);
  } catch (trouble) {
    complain(agent, trouble);
  }
}

const fail = (agent: Agent, span: Span, report: string, endUs: number): void => {
  const error: Attributes = chunk("errors").describeReport(report);
  agent.recorder.addEvent(span, "exception", error, endUs);
  span.status = Status.Error;
  span.statusMessage = String(error["exception.message"]).slice(0, 1024);
};

const readAnswer = (agent: Agent, span: Span, answered: NonNullable<Trigger["answered"]>, answer: string): void =>
  void guarded(agent, "the answer", () => answered(span, JSON.parse(answer)));

function settle(this: Invocation, scope: Scope): void {
  const { agent, failure, prelude } = this;
  this.failure = undefined;
  this.prelude = undefined;
  if (agent.root !== undefined) this.end(scope, agent.now(), failure, prelude);
}

const complain = (agent: Agent, error: unknown): void =>
  agent.complain("an invocation", `an invocation could not be recorded: ${told(error)}`);
