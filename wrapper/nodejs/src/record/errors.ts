/** What an error says of itself. What was thrown, or the report of it, comes in; attributes of an exception's event go out. */

import { type Attributes, MAX_TEXT } from "../trace/span";

/** What kind of error it is: the name it was given, else its class. */
export function errorType(error: unknown): string {
  if (typeof error !== "object" || error === null) return typeof error;
  const { name, code } = error as { name?: unknown; code?: unknown };
  if (typeof name === "string" && name !== "" && name !== "Error") return name;
  if (typeof code === "string" && code !== "") return code;
  return error.constructor?.name || "Error";
}

/** Classes of what Redis answers with, in its drivers. */
const REPLIES = new Set(["ReplyError", "SimpleError", "BlobError", "ErrorReply"]);

/**
 * What the database itself calls the error: its SQLSTATE, MySQL's and MongoDB's number, Redis' first word. None where it has not been asked,
 * as of a connection that is refused.
 */
export function codeOf(system: unknown, error: unknown): string | undefined {
  const { code, errno, message } = (error ?? {}) as { code?: unknown; errno?: unknown; message?: unknown };
  if (system === "postgresql") return /^(?=.*\d)[\dA-Z]{5}$/.test(String(code)) ? String(code) : undefined;
  if (system === "mysql") return typeof errno === "number" && errno > 0 ? String(errno) : undefined;
  if (system === "mongodb") return typeof code === "number" ? String(code) : undefined;
  return system === "redis" && REPLIES.has(errorType(error)) ? /^[A-Z]+(?= |$)/.exec(String(message))?.[0] : undefined;
}

/** What says that the caller has broken off what it had begun; the last is that of axios and got. */
const BROKEN_OFF = new Set(["ABORT_ERR", "UND_ERR_ABORTED", "UND_ERR_DESTROYED", "ERR_CANCELED"]);

type Reason = { name?: unknown } | null | undefined;

/** Whether the caller itself has broken it off, and not because its time was up. */
export function isOnPurpose(error: unknown): boolean {
  if (typeof error !== "object" || error === null) return false;
  const { name, code, cause, config } = error as Partial<Record<"name" | "code", unknown>> & { cause?: Reason; config?: { signal?: { reason?: Reason } } };
  const reasons = [cause, config?.signal?.reason];
  return (name === "AbortError" || BROKEN_OFF.has(String(code))) && reasons.every((reason) => reason?.name !== "TimeoutError");
}

export function messageOf(error: unknown, depth = 0): string {
  try {
    const message = typeof error === "object" && error !== null ? (error as { message?: unknown }).message : error;
    // That of a connection which several addresses have refused is empty: they say it.
    const said = String(message ?? "") || (depth > 3 ? "" : innerErrors(error).map((inner) => messageOf(inner, depth + 1)).join("; "));
    return said.slice(0, 1024);
  } catch {
    return "";
  }
}

/** Errors that are told of by their stacks. */
const MAX_STACKS = 10;

/** What an AggregateError is made of. */
function innerErrors(error: unknown): unknown[] {
  const { errors } = (error ?? {}) as { errors?: unknown };
  return error instanceof Error && Array.isArray(errors) ? (errors as unknown[]).slice(0, MAX_STACKS) : [];
}

/** The stack as it would be without the agent, and without the contexts that it runs things in. */
export function withoutOwnFrames(stack: string): string {
  const own = `${__dirname}/`;
  if (!stack.includes(own)) return stack;
  const lines = stack.split("\n");
  const isOwn = (index: number): boolean => lines[index]?.includes(own) === true;
  const isContexts = (index: number): boolean => lines[index]?.includes("AsyncLocalStorage.run (node:") === true && (isOwn(index - 1) || isOwn(index + 1));
  return lines.filter((_line, index) => !isOwn(index) && !isContexts(index)).join("\n");
}

/** The same of the runtime client's report, and of what it says of it in X-Ray's words. */
export function reportWithoutOwnFrames(report: string): string {
  const own = `${__dirname}/`;
  if (!report.includes(own)) return report;
  const said = JSON.parse(report) as { trace?: unknown; stackTrace?: unknown; exceptions?: unknown };
  for (const key of ["trace", "stackTrace"] as const)
    if (Array.isArray(said[key])) said[key] = withoutOwnFrames((said[key] as unknown[]).join("\n")).split("\n");
  for (const exception of Array.isArray(said.exceptions) ? (said.exceptions as { stack?: unknown }[]) : [])
    if (Array.isArray(exception.stack)) exception.stack = (exception.stack as { path?: unknown }[]).filter(({ path }) => !String(path).includes(own));
  return JSON.stringify(said);
}

/** An error goes on to the function: its stack says nothing of the agent. It may be of any kind, and refuse. */
export function leave(error: unknown): void {
  try {
    if (!(error instanceof Error)) return;
    const { stack } = error;
    const shown = typeof stack === "string" ? withoutOwnFrames(stack) : stack;
    const own = Object.getOwnPropertyDescriptor(error, "stack");
    if (shown !== stack && own?.configurable === true) Object.defineProperty(error, "stack", { configurable: true, enumerable: own.enumerable === true, writable: true, value: shown });
  } catch {
    // Then it stays as it is.
  }
}

/** The stack, and those of the errors it came from, each marked as Node.js marks a cause. */
function stackOf(error: unknown): string | undefined {
  let text = "";
  const chain: unknown[] = [error];
  for (const current of chain) {
    if (!(current instanceof Error)) continue;
    if (typeof current.stack === "string") text += (text === "" ? "" : "\n  [cause]: ") + withoutOwnFrames(current.stack);
    for (const inner of [...innerErrors(current), current.cause]) if (chain.length < MAX_STACKS) chain.push(inner);
  }
  if (text.length <= MAX_TEXT) return text === "" ? undefined : text;
  // Both ends matter: what it was, and where it began.
  const half = MAX_TEXT / 2 - 20;
  return `${text.slice(0, half)}\n    ...\n${text.slice(-half)}`;
}

/** The event that a span has of an error. */
export function describe(error: unknown): Attributes {
  return {
    "exception.type": errorType(error),
    "exception.message": messageOf(error),
    "exception.stacktrace": stackOf(error),
  };
}

/** An error as the runtime client reports it. */
interface ReportedError {
  errorType?: unknown;
  errorMessage?: unknown;
  trace?: unknown;
  stackTrace?: unknown;
}

/** The same, of the runtime client's report. */
export function describeReport(report: string): Attributes {
  let reported: ReportedError = {};
  try {
    reported = (JSON.parse(report) as ReportedError | null) ?? {};
  } catch {
    reported.errorMessage = report;
  }
  const trace = reported.trace ?? reported.stackTrace;
  return {
    "exception.type": reported.errorType ?? "Error",
    "exception.message": reported.errorMessage ?? "",
    "exception.stacktrace": Array.isArray(trace) && trace.length > 0 ? withoutOwnFrames(trace.join("\n")) : undefined,
  };
}
