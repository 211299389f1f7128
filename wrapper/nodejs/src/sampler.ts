/** Decides where neither Lambda nor a caller has, so that what the function calls is told. */

import type { TraceHeader } from "./trace_header";

/** The end of a trace id below which 5 % of all are (SMP-9). */
const FIVE_PERCENT = "0ccccccd";

export class Sampler {
  private decides: boolean | undefined;
  /** Without active tracing Lambda makes up `Sampled=0` (LAM-6). Whoever decides says yes now and then. */
  private somebodyDecides = false;
  private second = 0;

  constructor(private readonly environ: NodeJS.ProcessEnv) {}

  /** Whether the decision on an invocation is left to the function. */
  isOurs(header: TraceHeader): boolean {
    if (header.sampled === "1") {
      this.somebodyDecides = true;
      return false;
    }
    this.decides ??= !["respect", "off", "rules"].includes(this.word("OTEL_XRAY_SAMPLING")) && this.word("OTEL_XRAY_TRACING_MODE") !== "active";
    return this.decides && !(header.sampled === "0" && this.somebodyDecides);
  }

  private word(name: string): string {
    return (this.environ[name] ?? "").trim().toLowerCase();
  }

  /** X-Ray's default rule: one a second, and 5 % of the others (SMP-15). */
  decide(header: TraceHeader): void {
    const second = Math.floor(Date.now() / 1000);
    const isFirst = second !== this.second;
    this.second = second;
    header.sampled = isFirst || header.traceId.slice(24) < FIVE_PERCENT ? "1" : "0";
  }
}
