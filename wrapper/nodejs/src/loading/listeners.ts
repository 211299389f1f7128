/**
 * Listens to the diagnostics channels of libraries, and hands on what they tell. Told by watch/channels.ts of each channel that is made.
 */

import { type Agent, guarded } from "../record/agent";
import { chunk } from "../record/chunk";
import { RUNTIME_API } from "../record/paths";

export interface Channel {
  subscribe: (listener: (message: unknown) => void) => void;
  unsubscribe: (listener: (message: unknown) => void) => boolean;
}

/** `event` is the last word of the channel's name. */
type Listener = (agent: Agent, event: string, message: unknown) => void;

interface Wanted {
  /** The name of the instrumentation. */
  library: string;
  /** Channels of what comes after the first event. */
  followed: string[];
  on: Listener;
}

/** The channels that a call begins on. */
const wanted = new Map<string, Wanted>([
  [
    "undici:request:create",
    {
      library: "undici",
      followed: ["undici:request:headers", "undici:request:trailers", "undici:request:error"],
      on: onUndici,
    },
  ],
  traced("mysql2:connect", "mysql2", true),
  traced("mysql2:query", "mysql2"),
  traced("mysql2:execute", "mysql2"),
  traced("ioredis:connect", "ioredis", true),
  traced("ioredis:command", "ioredis"),
  traced("node-redis:connect", "redis", true),
  traced("node-redis:command", "redis"),
  traced("node-redis:batch", "redis"),
]);

function traced(name: string, library: "mysql2" | "ioredis" | "redis", connects = false): [string, Wanted] {
  const on: Listener = (agent, event, message) => {
    if (event === "start" && agent.root === undefined) return;
    guarded(agent, "a database call", () => chunk("databases").onTraced(agent, library, event, message as object, connects));
  };
  return [`tracing:${name}:start`, { library, followed: [`tracing:${name}:end`, `tracing:${name}:asyncEnd`], on }];
}

interface Created {
  request: { origin?: unknown; path: string };
}

function onUndici(agent: Agent, event: string, message: unknown): void {
  if (event === "create" && (agent.root === undefined || isRuntimes(agent, message as Created))) return;
  guarded(agent, "an HTTP call", () => chunk("undici").on(event as "create" | "headers" | "trailers" | "error", agent, message));
}

/** A runtime client that answers by `fetch` or undici. */
function isRuntimes(agent: Agent, { request }: Created): boolean {
  return request.path.startsWith(RUNTIME_API) && String(request.origin) === `http://${agent.runtimeApi}`;
}

/** Held here, because on Node.js 18 a channel that nobody holds is forgotten with its listeners. */
const held: Channel[] = [];

type Channels = (name: string) => Channel;

/** Listens to the channel and, from its first event on, to those that follow it. */
function subscribe(agent: Agent, channels: Channels, name: string, { followed, on }: Omit<Wanted, "library">): void {
  const channel = channels(name);
  const isFirst = followed.length > 0;
  const listener = (message: unknown): void => {
    for (const later of followed.splice(0)) subscribe(agent, channels, later, { followed: [], on });
    on(agent, name.slice(name.lastIndexOf(":") + 1), message);
  };
  channel.subscribe(listener);
  if (isFirst) stayLast(channel, listener);
  held.push(channel);
}

/** Others who listen may record the call themselves, and say so in its headers: the last one sees it. */
function stayLast(channel: Channel, listener: (message: unknown) => void): void {
  const { subscribe: add } = channel;
  Object.defineProperty(channel, "subscribe", {
    configurable: true,
    writable: true,
    value: function (this: Channel, other: (message: unknown) => void) {
      add.call(this, other);
      this.unsubscribe(listener);
      add.call(this, listener);
    },
  });
}

/** A library has made the channel. */
export function made(agent: Agent, channels: Channels, name: string): void {
  const one = wanted.get(name);
  if (one === undefined) return;
  wanted.delete(name);
  if (!agent.disabled(one.library)) subscribe(agent, channels, name, one);
}

/** Libraries may have made any channel. */
export function madeBefore(agent: Agent, channels: Channels): void {
  for (const name of [...wanted.keys()]) made(agent, channels, name);
}
