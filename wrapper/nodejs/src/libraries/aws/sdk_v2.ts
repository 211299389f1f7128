/**
 * The AWS SDK for JavaScript 2: one span for each request that is sent. Called with what `aws-sdk/lib/core.js` exports, when it has been
 * loaded.
 */

import { type Agent, guarded } from "../../record/agent";
import type { Span } from "../../trace/span";
import { describeCall, describeOutcome } from "./calls";
import { defaultPort } from "./request";

interface Response {
  requestId?: unknown;
  extendedRequestId?: unknown;
  httpResponse?: { statusCode?: unknown };
  retryCount?: number;
  error?: unknown;
}

interface Request {
  service: { api: { serviceId?: string; abbreviation?: string }; config: { region?: string } };
  operation: string;
  params: unknown;
  httpRequest: { headers: Record<string, string>; endpoint: { hostname: string; port?: number; protocol?: string } };
  on: (event: string, listener: (...told: unknown[]) => void, prepend?: boolean) => unknown;
}

type RunTo = (this: Request, state?: unknown, done?: unknown) => unknown;

const sent = new WeakSet<Request>();

export function patch(agent: Agent, exports: unknown): void {
  const { Request: request } = exports as { Request: { prototype: { runTo: RunTo } } };
  const original = request.prototype.runTo;
  request.prototype.runTo = function (state, done) {
    // With a state it stops there: a URL is signed, nothing is sent.
    const span = typeof state === "string" ? undefined : guarded(agent, "an AWS call", () => begin(agent, this));
    if (span === undefined) return original.call(this, state, done);
    return agent.recorder.run(span, () => original.call(this, state, done));
  };
}

function begin(agent: Agent, request: Request): Span | undefined {
  if (sent.has(request)) return undefined;
  const span = agent.recorder.call("");
  if (span === undefined) return undefined;
  sent.add(request);
  const { api, config } = request.service;
  const name = request.operation;
  describeCall(span, api.serviceId ?? api.abbreviation ?? "AWS", name.charAt(0).toUpperCase() + name.slice(1), request.params);
  span.attributes["cloud.region"] = config.region;
  // Of every attempt, in front of the signature and behind all that the function has set.
  request.on(
    "sign",
    () => {
      guarded(agent, "a trace header", () => {
        const { headers, endpoint } = request.httpRequest;
        agent.recorder.putHeader(span, headers, endpoint.hostname, endpoint.port ?? defaultPort(endpoint.protocol));
      });
    },
    true,
  );
  // First among the listeners: those of the function run when the span is over. An upload sends its parts before its own first
  // request is complete.
  for (const event of ["success", "error", "complete"]) request.on(event, (...told) => end(agent, span, event === "error" ? told[1] : told[0]), true);
  agent.recorder.announce(span);
  return span;
}

function end(agent: Agent, span: Span, response: unknown): void {
  if (span.endUs !== 0) return;
  guarded(agent, "an AWS call", () => {
    const { requestId, extendedRequestId, httpResponse, retryCount = 0, error } = response as Response;
    describeOutcome(span, { requestId, extendedRequestId, statusCode: httpResponse?.statusCode, attempts: retryCount + 1 }, error);
    agent.recorder.finish(span, error);
  });
}
