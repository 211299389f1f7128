/**
 * Connections that the function and its runtime client open. What they say is read by chunks that a first word loads. Called at every
 * start.
 */

import type { Socket } from "node:net";
import { type Agent, guarded } from "../record/agent";
import { chunk } from "../record/chunk";
import type { Invocation } from "../runtime/invocation";
import type { Options, Watched } from "../sockets/socket";

type Connect = (this: Watched, ...given: unknown[]) => unknown;

/**
 * Sees every connection before it is opened. One to the Runtime API belongs to a runtime client that asks for its events in
 * neither of the two usual ways, with fetch, undici or something of its own, unless a client has been found by then:
 * whoever finds one calls what this returns. Without an invocation nobody looks for clients.
 */
export function watchConnections(agent: Agent, invocation?: Invocation): () => void {
  const { Socket: socketClass } = require("node:net") as typeof import("node:net");
  const prototype = socketClass.prototype as unknown as { connect: Connect };
  const { connect } = prototype;
  let isFound = false;
  let isHttp2Found = agent.disabled("http");
  const foundHttp2 = (): void => {
    if (isHttp2Found) return;
    isHttp2Found = true;
    guarded(agent, "HTTP/2", () => chunk("http2").patch(agent));
  };
  prototype.connect = function (...given) {
    const options = optionsOf(given);
    const isClients = invocation !== undefined && !isFound && `${String(options.host)}:${String(options.port)}` === agent.runtimeApi;
    if (isClients) guarded(agent, "the runtime client", () => watchClient(agent, invocation, this as unknown as Socket, () => isFound));
    // Node.js puts its own `write` back while it connects.
    const result = connect.apply(this, given);
    if (!isClients && options._agentKey === undefined) guarded(agent, "a connection", () => watchFirst(agent, this, options, isHttp2Found ? undefined : foundHttp2));
    return result;
  };
  return () => {
    isFound = true;
  };
}

/** Of `connect(options)`, `connect(port, host)`, and what `net.connect` makes of them: a list of both. */
const optionsOf = (given: unknown[]): Options => {
  const first = Array.isArray(given[0]) ? (given[0] as unknown[])[0] : given[0];
  return typeof first === "object" && first !== null ? first : { host: given[1], port: first };
};

/** The methods that all of a socket's bytes go through, whatever it is written with and read by. */
type Wires = Record<"_write" | "_writev", (...args: unknown[]) => unknown>;

const watchClient = (agent: Agent, invocation: Invocation, socket: Socket, isFound: () => boolean): void => {
  const wires = socket as unknown as Wires;
  for (const name of ["_write", "_writev"] as const) {
    wires[name] = function (...args) {
      // The methods are the socket's class's own again.
      delete (wires as Partial<Wires>)._write;
      delete (wires as Partial<Wires>)._writev;
      if (!isFound()) guarded(agent, "the runtime client", () => chunk("runtime_socket").watch(agent, invocation, socket));
      return wires[name].apply(socket, args);
    };
  }
};

type On = (this: object, event: string, listener: { name?: string }) => unknown;

/**
 * Sees the first that a connection says. A word that can be no database's or broker's costs a look at its first letters. A session of
 * HTTP/2 says nothing here, but asks first of all to be told of errors.
 */
const watchFirst = (agent: Agent, socket: Watched, options: Options, foundHttp2?: () => void): void => {
  const { write } = socket;
  const own = socket as unknown as { on?: On };
  const { on } = own;
  const sinceUs = agent.now();
  const listens: On = function (event, listener, ...rest: unknown[]) {
    if (event === "error" && listener.name === "socketOnError") {
      delete own.on;
      foundHttp2?.();
    }
    return (on as On).apply(this, [event, listener, ...rest] as Parameters<On>);
  };
  if (foundHttp2 !== undefined && !Object.hasOwn(socket, "on")) own.on = listens;
  const first: Watched["write"] = function (...given) {
    if (socket.write === first) socket.write = write;
    if (own.on === listens) delete own.on;
    const [data] = given;
    if (typeof data === "string" ? /^(?:\*|AMQP)/.test(data) : data instanceof Uint8Array)
      guarded(agent, "a connection", () => chunk("sockets").open(agent, socket, options, given, sinceUs));
    return write.apply(this, given);
  };
  socket.write = first;
};
