/** Calls through `fetch` and undici, by their diagnostics channels. Given each message of the channels, by loading/listeners.ts. */

import { type Agent, guarded } from "../../record/agent";
import { chunk } from "../../record/chunk";
import { isLibrarysCall, type Span, Status } from "../../trace/span";
import { defaultPort, describeAwsBody, describeAwsRequest, describeAwsResponse, isSigned, isSignedAnyhow, wantsBody } from "../aws/request";
import type { ModelAnswer } from "../models";
import type { Body } from "./answers";
import { asksModel } from "./model_requests";
import { isOwnServer } from "./own_servers";

/** undici's request, of version 5 or later. */
interface Request {
  method: string;
  origin: string | URL;
  path: string;
  body?: unknown;
  /** The protocol that is asked for instead. */
  upgrade?: unknown;
  headers: string | (string | Buffer | string[])[];
  addHeader: (name: string, value: string) => void;
  /** What it is told, and what it tells its handler; the names depend on the version. */
  onConnect?: Started;
  onRequestStart?: Started;
  onData?: Piece;
  onResponseData?: Piece;
  onUpgrade?: Upgraded;
  onRequestUpgrade?: Upgraded;
}

/** Gets what its caller breaks it off with. */
type Started = (this: Request, abort: (reason: unknown) => unknown, ...rest: unknown[]) => unknown;
type Piece = (this: Request, data: unknown) => unknown;
/** Another protocol goes on from here. */
type Upgraded = (this: Request, status: number, headers: Buffer[], ...rest: unknown[]) => unknown;

interface Message {
  request: Request;
  response?: { statusCode: number; headers: Buffer[] };
  error?: unknown;
}

const calls = new WeakMap<Request, Span>();
/** Calls of models. */
const asking = new WeakSet<Request>();
const answers = new WeakMap<Request, ModelAnswer>();
/** Why its caller has broken it off. */
const reasons = new WeakMap<Request, unknown>();

export function on(event: "create" | "headers" | "trailers" | "error", agent: Agent, message: unknown): void {
  const { request, response, error } = message as Message;
  if (event === "create") {
    begin(agent, request);
    return;
  }
  const span = calls.get(request);
  if (span === undefined) return;
  if (event === "headers") {
    if (response === undefined) return;
    answered(span, response);
    if (asking.has(request)) readAnswer(agent, span, request, response.headers);
    if (response.statusCode >= 200) chunk("answers").watchBody(agent, span, () => bodyOf(request));
    return;
  }
  calls.delete(request);
  if (event === "trailers") guarded(agent, "a model's answer", () => answers.get(request)?.tell());
  agent.recorder.finish(span, event === "error" ? failureOf(request, error) : undefined);
}

/** Any value may be the reason of an AbortController; that of `AbortSignal.timeout` is that the time was up. */
function failureOf(request: Request, error: unknown): unknown {
  const isBrokenOff = reasons.has(request) && (reasons.get(request) as { name?: unknown } | undefined)?.name !== "TimeoutError";
  return isBrokenOff ? undefined : (error ?? new Error("The request failed"));
}

/** The stream that the caller gets, or that of the `fetch` that gives it to the caller. */
function bodyOf(request: Request): Body | undefined {
  const kept = Object.getOwnPropertySymbols(request).find(({ description }) => description === "handler");
  const handler = kept && (request as unknown as Record<symbol, { body?: unknown; res?: unknown } | undefined>)[kept];
  const body = (handler?.body ?? handler?.res) as Partial<Body> | null | undefined;
  return typeof body?.read === "function" ? (body as Body) : undefined;
}

/** What no channel tells. Properties of this one request, which nobody outside of undici sees. */
function follow(agent: Agent, request: Request, span: Span): void {
  for (const name of ["onConnect", "onRequestStart"] as const) {
    const started = request[name];
    if (started === undefined) continue;
    request[name] = function (abort, ...rest) {
      const breakOff = (reason: unknown): unknown => {
        if (!reasons.has(request)) reasons.set(request, reason);
        return abort(reason);
      };
      return started.call(this, breakOff, ...rest);
    };
  }
  for (const name of ["onUpgrade", "onRequestUpgrade"] as const) {
    const upgraded = request[name];
    if (upgraded === undefined) continue;
    request[name] = function (statusCode, headers, ...rest) {
      guarded(agent, "an HTTP call", () => {
        answered(span, { statusCode, headers });
        agent.recorder.finish(span);
      });
      return upgraded.call(this, statusCode, headers, ...rest);
    };
  }
}

