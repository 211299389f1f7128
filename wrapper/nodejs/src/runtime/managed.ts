/**
 * Managed Instances: invocations run in worker threads of the runtime client, and several at once in each (L-8.26, L-8.27). Called at the
 * start, in place of what runs one invocation after the other.
 */

import async_hooks = require("node:async_hooks");
import net = require("node:net");
import worker_threads = require("node:worker_threads");
import { type Agent, guarded } from "../record/agent";
import { agentSocket } from "../record/settings";
import type { Wire } from "../record/wire";
import type { Span } from "../trace/span";
import type { Invocation } from "./invocation";

export { agentSocket };

/** In the environment that the main thread gives its workers: the process whose runtime client starts them. */
const MARK = "OTEL_XRAY_RUNTIME_PID";

/** Invocations at once whose frames would be said again on a new connection. */
const MAX_OPEN = 256;

/**
 * Whether this thread may run invocations. The workers that the runtime client starts from the main thread inherit the mark, and
 * take it away: workers and processes that the function itself starts do not have it, or have that of another process.
 */
export function mayInvoke(environ: NodeJS.ProcessEnv): boolean {
  const mark = environ[MARK];
  if (worker_threads.isMainThread && mark === undefined) {
    environ[MARK] = String(process.pid);
    return true;
  }
  delete environ[MARK];
  return !worker_threads.isMainThread && mark === String(process.pid);
}

/** What belongs to one invocation, by the name of the field that it is in where there is one invocation at a time. */
type Scope = Partial<
  Pick<Invocation, "requestId" | "trigger" | "failure" | "prelude"> & Pick<Agent, "root" | "header"> & Pick<Wire, "invocation">
>;

const scopes = new async_hooks.AsyncLocalStorage<Scope>();

/** What a span was begun in: it may end in the context of whoever opened the connection that is used again. */
const begun = new WeakMap<Span, Scope>();

/** Running, oldest first. */
const open = new Set<Scope>();

/** Makes fields out of the current invocation's. */
function separate<T extends object, N extends keyof T & keyof Scope>(owner: T, names: N[]): void {
  for (const name of names) {
    const otherwise = owner[name];
    Object.defineProperty(owner, name, {
      get: () => scopes.getStore()?.[name] ?? otherwise,
      set: (value: Scope[N]) => {
        const scope = scopes.getStore();
        if (scope !== undefined) (scope as Record<string, unknown>)[name] = value;
      },
    });
  }
}

/** Gives each invocation a state of its own, which the context carries from the runtime client's question for it to its answer. */
export function share(agent: Agent, invocation: Invocation, environ: NodeJS.ProcessEnv): void {
  const { recorder } = agent;
  separate(agent, ["root", "header"]);
  separate(invocation, ["requestId", "trigger", "failure", "prelude"]);
  const { child } = recorder;
  recorder.child = (...of) => {
    const span = child.apply(recorder, of);
    const scope = scopes.getStore();
    if (span !== undefined && scope !== undefined) begun.set(span, scope);
    return span;
  };
  const { bind } = recorder;
  recorder.bind = <T extends (this: unknown, ...given: never[]) => unknown>(run: T): T => {
    const bound = bind.call(recorder, run) as (this: unknown, ...given: never[]) => unknown;
    const scope = scopes.getStore();
    if (scope === undefined) return bound as T;
    const scoped = function (this: unknown, ...given: never[]): unknown {
      return scopes.run(scope, () => bound.apply(this, given));
    };
    return scoped as T;
  };
  invocation.asks = () => {
    const scope: Scope = {};
    // Also for whoever waits for what the call returns: what runs the handler comes from there.
    scopes.enterWith(scope);
    return scope;
  };
  invocation.answers = (requestId) => {
    for (const scope of open) if (encodeURIComponent(scope.requestId ?? "") === requestId) return scope;
    return {};
  };
  inItsScope(invocation, ["begin", "end", "failing", "streaming", "settle"]);
  shareWire(agent.wire);
  connectByItself(agent.wire, agentSocket(environ));
  if (!worker_threads.isMainThread) takeWorker(agent);
}

