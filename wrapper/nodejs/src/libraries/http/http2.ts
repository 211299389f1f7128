/** Calls through `node:http2`: one for each stream that a client opens. Called when the first session is opened. */

import { type Agent, guarded } from "../../record/agent";
import { chunk } from "../../record/chunk";
import { isLibrarysCall, type Span, Status } from "../../trace/span";
import { X_RAY } from "../../trace/trace_header";
import { covers, defaultPort, describeAwsRequest, describeAwsResponse, isSigned, isSignedAnyhow } from "../aws/request";
import type { Body } from "./answers";
import { asksModel, readAnswer } from "./model_requests";

type Headers = Record<string, unknown> | unknown[] | null | undefined;

interface Session {
  request: (this: Session, headers?: Headers, ...rest: unknown[]) => Stream;
  readonly encrypted?: boolean;
}

interface Stream extends Body {
  emit: (event: string, ...told: unknown[]) => boolean;
  close: (code?: number, ...rest: unknown[]) => unknown;
  destroy: (error?: unknown, ...rest: unknown[]) => unknown;
  readonly closed: boolean;
  readonly rstCode: number;
  readonly session?: { readonly socket: { readonly destroyed: boolean } };
}

/** How streams are closed when all is well, and when nobody wants the rest. */
const NO_ERROR = 0;
const CANCEL = 8;

/** The class of sessions is not exported: one that leads nowhere shows it. */
export function patch(agent: Agent): void {
  const { connect } = require("node:http2") as typeof import("node:http2");
  const { Duplex: duplex } = require("node:stream") as typeof import("node:stream");
  const nowhere = new duplex({ read: () => undefined, write: (_data, _encoding, done) => done() });
  const session = connect("http://localhost", { createConnection: () => nowhere });
  session.on("error", () => undefined).destroy();
  const prototype = Object.getPrototypeOf(session) as Session;
  const { request } = prototype;
  prototype.request = function (headers, ...rest) {
    const [span, sent] = guarded(agent, "an HTTP/2 call", () => begin(agent, this, headers)) ?? [undefined, headers];
    if (span === undefined) return request.call(this, sent, ...rest);
    let stream: Stream;
    try {
      stream = request.call(this, sent, ...rest);
    } catch (error) {
      guarded(agent, "an HTTP/2 call", () => agent.recorder.finish(span, error));
      throw error;
    }
    guarded(agent, "an HTTP/2 call", () => follow(agent, span, stream));
    return stream;
  };
}

/** Calls of models. */
const asking = new WeakSet<Span>();

/** The call, if it is one, and the headers to send. */
function begin(agent: Agent, session: Session, headers: Headers): [Span | undefined, Headers] {
  const { recorder } = agent;
  const current = recorder.current();
  const get = (name: string): string => String((Array.isArray(headers) ? listed(headers, name) : inAnyCase(headers, name)) ?? "");
  if (current === undefined || recorder.isNamed(get("x-amzn-trace-id")) || isUndicis(session)) return [undefined, headers];
  const isGrpc = get("content-type").startsWith("application/grpc");
  if (isGrpc && chunk("grpc").isKnown(get("user-agent"))) return [undefined, headers];
  const { host, port, scheme } = placeOf(session, get);
  if (isLibrarysCall(current)) return [undefined, withTrace(agent, current, headers, get, host, port)];
  const path = get(":path") || "/";
  const method = get(":method") || "GET";
  const span = recorder.call(method);
  if (span === undefined) return [undefined, headers];
  if (isGrpc) {
    const [name, attributes] = chunk("grpc").describe(path);
    span.name = name;
    span.attributes = attributes;
  } else {
    span.attributes = { "http.request.method": method, "url.full": `${scheme}://${port === defaultPort(scheme) ? host : `${host}:${port}`}${path}` };
  }
  Object.assign(span.attributes, { "server.address": host, "server.port": port, "network.protocol.version": "2" });
  const signed = isSigned(get("authorization"));
  if (signed) describeAwsRequest(span, method, path, get);
  if (!isGrpc && asksModel(span, signed, method, path, get)) asking.add(span);
  const sent = guarded(agent, "a trace header", () => withTrace(agent, span, headers, get, host, port)) ?? headers;
  recorder.announce(span);
  return [span, sent];
}

/** Node.js writes names in lower case, whatever the caller does. */
function inAnyCase(headers: Headers, name: string): unknown {
  const object = (headers ?? {}) as Record<string, unknown>;
  return object[name] ?? object[Object.keys(object).find((key) => key.toLowerCase() === name) ?? name];
}

