/** The invocation's own span, from what the runtime client receives and answers. */

import { type Agent, guarded } from "./agent";
import { chunk } from "./chunks";
import { withoutOwnFrames } from "./recorder";
import type { Attributes } from "./span";
import type { Trigger } from "./trigger";

/** Response headers of the Runtime API's `next` (lambda.md section 4), lower case. */
export type InvocationHeaders = Record<string, unknown>;

/** An error as the runtime client reports it. */
interface ReportedError {
  errorType?: unknown;
  errorMessage?: unknown;
  trace?: unknown;
  stackTrace?: unknown;
}

/** One of these is in every event that tells what called the function; no file is read for any other. */
const SIGNS = ['"Records"', '"requestContext"', '"records"', '"detail-type"', '"StateMachine"', '"Context"', '"context"'];
/** No event that says so is shorter. */
const MIN_TELLING = 12;

/** Runs something on behalf of one invocation. */
export type Within = (run: () => void) => void;

const here: Within = (run) => run();

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

  /** The runtime client asks for the next event: on behalf of the invocation that will come. */
  asks(): Within {
    this.settle();
    return here;
  }

  /** It answers, or is about to. `requestId` is as in the path of the answer. */
  answers(_requestId: string): Within {
    return here;
  }

  begin(headers: InvocationHeaders, event: string): void {
    const text = (name: string): string => {
      const value = headers[`lambda-runtime-${name}`];
      return value === undefined || value === null ? "" : String(value);
    };
    this.requestId = text("aws-request-id");
    const arn = text("invoked-function-arn");
    const attributes: Attributes = {
      "faas.invocation_id": this.requestId,
      "faas.coldstart": this.cold,
      "cloud.resource_id": arn || undefined,
      "cloud.account.id": arn.split(":")[4] || undefined,
      "faas.name": this.environ.AWS_LAMBDA_FUNCTION_NAME,
      "faas.version": this.environ.AWS_LAMBDA_FUNCTION_VERSION,
    };
    const deadlineMs = Number(text("deadline-ms"));
    this.trigger = event.length >= MIN_TELLING && SIGNS.some((sign) => event.includes(sign)) ? guarded(this.agent, "the event", () => chunk("trigger").read(event)) : undefined;
    const recording = this.agent.recorder.enter(
      this.environ._HANDLER ?? "",
      text("trace-id"),
      this.requestId,
      Number.isSafeInteger(deadlineMs) && deadlineMs > 0 ? deadlineMs : 0,
      attributes,
      this.trigger,
    );
    if (recording) this.cold = false;
  }

  /** The handler has answered, in JSON. `endUs` is when, before the answer was sent. */
  end(endUs: number, error?: string, answer?: string): void {
    const { recorder } = this.agent;
    if (error === undefined) {
      const { root } = recorder;
      const answered = this.trigger?.answered;
      if (root !== undefined && answered !== undefined && answer !== undefined)
        guarded(this.agent, "the answer", () => answered(root, JSON.parse(answer)));
      recorder.leave(this.requestId, endUs);
      return;
    }
    let reported: ReportedError = {};
    try {
      reported = (JSON.parse(error) as ReportedError | null) ?? {};
    } catch {
      reported.errorMessage = error;
    }
    const trace = reported.trace ?? reported.stackTrace;
    recorder.leave(this.requestId, endUs, {
      "exception.type": reported.errorType ?? "Error",
      "exception.message": reported.errorMessage ?? "",
      "exception.stacktrace": Array.isArray(trace) && trace.length > 0 ? withoutOwnFrames(trace.join("\n")) : undefined,
    });
  }

  /** A streamed response says behind its body that it has failed (L-4.1). */
  failing(report: string): void {
    this.failure = report;
  }

  /** A streamed response has been sent, or the runtime asks for the next event: what had not ended by then has now. */
  settle(): void {
    const { failure } = this;
    this.failure = undefined;
    if (this.agent.recorder.root !== undefined) this.end(this.agent.recorder.now(), failure);
  }
}