/** Runs methods in the scope that is their first argument. */
function inItsScope(invocation: Invocation, names: ("begin" | "end" | "failing" | "streaming" | "settle")[]): void {
  for (const name of names) {
    const method = invocation[name] as (...of: unknown[]) => void;
    invocation[name] = (...of: unknown[]) => scopes.run(of[0] as Scope, () => method.apply(invocation, of));
  }
}

/** One connection tells of several invocations: of each again when it is a new one. */
function shareWire(wire: Wire): void {
  Object.defineProperty(wire, "invocation", {
    get: () => (open.size === 0 ? undefined : Buffer.concat([...open].map((scope) => scope.invocation as Uint8Array))),
    set: (frame: Uint8Array | undefined) => {
      const scope = scopes.getStore();
      if (scope === undefined) return;
      scope.invocation = frame;
      open.delete(scope);
      if (frame === undefined) return;
      const [oldest] = open;
      if (open.size >= MAX_OPEN && oldest !== undefined) open.delete(oldest);
      open.add(scope);
      said = scope;
    },
  });
  const { begin, start, end } = wire;
  wire.begin = (...of) => {
    const isRecorded = begin.apply(wire, of);
    // Else it would be said again.
    if (!isRecorded) wire.invocation = undefined;
    return isRecorded;
  };
  wire.start = (span) => {
    turn(wire, span);
    start.call(wire, span);
  };
  wire.end = (span, now) => {
    turn(wire, span);
    end.call(wire, span, now);
  };
}

/** Makes the wire connect where it is asked to: each thread has a connection of its own, so that frames never mix. */
function connectByItself(wire: Wire, name: string): void {
  let socket: net.Socket | undefined;
  wire.connect = () => {
    if (wire.fd >= 0) return true;
    // Connected when this returns, or refused: nothing is looked up, and nothing is waited for.
    socket = net.connect({ path: `\0${name}` });
    socket.on("error", () => undefined);
    // Nothing comes from there. Node.js would also close it at its end, and another file could have its number then.
    socket.pause();
    socket.unref();
    const { _handle: handle } = socket as unknown as { _handle?: { fd?: number } };
    wire.adopt(handle?.fd ?? -1);
    if (wire.fd < 0) socket.destroy();
    return wire.fd >= 0;
  };
  wire.close = () => {
    socket?.destroy();
  };
}

/** Opens a connection in the place of the one that the launcher had opened. */
export function reconnect(wire: Wire, environ: NodeJS.ProcessEnv): boolean {
  connectByItself(wire, agentSocket(environ));
  return wire.connect();
}

/** The invocation of the last invoke frame. */
let said: Scope | undefined;

/** Where several invocations of one trace run, the last invoke frame tells which of them what follows is of. */
function turn(wire: Wire, span: Span): void {
  const scope = begun.get(span) ?? scopes.getStore();
  if (scope?.invocation === undefined || !open.has(scope)) return;
  // While nothing is taken, the frame that was said may be lost.
  if (scope === said && !wire.isStalled) return;
  const traceId = scope.header?.traceId;
  for (const other of open) {
    if (other === scope || other.header?.traceId !== traceId) continue;
    wire.again(scope.invocation);
    said = scope;
    return;
  }
}

function takeWorker(agent: Agent): void {
  const { wire } = agent;
  wire.connect();
  process.once("exit", () => {
    guarded(agent, "the end of a worker", () => {
      wire.flush();
      // Its process lives on: without this, the end of file would be taken for a lost connection.
      if (open.size > 0 && wire.connect()) wire.introduce(wire.hello.replace(/"pid":\d+/, '"pid":0'));
      // Node.js closes it too, but not while the runtime client still asks for the next event.
      wire.disconnect();
      wire.connect = () => false;
    });
  });
}