function listed(headers: unknown[], name: string): unknown {
  const index = headers.findIndex((value, position) => position % 2 === 0 && String(value).toLowerCase() === name);
  return index < 0 ? undefined : headers[index + 1];
}

/** One of its own by that name. */
function own(session: object, name: string): unknown {
  const symbol = Object.getOwnPropertySymbols(session).find(({ description }) => description === name);
  return symbol && (session as Record<symbol, unknown>)[symbol];
}

/** A session of `fetch` or undici, which tell of their calls. */
const isUndicis = (session: object): boolean => own(session, "open streams") !== undefined;

function placeOf(session: Session, get: (name: string) => string): { host: string; port: number; scheme: string } {
  const scheme = get(":scheme") || (session.encrypted === true ? "https" : "http");
  const authority = get(":authority") || get("host") || String(own(session, "authority") ?? "");
  const [, host = authority, port] = /^(.*?)(?::(\d+))?$/.exec(authority) ?? [];
  return { host, port: port === undefined ? defaultPort(scheme) : Number(port), scheme };
}

function withTrace(agent: Agent, span: Span, headers: Headers, get: (name: string) => string, host: string, port: number): Headers {
  const { recorder } = agent;
  if (!recorder.mayTell(host, port)) return headers;
  const isSigned = isSignedAnyhow(get(":path"), get);
  // Nothing is added to what is signed, but an AWS SDK's copy of Lambda's header, which no signature covers, is put right (A-20).
  const isOurs = (name: string): boolean =>
    isSigned
      ? name === X_RAY && !covers(get("authorization"), "x-amzn-trace-id") && recorder.isLambdas(get("x-amzn-trace-id"))
      : get(name.toLowerCase()) === "";
  const added = recorder.headers(span).flatMap(([name, value]) => (isOurs(name) ? [[name.toLowerCase(), value] as const] : []));
  if (added.length === 0) return headers;
  const names = new Set<string>(added.map(([name]) => name));
  if (!Array.isArray(headers)) {
    const others = { ...headers };
    for (const name of Object.keys(others)) if (names.has(name.toLowerCase())) delete others[name];
    return Object.assign(others, Object.fromEntries(added));
  }
  const kept = headers.filter((_, index) => !names.has(String(headers[index - (index % 2)]).toLowerCase()));
  return [...kept, ...added.flat()];
}

/** Watches what the stream tells its listeners; one of our own would change what happens. */
function follow(agent: Agent, span: Span, stream: Stream): void {
  const isGrpc = span.attributes["rpc.system"] === "grpc";
  const { emit, close, destroy } = stream;
  let isAnswered = false;
  const end = (error?: unknown): void => {
    agent.recorder.finish(span, error);
  };
  const told = (event: string, value: unknown): void => {
    const headers = (value ?? {}) as Record<string, unknown>;
    if (event === "response") {
      isAnswered = true;
      if (!isGrpc) status(span, Number(headers[":status"] ?? 0));
      if (span.attributes["rpc.system"] === "aws-api") describeAwsResponse(span, headers as Record<string, string>);
      if (asking.has(span)) readAnswer(agent, span, stream, headers["content-encoding"]);
      chunk("answers").watchBody(agent, span, () => stream);
    }
    if (isGrpc && (event === "response" || event === "trailers") && headers["grpc-status"] !== undefined)
      chunk("grpc").finish(agent, span, Number(headers["grpc-status"]), headers["grpc-message"]);
    else if (event === "error") end(value);
    // The status of gRPC comes behind the end. A connection that has gone ends what had begun like a server that has said all.
    else if (event === "close" || (event === "end" && !isGrpc))
      end(isAnswered && stream.rstCode === NO_ERROR ? undefined : new Error("The response was cut off"));
  };
  stream.emit = function (event, ...values) {
    guarded(agent, "an HTTP/2 call", () => told(event, values[0]));
    return emit.call(this, event, ...values);
  };
  // Whoever closes it on purpose says so here. Node.js does too, where the connection has gone.
  const isOnPurpose = (): boolean => !stream.closed && stream.session?.socket.destroyed === false;
  stream.close = function (code = NO_ERROR, ...rest) {
    guarded(agent, "an HTTP/2 call", () => (code === NO_ERROR || code === CANCEL) && isOnPurpose() && end());
    return close.call(this, code, ...rest);
  };
  stream.destroy = function (error, ...rest) {
    guarded(agent, "an HTTP/2 call", () => ((error !== undefined && error !== null) || isOnPurpose()) && end(error));
    return destroy.call(this, error, ...rest);
  };
}

function status(span: Span, code: number): void {
  span.attributes["http.response.status_code"] = code;
  if (code >= 400) {
    span.status = Status.Error;
    span.attributes["error.type"] = String(code);
  }
}
