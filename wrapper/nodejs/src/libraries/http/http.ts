/**
 * Calls through `http` and `https`, also the AWS SDK's where it is bundled into the function and cannot be patched. Given each request
 * where its header block is made; gives back the headers to send.
 */

import type { ClientRequest, IncomingMessage } from "node:http";
import { type Agent, guarded } from "../../record/agent";
import { chunk } from "../../record/chunk";
import { isLibrarysCall, type Span, Status } from "../../trace/span";
import { X_RAY } from "../../trace/trace_header";
import { covers, defaultPort, describeAwsBody, describeAwsRequest, describeAwsResponse, isSigned, isSignedAnyhow, wantsBody } from "../aws/request";
import { MAX_BODY } from "../body";
import type { Body } from "./answers";
import { asksModel, readAnswer } from "./model_requests";
import { isOwnServer } from "./own_servers";

type Send = (data: unknown, ...rest: unknown[]) => boolean;
type Emit = (event: string | symbol, ...args: unknown[]) => boolean;

/** Headers as `_storeHeader` gets them: flat or paired where the caller gave a list, else what `setHeader` collected. */
type Headers = unknown;

/** The request is about to be sent. Returns the headers to send instead, where they have to be others. */
export function begin(agent: Agent, request: ClientRequest, headers: Headers): Headers {
  const { recorder } = agent;
  const current = recorder.current();
  if (current === undefined) return headers;
  const get = reader(request, headers);
  const signed = isSigned(get("authorization"));
  const elsewhere = recorder.xraySdk?.records(get("x-amzn-trace-id"));
  if (isLibrarysCall(current)) return withTrace(agent, request, headers, current, false);
  if (elsewhere === true) return headers;
  const theirs = recorder.foreign?.callOf(get("traceparent"), current);
  if (theirs !== undefined) return withTrace(agent, request, headers, theirs, false);
  if (isExport(request, get("host"))) return headers;
  const { socketPath } = request as { socketPath?: unknown };
  const port = portOf(request, get("host"));
  if (isOwnServer(socketPath ?? undefined, request.host || "localhost", port, get("upgrade"))) return headers;
  const span = recorder.call(request.method);
  if (span === undefined) return headers;
  describe(span, request, get("host"));
  if (signed) {
    describeAwsRequest(span, request.method, request.path, get);
    const length = Number(get("content-length"));
    const type = get("content-type");
    if (length > 0 && wantsBody(span)) readBody(agent, span, request, length, (body) => describeAwsBody(span, type, body));
  }
  const isModels = asksModel(span, signed, request.method, request.path, get);
  if (isModels && !signed) {
    const type = get("content-type");
    readBody(agent, span, request, Number(get("content-length")), (body) => chunk("models").describeModel(span, type, body));
  }
  const sent = guarded(agent, "a trace header", () => withTrace(agent, request, headers, span, elsewhere === false)) ?? headers;
  follow(agent, span, request, signed, isModels);
  recorder.announce(span);
  return sent;
}

/**
 * Looks at what is sent behind the header block, which is made inside of the call that brings the first of it: when all is there, or with
 * each piece where its length is not told.
 */
function readBody(agent: Agent, span: Span, request: ClientRequest, length: number, describe: (body: Buffer) => void): void {
  const pieces: Uint8Array[] = [];
  let left = Math.min(length || Infinity, MAX_BODY + 1);
  const sender = request as unknown as { _send: Send };
  const send = sender._send;
  sender._send = function (data, ...rest) {
    guarded(agent, "an AWS call", () => {
      if (left <= 0 || !(typeof data === "string" || data instanceof Uint8Array)) return;
      const piece = (typeof data === "string" ? Buffer.from(data) : data).subarray(0, left);
      pieces.push(piece);
      left -= piece.length;
      if ((left === 0 || !length) && span.endUs === 0) describe(Buffer.concat(pieces));
    });
    return send.call(this, data, ...rest);
  };
}

function reader(request: ClientRequest, headers: Headers): (name: string) => string {
  const list = Array.isArray(headers) ? (headers as unknown[]) : undefined;
  const pairs = list !== undefined && Array.isArray(list[0]) ? list.flat() : list;
  return (name) => {
    if (pairs === undefined) return String(request.getHeader(name) ?? "");
    const index = pairs.findIndex((value, position) => position % 2 === 0 && String(value).toLowerCase() === name);
    return index < 0 ? "" : String(pairs[index + 1]);
  };
}

/** A user's own OpenTelemetry SDK on its way to the collector: to trace that would never end. */
function isExport(request: ClientRequest, host: string): boolean {
  return request.path.endsWith("/v1/traces") && /^(?:localhost|127\.0\.0\.1):43\d\d$/.test(host);
}

function describe(span: Span, request: ClientRequest, hostHeader: string): void {
  const { attributes } = span;
  attributes["http.request.method"] = request.method;
  attributes["server.address"] = request.host || hostHeader;
  attributes["server.port"] = portOf(request, hostHeader);
  const authority = hostHeader || request.host;
  attributes["url.full"] = isWhole(request) ? request.path : `${request.protocol}//${authority}${request.path}`;
}

/** As it is sent to a proxy. */
const isWhole = (request: ClientRequest): boolean => /^https?:/.test(request.path);

