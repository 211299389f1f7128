/**
 * Like calls past a number of an invocation: one span stands for all of them, and says how many they were. Given by the recorder with the
 * first call that there are too many of; PROTOCOL.md names what such a span carries.
 */

import { newId } from "../trace/ids";
import { type Attributes, makeSpan, type Span, Status } from "../trace/span";

const STATUS = "http.response.status_code";
const OF_FAILURES = ["error.type", "aws.error.code", "db.response.status_code", "rpc.response.status_code", STATUS];

/** The calls of one name to one address. Each has the id of the fold's span, by which others are told of the trace. */
export class Fold {
  readonly span: Span;
  private isOver = false;
  private calls = 0;
  private errors = 0;
  private totalUs = 0;
  private slowestUs = 0;
  /** What all of them carry. */
  private same: Attributes | undefined;
  /** What the first that failed says of its failure. */
  private failure: Attributes = {};

  constructor(first: Span) {
    const { name, kind, traceId, spanId, parentId, flags, startUs, attributes } = first;
    this.span = { ...makeSpan(name, kind, traceId, spanId, parentId, flags, startUs), attributes: { ...attributes } };
  }

  /** A call has ended. False where the fold has ended before: then the call has an id of its own. */
  add(call: Span, isFailed: boolean, noteError: (span: Span) => void): boolean {
    if (this.isOver) {
      call.spanId = newId(8);
      return false;
    }
    const { span } = this;
    const lasted = Math.max(call.endUs - call.startUs, 0);
    this.calls++;
    this.totalUs += lasted;
    this.slowestUs = Math.max(this.slowestUs, lasted);
    span.startUs = Math.min(span.startUs, call.startUs);
    span.endUs = Math.max(span.endUs, call.endUs);
    if (isFailed || call.status === Status.Error || Number(call.attributes[STATUS]) >= 400) {
      this.errors++;
      if (this.errors === 1) this.noteFailure(call, noteError);
    }
    if (this.same === undefined) this.same = { ...call.attributes };
    else for (const key of Object.keys(this.same)) if (this.same[key] !== call.attributes[key]) delete this.same[key];
    return true;
  }

  /** The span that stands for them; none where none has ended. */
  end(): Span | undefined {
    this.isOver = true;
    if (this.calls === 0) return undefined;
    this.span.attributes = {
      ...this.same,
      ...this.failure,
      folded_calls: this.calls,
      folded_total_ms: this.totalUs / 1000,
      folded_slowest_ms: this.slowestUs / 1000,
      folded_errors: this.errors,
    };
    return this.span;
  }

  private noteFailure(call: Span, noteError: (span: Span) => void): void {
    const { span } = this;
    span.status = call.status;
    span.statusMessage = call.statusMessage;
    noteError(span);
    const said = { ...span.attributes, ...call.attributes };
    this.failure = Object.fromEntries(OF_FAILURES.filter((key) => said[key] !== undefined).map((key) => [key, said[key]]));
  }
}
