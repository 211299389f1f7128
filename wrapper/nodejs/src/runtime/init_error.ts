/**
 * The function that could not be loaded. The runtime client's report of it, or an error that nobody has caught, becomes a span without an
 * invocation.
 */

import { chunk } from "../record/chunk";
import { newId } from "../trace/ids";
import { type Attributes, Flag, Kind, makeSpan, Status } from "../trace/span";
import type { TraceHeader } from "../trace/trace_header";
import type { Invocation } from "./invocation";

/** What the runtime client says of it. */
export function loadingReported(invocation: Invocation, report: string): void {
  loadingFailed(invocation, chunk("errors").describeReport(report));
}

/** In a trace of its own: which invocation waits is not known here. Once: what has been reported is thrown behind that. */
export function loadingFailed(invocation: Invocation, error: Attributes): void {
  if (invocation.isLost) return;
  invocation.isLost = true;
  const { agent, handler } = invocation;
  const header: TraceHeader = { traceId: "", parentId: "", sampled: "", extra: "" };
  chunk("sampler").beginTrace(header);
  const endUs = agent.now();
  const startUs = Math.round(endUs - process.uptime() * 1e6);
  const span = makeSpan(`load ${handler}`, Kind.Internal, header.traceId, newId(8), "", Flag.Sampled | Flag.RemoteKnown, startUs);
  span.attributes = { "faas.coldstart": true };
  agent.recorder.addEvent(span, "exception", error, endUs);
  span.status = Status.Error;
  span.statusMessage = String(error["exception.message"]).slice(0, 1024);
  span.endUs = endUs;
  agent.wire.end(span, true);
}
