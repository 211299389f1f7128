/** The function that could not be loaded. */

import { chunk } from "./chunks";
import { newId } from "./ids";
import type { Invocation } from "./invocation";
import { Flag, Kind, makeSpan, Status } from "./span";
import type { TraceHeader } from "./trace_header";

/** In a trace of its own: which invocation waits is not known here. `report` is what the runtime client says of it. */
export function loadingFailed({ agent, environ }: Invocation, report: string): void {
  const header: TraceHeader = { traceId: "", parentId: "", sampled: "", extra: "" };
  chunk("sampler").beginTrace(header);
  const endUs = agent.now();
  const startUs = Math.round(endUs - process.uptime() * 1e6);
  const span = makeSpan(`load ${environ._HANDLER ?? ""}`, Kind.Internal, header.traceId, newId(8), "", Flag.Sampled | Flag.RemoteKnown, startUs);
  span.attributes = { "faas.coldstart": true };
  const error = chunk("errors").describeReport(report);
  agent.recorder.addEvent(span, "exception", error, endUs);
  span.status = Status.Error;
  span.statusMessage = String(error["exception.message"]).slice(0, 1024);
  span.endUs = endUs;
  agent.wire.end(span, true);
}
