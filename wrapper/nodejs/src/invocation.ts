/** The invocation's own span, from what the runtime client receives and answers. */

import { type Agent, guarded } from "./agent";
import { chunk } from "./chunks";
import type { Attributes } from "./span";
import type { Trigger } from "./trigger";

/** Response headers of the Runtime API's `next` (lambda.md section 4), lower case. */
export type InvocationHeaders = Record<string, unknown>;

/** One of these is in every event that tells what called the function; no file is read for any other. */
const SIGNS = ['"Records"', '"requestContext"', '"records"', '"detail-type"', '"StateMachine"', '"Context"', '"context"'];
/** No event that says so is shorter. */
const MIN_TELLING = 12;

/** Tells an invocation from others that run at the same time; nothing where they run one after the other. */
export type Scope = object | undefined;

/** None of the methods throws. */
export class Invocation {
  trigger: Trigger | undefined;
  requestId = "";
  private cold = true;
  /** The error report of a response that failed after it had begun. */
  failure: string | undefined;

  constructor(
    private readonly agent: Agent,
    private readonly environ: NodeJS.ProcessEnv,
  ) {}

  /** The runtime client asks for the next event. The scope is that of the invocation that will come. */
  asks(): Scope {
    this.settle(undefined);
    return undefined;
  }

  /** It answers, or is about to. `requestId` is as in the path of the answer. */
  answers(_requestId: string): Scope {
    return undefined;
  }

  begin(_scope: Scope, headers: InvocationHeaders, event: string): void {
    try {
      const requestId = headers["lambda-runtime-aws-request-id"];
      this.requestId = typeof requestId === "string" ? requestId : "";
      const header = headers["lambda-runtime-trace-id"];
      const deadlineMs = Number(headers["lambda-runtime-deadline-ms"]);
      this.trigger = event.length >= MIN_TELLING ? this.triggerOf(event) : undefined;
      const isRecorded = this.agent.recorder.enter(
        this.environ._HANDLER ?? "",
        typeof header === "string" ? header : "",
        this.requestId,
        Number.isSafeInteger(deadlineMs) && deadlineMs > 0 ? deadlineMs : 0,
        this.attributes(headers["lambda-runtime-invoked-function-arn"]),
        this.trigger,
      );
      if (isRecorded) this.cold = false;
    } catch (error) {
      this.complain(error);
    }
  }

  private attributes(arn: unknown): Attributes {
    const attributes: Attributes = {
      "faas.invocation_id": this.requestId,
      "faas.coldstart": this.cold,
      "faas.name": this.environ.AWS_LAMBDA_FUNCTION_NAME,
      "faas.version": this.environ.AWS_LAMBDA_FUNCTION_VERSION,
    };
    if (typeof arn === "string") {
      attributes["cloud.resource_id"] = arn;
      attributes["cloud.account.id"] = arn.split(":")[4] || undefined;
    }
    return attributes;
  }

  private triggerOf(event: string): Trigger | undefined {
    if (!SIGNS.some((sign) => event.includes(sign))) return undefined;
    return guarded(this.agent, "the event", () => chunk("trigger").read(event));
  }

  /** The handler has answered, in JSON. `endUs` is when, before the answer was sent. */
  end(_scope: Scope, endUs: number, error?: string, answer?: string): void {
    try {
      const { recorder } = this.agent;
      if (error !== undefined) recorder.leave(this.requestId, endUs, chunk("errors").describeReport(error));
      else {
        if (this.trigger !== undefined && answer !== undefined) this.readAnswer(this.trigger, answer);
        recorder.leave(this.requestId, endUs);
      }
    } catch (trouble) {
      this.complain(trouble);
    }
  }

  private readAnswer({ answered }: Trigger, answer: string): void {
    const { root } = this.agent.recorder;
    if (root !== undefined && answered !== undefined) guarded(this.agent, "the answer", () => answered(root, JSON.parse(answer)));
  }

  /** A streamed response says behind its body that it has failed (L-4.1). */
  failing(_scope: Scope, report: string): void {
    this.failure = report;
  }

  /** A streamed response has been sent, or the runtime asks for the next event: what had not ended by then has now. */
  settle(scope: Scope): void {
    const { failure } = this;
    this.failure = undefined;
    const { recorder } = this.agent;
    if (recorder.root !== undefined) this.end(scope, recorder.now(), failure);
  }

  private complain(error: unknown): void {
    this.agent.complain("an invocation", `an invocation could not be recorded: ${String(error)}`);
  }
}
