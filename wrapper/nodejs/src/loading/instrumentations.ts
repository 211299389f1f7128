/**
 * Which instrumentations the function wants. The environment comes in, a question for each name goes out; asked at the start, where a
 * variable says anything.
 */

import { isLogger } from "../libraries/log_ids";
import type { Agent } from "../record/agent";
import { isOn } from "../record/settings";

/** What the function itself records joins in unless it is turned off by name. */
const OWN = ["opentelemetry", "xray-sdk"];

const LOG_TRACE_IDS = "OTEL_XRAY_LOG_TRACE_IDS";

export interface Chosen {
  disabled: (name: string) => boolean;
  /** Those that are on by name. */
  named: string[];
}

function namesIn(list = ""): string[] {
  return list === "" ? [] : list.split(",").flatMap((name) => name.trim() || []);
}

/** A list of those that are on turns all others off; a list of those that are off counts for more. */
export function chosen(environ: NodeJS.ProcessEnv, complain: Agent["complain"]): Chosen {
  const on = namesIn(environ.OTEL_NODE_ENABLED_INSTRUMENTATIONS);
  const off = namesIn(environ.OTEL_NODE_DISABLED_INSTRUMENTATIONS);
  const logs = isOn(environ, LOG_TRACE_IDS);
  if (logs === undefined) {
    const shown = JSON.stringify(environ[LOG_TRACE_IDS]?.slice(0, 40));
    complain(LOG_TRACE_IDS, `${LOG_TRACE_IDS}=${shown} is not understood: set it to true or false; using the default (false)`);
  }
  const wanted = (name: string): boolean =>
    isLogger(name) ? logs === true || on.includes(name) : on.length === 0 || OWN.includes(name) || on.includes(name);
  const disabled = (name: string): boolean => off.includes(name) || off.includes("*") || !wanted(name);
  return { disabled, named: on.filter((name) => !disabled(name)) };
}
