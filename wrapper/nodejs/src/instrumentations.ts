/** Which instrumentations the function wants. */

import { isLogger } from "./log_ids";

/** What the function itself records joins in unless it is turned off by name. */
const OWN = ["opentelemetry", "xray-sdk"];

export interface Chosen {
  disabled: (name: string) => boolean;
  /** Those that are on by name. */
  named: string[];
}

function namesIn(list = ""): string[] {
  return list === "" ? [] : list.split(",").flatMap((name) => name.trim() || []);
}

/** A list of those that are on turns all others off; a list of those that are off counts for more. */
export function chosen(environ: NodeJS.ProcessEnv): Chosen {
  const on = namesIn(environ.OTEL_NODE_ENABLED_INSTRUMENTATIONS);
  const off = namesIn(environ.OTEL_NODE_DISABLED_INSTRUMENTATIONS);
  const logs = ["true", "1", "on", "yes"].includes((environ.OTEL_XRAY_LOG_TRACE_IDS ?? "").toLowerCase());
  const wanted = (name: string): boolean =>
    isLogger(name) ? logs || on.includes(name) : on.length === 0 || OWN.includes(name) || on.includes(name);
  const disabled = (name: string): boolean => off.includes(name) || off.includes("*") || !wanted(name);
  return { disabled, named: on.filter((name) => !disabled(name)) };
}
