/**
 * express, fastify and koa: one span for the route that handles a request, and the route on the invocation's own span. What a framework
 * catches and answers with an error page is on the route's span. Called with what their files export.
 */

import { type Agent, guarded } from "../../record/agent";
import { leave } from "../../record/errors";
import { type Attributes, Kind, type Span } from "../../trace/span";
import { endInner, type Method, type Prototype } from "../calls";

export interface Response {
  once: (event: string, listener: () => void) => unknown;
}

/** A span for the route; none outside of an invocation. */
export function routeSpan(agent: Agent, name: string, attributes: Attributes): Span | undefined {
  return guarded(agent, "a route", () => {
    const span = agent.recorder.child(name, Kind.Internal);
    if (span !== undefined) span.attributes = attributes;
    return span;
  });
}

/** Tells the invocation's span, unless its trigger already knows a route that is more than "everything". */
export function noteRoute(agent: Agent, route: string): void {
  const attributes = agent.root?.attributes;
  if (attributes?.["http.request.method"] === undefined) return;
  const known = attributes["http.route"];
  if (known === undefined || String(known).endsWith("+}")) attributes["http.route"] = route;
}

/** The response is over with the first of these, also that of an adapter which is not connected to anything. */
export function whenAnswered(response: Response, run: () => void): void {
  response.once("finish", run);
  response.once("close", run);
}

interface ExpressRequest {
  baseUrl?: string;
}

/** What was mounted with parameters: the path that a request has there -> the pattern. */
const mounts = new WeakMap<object, Map<string, string>>();

function patternOf(path: unknown): string {
  if (Array.isArray(path)) return path.map(patternOf).join(",");
  return typeof path === "string" ? path : String(path);
}

function mountPattern(request: ExpressRequest): string {
  const base = request.baseUrl ?? "";
  return mounts.get(request)?.get(base) ?? base;
}

/** `express/lib/router/route.js` of version 4, `router/lib/route.js` of version 5. */
export function patchExpressRoute(agent: Agent, exports: unknown): void {
  const { prototype } = exports as { prototype: Prototype };
  const original = prototype.dispatch;
  if (original === undefined) return;
  const { recorder } = agent;
  prototype.dispatch = function (...given) {
    const [request, response, done] = given as [ExpressRequest, Response, Method];
    const outer = recorder.held();
    const span = guarded(agent, "a route", () => {
      const route = (mountPattern(request) + patternOf((this as { path?: unknown }).path)).replace(/(.)\/$/, "$1");
      noteRoute(agent, route);
      const attributes = { "http.route": route, "express.name": route, "express.type": "request_handler" };
      return routeSpan(agent, `request handler - ${route}`, attributes);
    });
    if (span === undefined) return original.apply(this, given);
    whenAnswered(response, () => endInner(agent, span));
    given[2] = function (this: unknown, ...passed: unknown[]): unknown {
      const [error] = passed;
      leave(error);
      endInner(agent, span, error === "route" || error === "router" ? undefined : error);
      return recorder.run(outer, () => done.apply(this as object, passed));
    };
    return recorder.run(span, () => original.apply(this, given));
  };
}

/** One parameter for each part of the path, so that the pattern has as many parts as what it matches. */
const PLAIN_PATTERN = /^\/?(?:[\w.~-]+|:\w+)(?:\/(?:[\w.~-]+|:\w+))*\/?$/;

/** `express/lib/router/index.js` of version 4, `router/index.js` of version 5: remembers the patterns of what is mounted. */
export function patchExpressRouter(agent: Agent, exports: unknown): void {
  const made = exports as Prototype & { prototype?: Prototype };
  const router = made.prototype?.use === undefined ? made : made.prototype;
  const original = router.use;
  if (original === undefined) return;
  router.use = function (...given) {
    const { stack = [] } = this as { stack?: { handle: Method }[] };
    const before = stack.length;
    const result = original.apply(this, given);
    const [pattern] = given;
    if (typeof pattern === "string" && pattern.includes(":") && PLAIN_PATTERN.test(pattern))
      guarded(agent, "a route", () => stack.slice(before).forEach((layer) => notePattern(layer, pattern)));
    return result;
  };
}

