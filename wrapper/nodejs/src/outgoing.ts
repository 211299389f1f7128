/** Where HTTP calls of the function are noticed. What they say is read by chunks that the first call loads. */

import type { ClientRequest } from "node:http";
import { type Agent, guarded } from "./agent";
import { listen } from "./channels";
import { chunk } from "./chunks";
import type { Invocation } from "./invocation";

type StoreHeader = (this: ClientRequest, firstLine: string, headers: unknown) => unknown;

const RUNTIME_API = "/2018-06-01/runtime/";

/**
 * Sees every `http` and `https` request where its header block is made: the one place that all of Node.js 18 to 24 share,
 * after the function has said everything about the request and before anything of it is sent.
 */
export function watchHttp(agent: Agent, invocation: Invocation, found: () => void): void {
  const { ClientRequest: request } = require("node:http") as typeof import("node:http");
  const prototype = request.prototype as unknown as { _storeHeader: StoreHeader };
  const original = prototype._storeHeader;
  prototype._storeHeader = function (firstLine, headers) {
    let sent = headers;
    guarded(agent, "an HTTP call", () => {
      if (this.path.startsWith(RUNTIME_API) && this.getHeader("host") === agent.runtimeApi) {
        found();
        chunk("runtime_http").watch(agent, invocation, this);
      } else if (agent.recorder.root !== undefined && !agent.disabled("http") && !agent.recorder.isNamed(this.getHeader("x-amzn-trace-id"))) {
        sent = chunk("http").begin(agent, this, headers);
      }
    });
    return original.call(this, firstLine, sent);
  };
}

/** Tracing channel -> the library that tells of its calls there. */
const TRACED = {
  "mysql2:query": "mysql2",
  "mysql2:execute": "mysql2",
  "ioredis:command": "ioredis",
  "node-redis:command": "redis",
  "node-redis:batch": "redis",
} as const;

/** Sees the calls of libraries that tell of them, also of those that are bundled into the function. */
export function watchTraced(agent: Agent): void {
  for (const name in TRACED) {
    const library = TRACED[name as keyof typeof TRACED];
    if (agent.disabled(library)) continue;
    listen(`tracing:${name}:start`, [`tracing:${name}:end`, `tracing:${name}:asyncEnd`], (event, message) => {
      if (event === "start" && agent.recorder.root === undefined) return;
      guarded(agent, "a database call", () => chunk("databases").onTraced(agent, library, event, message as object));
    });
  }
}

/** Sees every request of `fetch` and of undici, also of one that is bundled into the function. */
export function watchUndici(agent: Agent): void {
  if (agent.disabled("undici")) return;
  listen("undici:request:create", ["undici:request:headers", "undici:request:trailers", "undici:request:error"], (event, message) => {
    if (event === "create" && (agent.recorder.root === undefined || isRuntimes(agent, message as Created))) return;
    guarded(agent, "an HTTP call", () => chunk("undici").on(event as "create" | "headers" | "trailers" | "error", agent, message));
  });
}

interface Created {
  request: { origin?: unknown; path: string };
}

/** A runtime client that answers by `fetch` or undici. */
function isRuntimes(agent: Agent, { request }: Created): boolean {
  return request.path.startsWith(RUNTIME_API) && String(request.origin) === `http://${agent.runtimeApi}`;
}