/** What is sent says the model. `fetch` gives it piece by piece. */
function readModel(agent: Agent, span: Span, request: Request, type: string): void {
  const { body } = request;
  const describe = (data: unknown): void => {
    guarded(agent, "a model's call", () => {
      if ((typeof data === "string" || data instanceof Uint8Array) && span.attributes["gen_ai.request.model"] === undefined)
        chunk("models").describeModel(span, type, Buffer.from(data as string));
    });
  };
  describe(body);
  const pieces = body as (AsyncIterable<unknown> & { pipe?: unknown }) | null | undefined;
  if (typeof pieces !== "object" || pieces === null || pieces.pipe !== undefined || pieces[Symbol.asyncIterator] === undefined) return;
  request.body = (async function* () {
    for await (const piece of pieces) {
      describe(piece);
      yield piece;
    }
  })();
}

function readAnswer(agent: Agent, span: Span, request: Request, headers: Buffer[]): void {
  const at = headers.findIndex((name, index) => index % 2 === 0 && String(name).toLowerCase() === "content-encoding");
  const answer = new (chunk("models").ModelAnswer)(span, at < 0 ? "" : String(headers[at + 1]));
  answers.set(request, answer);
  for (const name of ["onData", "onResponseData"] as const) {
    const piece = request[name];
    if (piece === undefined) continue;
    request[name] = function (data) {
      guarded(agent, "a model's answer", () => answer.feed(data));
      return piece.call(this, data);
    };
  }
}

function begin(agent: Agent, request: Request): void {
  const { recorder } = agent;
  const current = recorder.current();
  if (current === undefined) return;
  const headers = headersOf(request);
  if (recorder.isNamed(headers.get("x-amzn-trace-id"))) return;
  const get = (name: string): string => headers.get(name) ?? "";
  const signed = isSigned(get("authorization"));
  const inner = isLibrarysCall(current);
  if (!inner && recorder.xraySdk?.records(get("x-amzn-trace-id")) === true) return;
  const url = new URL(request.path, request.origin);
  const port = Number(url.port) || defaultPort(url.protocol);
  if (!inner && isOwnServer(undefined, url.hostname, port, request.upgrade)) return;
  const theirs = inner ? undefined : recorder.foreign?.callOf(get("traceparent"), current);
  const span = inner ? current : (theirs ?? recorder.call(request.method));
  if (span === undefined) return;
  if (!inner && theirs === undefined) {
    const { attributes } = span;
    attributes["http.request.method"] = request.method;
    attributes["server.address"] = url.hostname;
    attributes["server.port"] = port;
    attributes["url.full"] = url.href;
    attributes["user_agent.original"] = headers.get("user-agent");
    if (signed) {
      describeAwsRequest(span, request.method, request.path, get);
      const { body } = request;
      if ((typeof body === "string" || body instanceof Uint8Array) && wantsBody(span))
        describeAwsBody(span, get("content-type"), Buffer.from(body as string));
    }
    if (asksModel(span, signed, request.method, request.path, get)) {
      asking.add(request);
      if (!signed) readModel(agent, span, request, get("content-type"));
    }
  }
  if (recorder.mayTell(url.hostname, port) && !isSignedAnyhow(request.path, get)) {
    for (const [name, value] of recorder.headers(span)) if (!headers.has(name.toLowerCase())) request.addHeader(name, value);
  }
  if (inner || theirs !== undefined) return;
  calls.set(request, span);
  follow(agent, request, span);
  recorder.announce(span);
}

function headersOf(request: Request): Map<string, string> {
  const found = new Map<string, string>();
  const { headers } = request;
  if (typeof headers === "string") {
    for (const line of headers.split("\r\n")) {
      const colon = line.indexOf(":");
      if (colon > 0) found.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
    }
  } else if (Array.isArray(headers)) {
    for (let index = 0; index + 1 < headers.length; index += 2)
      found.set(String(headers[index]).toLowerCase(), String(headers[index + 1]));
  }
  return found;
}

function answered(span: Span, response: { statusCode: number; headers: Buffer[] }): void {
  span.attributes["http.response.status_code"] = response.statusCode;
  if (span.attributes["rpc.system"] !== undefined) {
    const headers: Record<string, string> = {};
    for (let index = 0; index + 1 < response.headers.length; index += 2)
      headers[String(response.headers[index]).toLowerCase()] = String(response.headers[index + 1]);
    describeAwsResponse(span, headers);
  }
  if (response.statusCode >= 400) {
    span.status = Status.Error;
    span.attributes["error.type"] ??= String(response.statusCode);
  }
}