function notePattern(layer: { handle: Method }, pattern: string): void {
  const { handle } = layer;
  // One for errors is known by its four parameters, and routers are looked into by others.
  if (handle.length > 3) return;
  const parts = pattern.replace(/^\/|\/$/g, "").split("/");
  layer.handle = new Proxy(handle, {
    apply: (target, self: object, given: unknown[]) => {
      const request = given[0] as ExpressRequest;
      const actual = (request.baseUrl ?? "").split("/");
      const outer = actual.slice(0, actual.length - parts.length).join("/");
      const known = mounts.get(request) ?? new Map<string, string>();
      known.set(request.baseUrl ?? "", `${known.get(outer) ?? outer}/${parts.join("/")}`);
      mounts.set(request, known);
      return target.apply(self, given);
    },
  });
}

interface FastifyRequest {
  routeOptions?: { url?: unknown };
  routerPath?: unknown;
}

interface FastifyReply {
  raw: Response;
  send: (payload: unknown) => unknown;
}

/** `fastify/lib/context.js`: what a route's handler becomes part of. */
export function patchFastify(agent: Agent, exports: unknown): void {
  const { prototype } = exports as { prototype: object };
  Object.defineProperty(prototype, "handler", {
    configurable: true,
    set(this: object, handler: Method) {
      const value = typeof handler === "function" ? fastifyHandler(agent, handler) : handler;
      Object.defineProperty(this, "handler", { configurable: true, enumerable: true, writable: true, value });
    },
  });
}

function fastifyHandler(agent: Agent, handler: Method): Method {
  const callback = handler.name.replace(/^(?:bound )+/, "");
  return function (...given) {
    const [request, reply] = given as [FastifyRequest, FastifyReply];
    const span = guarded(agent, "a route", () => {
      const route = request.routeOptions?.url ?? request.routerPath;
      if (typeof route !== "string") return undefined;
      noteRoute(agent, route);
      return routeSpan(agent, `handler - ${callback || route}`, {
        "http.route": route,
        "fastify.type": "request-handler",
        "hook.callback.name": callback || "anonymous",
      });
    });
    if (span === undefined) return handler.apply(this, given);
    whenAnswered(reply.raw, () => endInner(agent, span));
    return observed(agent, span, () => handler.apply(this, given));
  };
}

/** Runs it below the span, which carries the error that it fails with and ends with the response. */
export function observed(agent: Agent, span: Span, run: () => unknown): unknown {
  try {
    const result = agent.recorder.run(span, run);
    // The framework handles its failure; this one only looks.
    if (result instanceof Promise) result.then(undefined, (error: unknown) => failed(agent, span, error));
    return result;
  } catch (error) {
    failed(agent, span, error);
    throw error;
  }
}

function failed(agent: Agent, span: Span, error: unknown): void {
  leave(error);
  endInner(agent, span, error);
}

interface KoaContext {
  res: Response;
  _matchedRoute?: unknown;
  _matchedRouteName?: unknown;
}

/** `koa/lib/application.js`: the request as a whole, since only its end tells which route it took. */
export function patchKoa(agent: Agent, exports: unknown): void {
  const { prototype } = exports as { prototype: Prototype };
  const original = prototype.handleRequest;
  if (original === undefined) return;
  prototype.handleRequest = function (...given) {
    const [context, middleware] = given as [KoaContext, Method];
    const span = routeSpan(agent, "middleware - koa", { "koa.name": "koa", "koa.type": "middleware" });
    if (span === undefined) return original.apply(this, given);
    const end = (error?: unknown): void => {
      guarded(agent, "a route", () => nameKoaRoute(agent, span, context));
      endInner(agent, span, error);
    };
    whenAnswered(context.res, end);
    given[1] = function (this: object, ...passed: unknown[]): unknown {
      const answer = middleware.apply(this, passed) as Promise<unknown>;
      return answer.then(undefined, (error: unknown) => {
        leave(error);
        end(error);
        throw error;
      });
    };
    return agent.recorder.run(span, () => original.apply(this, given));
  };
}

function nameKoaRoute(agent: Agent, span: Span, context: KoaContext): void {
  if (span.endUs !== 0 || context._matchedRoute === undefined || context._matchedRoute === null) return;
  const route = String(context._matchedRoute);
  noteRoute(agent, route);
  span.name = typeof context._matchedRouteName === "string" ? context._matchedRouteName : `router - ${route}`;
  Object.assign(span.attributes, { "http.route": route, "koa.name": route, "koa.type": "router" });
}
