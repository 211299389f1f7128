/** Decides where neither Lambda nor a caller has, so that what the function calls is told. Asked by the invocation. */

import { word } from "../record/settings";
import { wallMs } from "../trace/clock";
import { newId } from "../trace/ids";
import type { TraceHeader } from "../trace/trace_header";

/** The end of a trace id below which 5 % of all are (SMP-9). */
const FIVE_PERCENT = "0ccccccd";

let decides: boolean | undefined;
let lastSecond = 0;

/** Whether the decision on an invocation that is not sampled is left to the function. */
export function isOurs(header: TraceHeader, environ: NodeJS.ProcessEnv, othersDecide: boolean): boolean {
  decides ??= !["respect", "off", "rules"].includes(word(environ, "OTEL_XRAY_SAMPLING")) && word(environ, "OTEL_XRAY_TRACING_MODE") !== "active";
  return decides && !(header.sampled === "0" && othersDecide);
}

/** X-Ray's default rule: one a second, and 5 % of the others (SMP-15). */
export function decide(header: TraceHeader): void {
  const second = Math.floor(wallMs() / 1000);
  const isFirst = second !== lastSecond;
  lastSecond = second;
  header.sampled = isFirst || header.traceId.slice(24) < FIVE_PERCENT ? "1" : "0";
}

/** Makes the header that of a trace of its own, with the time in front where old tools look for it. */
export function beginTrace(header: TraceHeader): void {
  const seconds = Math.floor(wallMs() / 1000);
  header.traceId = seconds.toString(16).padStart(8, "0") + newId(12);
  header.parentId = "";
  header.sampled = "1";
  header.extra = "";
}
