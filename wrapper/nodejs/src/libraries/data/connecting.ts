/**
 * Waits for a connection, as calls of their own: for a new one, or for one of a pool in which all are taken. A server that cannot be reached
 * is what functions in a VPC wait for until their time is up. Used by the patches of drivers, and by what reads sockets.
 */

import type { Agent } from "../../record/agent";
import type { Attributes } from "../../trace/span";
import { callSpan, type Prototype, text, unlessTheirs, wrap } from "../calls";

/** A connection's, as drivers name them. */
type Config = object;
/** The system, and where it is; none where nobody has to wait. */
type Where = (self: object, given: unknown[]) => [system: string, config: Config] | undefined;

/** Where a database is, and which of its server's it is. */
export function whereOf(system: string, config: Config): Attributes {
  const { host, port, socketPath, database, user } = config as Record<string, unknown>;
  return {
    "db.system.name": system,
    "db.namespace": text(database),
    "db.user": text(user),
    "server.address": text(host) ?? text(socketPath),
    "server.port": port === undefined ? undefined : Number(port),
  };
}

/** No operation of the database's, which does not know of it. */
export function waitFor(what: "connect" | "acquire", system: string, config: Config): [string, Attributes] {
  const attributes = whereOf(system, config);
  return [[what, attributes["db.namespace"]].filter(Boolean).join(" "), attributes];
}

/** The method waits for a new connection. */
export const connects = (agent: Agent, library: string, prototype: Prototype, method: string, where: Where): void =>
  waits(agent, "connect", library, prototype, method, where);

/** The method waits for a connection that somebody else has. */
export const acquires = (agent: Agent, library: string, prototype: Prototype, method: string, where: Where): void =>
  waits(agent, "acquire", library, prototype, method, where);

function waits(agent: Agent, what: "connect" | "acquire", library: string, prototype: Prototype, method: string, where: Where): void {
  const begin = unlessTheirs(agent, library, method, (self, given) => {
    const found = agent.root && where(self, given);
    return found && callSpan(agent, ...waitFor(what, ...found));
  });
  // The function's listeners are told of the connection before it is over, and ask for something of their own.
  wrap(agent, prototype, method, begin, { isCurrent: false });
}

/** Whether MongoDB's driver knows what one of its servers is. */
export function hasServer(servers: Map<string, { type: string }>): boolean {
  return [...servers.values()].some(({ type }) => type !== "Unknown");
}
