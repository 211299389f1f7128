/**
 * gRPC: @grpc/grpc-js by its clients' calls, and what any other client says of its calls in HTTP/2. Called with what the clients' files
 * export, and by http2.ts.
 */

import { type Agent, guarded } from "../../record/agent";
import type { Attributes, Span } from "../../trace/span";
import type { Method, Prototype } from "../calls";

/** How a call ended, by its code. */
const CODES = [
  "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
  "UNAUTHENTICATED",
];
const CANCELLED = 1;

/** `/package.Service/Method`. */
export function describe(path: string): [name: string, Attributes] {
  const [, service, method] = /^\/?([^/]*)\/(.*)$/.exec(path) ?? [];
  return [path.replace(/^\//, ""), { "rpc.system": "grpc", "rpc.service": service || undefined, "rpc.method": method || undefined }];
}

export function finish(agent: Agent, span: Span, code: number, details: unknown): void {
  if (span.endUs !== 0) return;
  span.attributes["rpc.grpc.status_code"] = code;
  // What the function has broken off has not failed.
  const isFailed = code !== 0 && code !== CANCELLED;
  agent.recorder.finish(span, isFailed ? { name: CODES[code] ?? String(code), message: String(details ?? "") } : undefined);
}

/** Says what is asked of the server with each call. */
interface Metadata {
  clone: () => Metadata;
  get: (key: string) => unknown[];
  set: (key: string, value: string) => void;
}

let metadataClass: (new () => Metadata) | undefined;

export function patchMetadata(_agent: Agent, exports: unknown): void {
  ({ Metadata: metadataClass } = exports as { Metadata: new () => Metadata });
}

/** Method -> where its metadata stands, if there is any. */
const METHODS = { makeUnaryRequest: 4, makeServerStreamRequest: 4, makeClientStreamRequest: 3, makeBidiStreamRequest: 3 };

let isPatched = false;

/** Whether the requests of this client are known by its calls. */
export const isKnown = (userAgent: string): boolean => isPatched && userAgent.includes("grpc-node-js/");

export function patchClient(agent: Agent, exports: unknown): void {
  isPatched = true;
  const { prototype } = (exports as { Client: { prototype: Prototype } }).Client;
  for (const [name, position] of Object.entries(METHODS)) {
    const original = prototype[name];
    if (original === undefined) continue;
    prototype[name] = function (...given) {
      const span = guarded(agent, "a gRPC call", () => begin(agent, this, given, position));
      if (span === undefined) return original.apply(this, given);
      let call: unknown;
      try {
        call = original.apply(this, given);
      } catch (error) {
        guarded(agent, "a gRPC call", () => agent.recorder.finish(span, error));
        throw error;
      }
      guarded(agent, "a gRPC call", () => follow(agent, span, call as { emit: Method }));
      return call;
    };
  }
}

function begin(agent: Agent, client: object, given: unknown[], position: number): Span | undefined {
  const { recorder } = agent;
  if (recorder.instruments("grpc")) return undefined;
  const [name, attributes] = describe(String(given[0]));
  const span = recorder.call(name);
  if (span === undefined) return undefined;
  const target = (client as { getChannel?: () => { getTarget?: () => string } }).getChannel?.().getTarget?.() ?? "";
  const { host, port } = addressOf(target);
  span.attributes = { ...attributes, "server.address": host, "server.port": port };
  if (recorder.mayTell(host, port ?? 443)) addHeaders(agent, span, given, position);
  const last = given.length - 1;
  // The channel calls back in the context of whoever has opened its connection.
  if (typeof given[last] === "function") given[last] = recorder.bind(given[last] as () => unknown);
  recorder.announce(span);
  return span;
}

/** Of `dns:host:port`, `ipv4:host:port`, `unix:/path` and `dns://authority/host:port`. */
function addressOf(target: string): { host: string; port: number | undefined } {
  const [, rest = target] = /^(?:dns|ipv4|ipv6|unix):(?:\/\/[^/]*\/)?(.*)$/.exec(target) ?? [];
  const [, bracketed, plain, port] = /^(?:\[(.*)\]|([^:]*)):(\d+)$/.exec(rest) ?? [];
  return { host: bracketed ?? plain ?? rest, port: port === undefined ? undefined : Number(port) };
}

/** In a copy: a function may use its metadata for many calls. */
function addHeaders(agent: Agent, span: Span, given: unknown[], position: number): void {
  if (metadataClass === undefined) return;
  const isGiven = given[position] instanceof metadataClass;
  const metadata = isGiven ? (given[position] as Metadata).clone() : new metadataClass();
  for (const [name, value] of agent.recorder.headers(span)) if (metadata.get(name).length === 0) metadata.set(name, value);
  given.splice(position, isGiven ? 1 : 0, metadata);
}

function follow(agent: Agent, span: Span, call: { emit: Method }): void {
  const emit = agent.recorder.bind(call.emit as (this: unknown, ...given: never[]) => unknown) as Method;
  call.emit = function (...given) {
    if (given[0] === "status") {
      const { code, details } = given[1] as { code?: unknown; details?: unknown };
      guarded(agent, "a gRPC call", () => finish(agent, span, Number(code), details));
    }
    return emit.apply(this, given);
  };
}
