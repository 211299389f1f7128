/**
 * hapi, hono and tRPC: the route on the invocation's own span, and a span for the route where the framework has one place through which
 * every request goes. Called with what their files export, CommonJS or ES modules.
 */

import { type Agent, guarded } from "../../record/agent";
import { endInner, type Method, type Prototype, runInner } from "../calls";
import { noteRoute, observed, type Response, routeSpan, whenAnswered } from "./express_fastify_koa";

interface HapiRequest {
  raw: { res: Response };
  route: { path?: unknown; method?: unknown };
}

/** `@hapi/hapi/lib/handler.js`. */
export function patchHapi(agent: Agent, exports: unknown): void {
  const handlers = exports as Prototype;
  const { execute } = handlers;
  if (execute === undefined) return;
  handlers.execute = function (...given) {
    const span = guarded(agent, "a route", () => {
      const { route } = given[0] as HapiRequest;
      // Of what no route takes.
      if (typeof route.path !== "string" || route.method === "_special") return undefined;
      noteRoute(agent, route.path);
      return routeSpan(agent, `route - ${route.path}`, { "http.route": route.path, "hapi.type": "router" });
    });
    if (span === undefined) return execute.apply(this, given);
    const end = (): void => endInner(agent, span);
    guarded(agent, "a route", () => whenAnswered((given[0] as HapiRequest).raw.res, end));
    return observed(agent, span, () => execute.apply(this, given));
  };
}

/** What a router of hono finds: handlers, each with the route that it belongs to. */
type Found = [[handler: [unknown, { path?: unknown; method?: unknown }], ...rest: unknown[]][], ...rest: unknown[]];

/** `hono/dist/cjs/router/NAME/router.js`. */
export function patchHono(agent: Agent, exports: unknown): void {
  for (const made of Object.values(exports as Record<string, unknown>)) {
    const { prototype } = (made ?? {}) as { prototype?: Prototype };
    const match = prototype?.match;
    if (prototype === undefined || match === undefined) continue;
    prototype.match = function (...given) {
      const own = Object.hasOwn(this, "match");
      const found = match.apply(this, given);
      guarded(agent, "a route", () => noteHono(agent, found));
      // With its first match, a router may put another's in its own place.
      const router = this as { match: Method };
      if (!own && Object.hasOwn(router, "match")) {
        const next = router.match;
        router.match = function (...later) {
          const answer = next.apply(this, later);
          guarded(agent, "a route", () => noteHono(agent, answer));
          return answer;
        };
      }
      return found;
    };
  }
}

function noteHono(agent: Agent, found: unknown): void {
  if (agent.root === undefined) return;
  const routes = (found as Found)[0].map(([[, route]]) => route);
  // Middleware is for all methods, and in front of the route.
  const route = routes.filter(({ method }) => method !== "ALL").pop();
  if (typeof route?.path === "string") noteRoute(agent, route.path);
}

interface TrpcOptions {
  router?: { _def?: { procedures?: object } };
  onError?: (told: { error?: { cause?: unknown; code?: unknown } }) => unknown;
}

/** `@trpc/server/dist/adapters/aws-lambda/index.cjs` of version 11, `index.js` of version 10. */
export function patchTrpc(agent: Agent, exports: unknown): void {
  const adapter = exports as Prototype;
  for (const name of ["awsLambdaRequestHandler", "awsLambdaStreamingRequestHandler"]) {
    const make = adapter[name];
    if (make === undefined) continue;
    adapter[name] = function (...options) {
      const [{ router, onError }] = options as [TrpcOptions];
      let failure: unknown;
      // It answers for what a procedure throws, and tells of it here.
      const told: TrpcOptions["onError"] = (it) => {
        if (it.error?.code === "INTERNAL_SERVER_ERROR") failure ??= it.error.cause ?? it.error;
        return onError?.(it);
      };
      const handler = make.call(this, { ...(options[0] as object), onError: told }, ...options.slice(1)) as Method;
      return Object.defineProperty(
        function (this: object, ...given: unknown[]): unknown {
          failure = undefined;
          const span = guarded(agent, "a route", () => {
            const event = given[0] as { rawPath?: unknown; path?: unknown };
            const path = procedurePath(String(event.rawPath ?? event.path ?? ""), router?._def?.procedures ?? {});
            if (path === undefined) return undefined;
            noteRoute(agent, path);
            return routeSpan(agent, `procedure - ${path.slice(path.lastIndexOf("/") + 1)}`, { "http.route": path });
          });
          if (span === undefined) return handler.apply(this, given);
          return runInner(agent, span, () => handler.apply(this, given), () => failure);
        },
        "length",
        { value: handler.length },
      );
    };
  }
}

/** The path, if all that it names is known: whatever a caller makes up is no route. */
function procedurePath(path: string, procedures: object): string | undefined {
  const names = decodeURIComponent(path.slice(path.lastIndexOf("/") + 1)).split(",");
  return names.every((name) => Object.hasOwn(procedures, name)) ? path : undefined;
}