function portOf(request: ClientRequest, hostHeader: string): number {
  const port = /:(\d+)$/.exec(hostHeader)?.[1];
  return port === undefined ? defaultPort(request.protocol) : Number(port);
}

function mayTell(agent: Agent, request: ClientRequest, hostHeader: string): boolean {
  if (!isWhole(request)) return agent.recorder.mayTell(request.host || hostHeader, portOf(request, hostHeader));
  const { hostname, port, protocol } = new URL(request.path);
  return agent.recorder.mayTell(hostname, Number(port) || defaultPort(protocol));
}

/** The headers with the trace in them. Those the user has set stay, unless they are the X-Ray SDK's of a call that it does not record. */
function withTrace(agent: Agent, request: ClientRequest, headers: Headers, span: Span, replace: boolean): Headers {
  const get = reader(request, headers);
  if (!mayTell(agent, request, get("host"))) return headers;
  const isOurs = isSignedAnyhow(request.path, get)
    ? // Nothing is added to what is signed. An AWS SDK's copy of Lambda's header, which no signature covers, is put right.
      (name: string) => name === X_RAY && !covers(get("authorization"), "x-amzn-trace-id") && agent.recorder.isLambdas(get("x-amzn-trace-id"))
    : (name: string) => replace || get(name.toLowerCase()) === "";
  const added = agent.recorder.headers(span).filter(([name]) => isOurs(name));
  if (added.length === 0) return headers;
  if (!Array.isArray(headers)) {
    for (const [name, value] of added) request.setHeader(name, value);
    return headers;
  }
  const names = added.map(([name]) => name.toLowerCase());
  if (Array.isArray(headers[0])) {
    const kept = (headers as [unknown, unknown][]).filter(([name]) => !names.includes(String(name).toLowerCase()));
    return [...kept, ...added];
  }
  const kept: unknown[] = [];
  for (let index = 0; index < headers.length; index += 2) {
    if (!names.includes(String(headers[index]).toLowerCase())) kept.push(headers[index], headers[index + 1]);
  }
  return [...kept, ...added.flat()];
}

/**
 * Watches what the request and its response tell their listeners. A listener of our own would change what happens: a response
 * that nobody listens for is thrown away by Node.js, and must be.
 */
function follow(agent: Agent, span: Span, request: ClientRequest, signed: boolean, isModels: boolean): void {
  let answered = false;
  let isLate = false;
  // Whoever closes it on purpose says so here, and to the listeners that the connection is gone.
  watchDestroy(agent, request, (error) => {
    if (!isLate || !isNothing(error)) agent.recorder.finish(span, error);
  });
  watchEvents(request, (event, value) => {
    guarded(agent, "an HTTP call", () => {
      if (event === "response") {
        answered = true;
        followResponse(agent, span, value as IncomingMessage, signed, isModels);
      } else if (event === "upgrade" || event === "connect") {
        answered = true;
        status(span, value as IncomingMessage);
        agent.recorder.finish(span);
      } else if (event === "timeout") {
        isLate = true;
      } else if (event === "error" && !answered) {
        agent.recorder.finish(span, value);
      } else if (event === "close" && !answered) {
        agent.recorder.finish(span, new Error("The request was closed before a response came"));
      }
    });
  });
}

function followResponse(agent: Agent, span: Span, response: IncomingMessage, signed: boolean, isModels: boolean): void {
  status(span, response);
  if (isModels) readAnswer(agent, span, response, response.headers["content-encoding"]);
  if (signed) describeAwsResponse(span, response.headers);
  watchDestroy(agent, response, (error) => {
    // Node.js closes it with that where the server does.
    if (isNothing(error) || (error as { code?: unknown }).code !== "ECONNRESET") agent.recorder.finish(span, error);
  });
  chunk("answers").watchBody(agent, span, () => response as unknown as Body);
  watchEvents(response, (event, value) => {
    // Its end, not the closing of its socket, which may be kept for a long time.
    if (event === "end" || (event === "close" && response.complete)) agent.recorder.finish(span);
    else if (event === "error") agent.recorder.finish(span, value);
    else if (event === "aborted" || event === "close") agent.recorder.finish(span, new Error("The response was cut off"));
  });
}

const isNothing = (error: unknown): error is null | undefined => error === undefined || error === null;

type Destroy = (error?: unknown) => unknown;

function watchDestroy(agent: Agent, stream: object, seen: (error: unknown) => void): void {
  const closable = stream as { destroy: Destroy };
  const { destroy } = closable;
  closable.destroy = function (error, ...rest: unknown[]) {
    guarded(agent, "an HTTP call", () => seen(error));
    return destroy.apply(this, [error, ...rest] as [unknown]);
  };
}

function watchEvents(emitter: { emit: Emit }, seen: (event: string | symbol, value: unknown) => void): void {
  const { emit } = emitter;
  emitter.emit = function (event, ...args) {
    seen(event, args[0]);
    return emit.call(this, event, ...args);
  };
}

function status(span: Span, response: IncomingMessage): void {
  const code = response.statusCode ?? 0;
  const { attributes } = span;
  attributes["http.response.status_code"] = code;
  attributes["network.protocol.version"] = response.httpVersion;
  attributes["network.peer.address"] = response.socket?.remoteAddress;
  attributes["network.peer.port"] = response.socket?.remotePort;
  if (code >= 400) {
    span.status = Status.Error;
    attributes["error.type"] = String(code);
  }
}
