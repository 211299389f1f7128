/**
 * The runtime client's own HTTP calls. They carry streamed responses, and everything where the runtime client has no native module or does
 * not use it. Given each of these requests by watch/requests.ts.
 */

import type { ClientRequest, IncomingMessage } from "node:http";
import { type Agent, guarded } from "../record/agent";
import { loadingReported } from "./init_error";
import type { Invocation, Scope } from "./invocation";

/** Says whether an answer is a stream. */
export const RESPONSE_MODE = "lambda-runtime-function-response-mode";

/** Characters of an error report that are kept. */
const MAX_REPORT = 1_048_576;

export function watch(agent: Agent, invocation: Invocation, request: ClientRequest): void {
  const what = /^\/2018-06-01\/runtime\/(?:init\/error|invocation\/(?:next|([^/]+)\/(response|error)))$/.exec(request.path);
  if (what === null) return;
  const [path, requestId, kind] = what;
  if (path.endsWith("init/error")) watchInitError(invocation, request);
  else if (requestId === undefined) watchNext(agent, invocation, request);
  else watchAnswer(invocation, invocation.answers(requestId), request, kind === "error");
}

function watchNext(agent: Agent, invocation: Invocation, request: ClientRequest): void {
  const scope = invocation.asks();
  onResponse(request, (response) => {
    const pieces: Buffer[] = [];
    onEvent(response, (event, value) => {
      if (event === "data") pieces.push(Buffer.from(value as string | Uint8Array));
      if (event !== "end") return;
      guarded(agent, "an invocation", () => invocation.begin(scope, response.headers, Buffer.concat(pieces).toString()));
    });
  });
}

/** Told before the report has arrived: with its arrival the process may end. */
function watchInitError(invocation: Invocation, request: ClientRequest): void {
  let isTold = false;
  keepReport(request, (report) => {
    if (isTold || !isWhole(report)) return;
    isTold = true;
    guarded(invocation.agent, "the failure to load the function", () => loadingReported(invocation, report));
  });
}

function isWhole(report: string): boolean {
  try {
    JSON.parse(report);
    return true;
  } catch {
    return false;
  }
}

type Send = (data: unknown, ...rest: unknown[]) => boolean;

function watchAnswer(invocation: Invocation, scope: Scope, request: ClientRequest, failed: boolean): void {
  const { addTrailers } = request;
  const failing = (body: unknown): void => {
    if (typeof body === "string") invocation.failing(scope, Buffer.from(body, "base64").toString());
  };
  request.addTrailers = function (this: ClientRequest, trailers) {
    failing((trailers as Record<string, unknown>)["Lambda-Runtime-Function-Error-Body"]);
    return addTrailers.call(this, trailers);
  };
  const isStreaming = request.getHeader(RESPONSE_MODE) === "streaming";
  if (isStreaming) readPrelude(invocation, scope, request);
  // A handler that has failed before it has written anything: what follows the body was there before its head.
  failing(/^Lambda-Runtime-Function-Error-Body: *(\S+)/im.exec((request as unknown as { _trailer?: string })._trailer ?? "")?.[1]);
  // Where one invocation follows the other, a streaming handler may work on until the next event is asked for.
  const goesOn = isStreaming && scope === undefined;
  if (failed) keepReport(request, (report) => invocation.failing(scope, report));
  onResponse(request, (response) => {
    onEvent(response, (event) => {
      if (event === "end" && !goesOn) invocation.settle(scope);
    });
  });
}

/** Characters of what stands in front of a streamed body. */
const MAX_PRELUDE = 65_536;

const isHttp = (contentType: unknown): boolean => String(contentType).startsWith("application/vnd.awslambda.http-integration-response");

/** JSON in front of eight zero bytes, where the response is one of HTTP with a status of its own; none before it is there. */
export function preludeOf(contentType: unknown, body: string): string | undefined {
  const end = isHttp(contentType) ? body.indexOf("\0\0\0\0\0\0\0\0") : -1;
  // In front of it may be the size of a chunk.
  return end < 0 ? undefined : body.slice(body.indexOf("{"), body.lastIndexOf("}", end) + 1);
}

function readPrelude(invocation: Invocation, scope: Scope, request: ClientRequest): void {
  // A body alone is that of a 200.
  invocation.streaming(scope, "{}");
  const contentType = request.getHeader("content-type");
  if (!isHttp(contentType)) return;
  let body = "";
  let isOver = false;
  const sender = request as unknown as { _send: Send };
  const send = sender._send;
  sender._send = function (data, ...rest) {
    if (!isOver && (typeof data === "string" || data instanceof Uint8Array)) {
      body += Buffer.from(data as string).toString();
      const prelude = preludeOf(contentType, body);
      if (prelude !== undefined) invocation.streaming(scope, prelude);
      isOver = prelude !== undefined || body.length > MAX_PRELUDE;
    }
    return send.call(this, data, ...rest);
  };
}

/** The header block is made inside of the call that brings the body: what is sent from now on is the body. */
function keepReport(request: ClientRequest, seen: (report: string) => void): void {
  let report = "";
  const sender = request as unknown as { _send: Send };
  const send = sender._send;
  sender._send = function (data, ...rest) {
    if (report.length < MAX_REPORT && (typeof data === "string" || data instanceof Uint8Array)) {
      report += Buffer.from(data as string).toString();
      // Without the sizes of a chunked body.
      seen(report.slice(report.indexOf("{"), report.lastIndexOf("}") + 1));
    }
    return send.call(this, data, ...rest);
  };
}

function onResponse(request: ClientRequest, seen: (response: IncomingMessage) => void): void {
  onEvent(request, (event, value) => {
    if (event === "response") seen(value as IncomingMessage);
  });
}

type Emit = (event: string | symbol, ...args: unknown[]) => boolean;

function onEvent(emitter: { emit: Emit }, seen: (event: string | symbol, value: unknown) => void): void {
  const { emit } = emitter;
  emitter.emit = function (event, ...args) {
    seen(event, args[0]);
    return emit.call(this, event, ...args);
  };
}
