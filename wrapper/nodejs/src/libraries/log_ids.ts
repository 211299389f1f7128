/**
 * The ids of the current span in what the function logs: through the console, pino and winston. Called at the start for the console, and
 * with what pino and winston export.
 */

import { type Agent, guarded } from "../record/agent";
import { Flag } from "../trace/span";
import type { Method, Prototype } from "./calls";

/** These change what the function writes, and are off until they are asked for. */
export function isLogger(instrumentation: string): boolean {
  return instrumentation === "console" || instrumentation === "pino" || instrumentation === "winston";
}

type Ids = Record<"trace_id" | "span_id" | "trace_flags", string>;

function currentIds(agent: Agent): Ids | undefined {
  const span = agent.recorder.current();
  if (span === undefined) return undefined;
  return { trace_id: span.traceId, span_id: span.spanId, trace_flags: span.flags & Flag.Sampled ? "01" : "00" };
}

const LEVELS = ["debug", "error", "fatal", "info", "log", "trace", "warn"];

/**
 * Also the methods that the runtime client puts there after this. `json` is Lambda's log format: an object that is logged alone
 * becomes a part of the record there, and stays an object; an error that is logged alone stays as it is.
 */
export function patchConsole(agent: Agent, json: boolean): void {
  const methods = console as unknown as Record<string, Method | undefined>;
  let inside = false;
  const withIds = (method: Method | undefined): Method | undefined =>
    method &&
    function (this: object, ...given) {
      // One method may call another.
      if (inside) return method.apply(this, given);
      inside = true;
      try {
        return method.apply(this, guarded(agent, "a log line", () => marked(agent, given, json)) ?? given);
      } finally {
        inside = false;
      }
    };
  for (const level of LEVELS) {
    let shown = withIds(methods[level]);
    Object.defineProperty(console, level, {
      configurable: true,
      enumerable: true,
      get: () => shown,
      set: (method: Method | undefined) => {
        if (method !== shown) shown = withIds(method);
      },
    });
  }
}

function marked(agent: Agent, given: unknown[], json: boolean): unknown[] {
  const ids = currentIds(agent);
  if (ids === undefined || given.length === 0) return given;
  const [first] = given;
  const suffix = `trace_id=${ids.trace_id} span_id=${ids.span_id}`;
  if (given.length > 1) return [...given, suffix];
  // Alone, it is no format.
  if (typeof first === "string") return [`${first} ${suffix}`];
  if (!json) return [first, suffix];
  return isPlain(first) ? [{ ...first, ...ids }] : given;
}

function isPlain(value: unknown): value is object {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

/** `pino/lib/tools.js`. */
export function patchPino(agent: Agent, exports: unknown): void {
  const tools = exports as Prototype;
  const { asJson } = tools;
  if (asJson === undefined) return;
  tools.asJson = function (fields, ...given) {
    const ids = guarded(agent, "a log line", () => currentIds(agent));
    return asJson.call(this, ids === undefined ? fields : { ...ids, ...(fields as object) }, ...given);
  };
}

/** `winston/lib/winston/logger.js`. */
export function patchWinston(agent: Agent, exports: unknown): void {
  const { prototype } = exports as { prototype: Prototype };
  const { write } = prototype;
  if (write === undefined) return;
  prototype.write = function (info, ...given) {
    const ids = guarded(agent, "a log line", () => currentIds(agent));
    if (ids === undefined || typeof info !== "object" || info === null) return write.call(this, info, ...given);
    // What an error says is not among what can be copied.
    const record: unknown = info instanceof Error ? Object.assign(info, ids) : { ...ids, ...info };
    return write.call(this, record, ...given);
  };
}
