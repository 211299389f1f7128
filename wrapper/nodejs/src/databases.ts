/** Database drivers: one span for each statement or command. */

import type { Agent } from "./agent";
import { callSpan, type Begin, type Method, type Prototype, text, wrap } from "./library_calls";
import type { Attributes, Span } from "./span";

/** The attributes of a statement in SQL; the extension masks the literals. */
export function sql(system: string, statement: unknown, config: Record<string, unknown>): [string, Attributes] {
  const query = typeof statement === "string" ? statement : ((statement ?? {}) as { text?: unknown; sql?: unknown });
  const written = typeof query === "string" ? query : text(query.text ?? query.sql);
  const operation = /^[\s(]*(\w+)/.exec(written ?? "")?.[1]?.toUpperCase();
  const database = text(config.database);
  const attributes: Attributes = {
    "db.system.name": system,
    "db.namespace": database,
    "db.query.text": written,
    "db.operation.name": operation,
    "db.user": text(config.user),
    "server.address": text(config.host) ?? text(config.socketPath),
    "server.port": config.port === undefined ? undefined : Number(config.port),
  };
  return [[operation, database].filter(Boolean).join(" ") || system, attributes];
}

export function patchPg(agent: Agent, exports: unknown): void {
  const { prototype } = exports as { prototype: Prototype };
  patched.add("pg");
  wrap(agent, prototype, "query", (self, given) => {
    const [name, attributes] = sql("postgresql", given[0], self as Record<string, unknown>);
    return callSpan(agent, name, attributes);
  });
}

function patchMysqlConnection(agent: Agent, prototype: Prototype): void {
  const begin: Begin = (self, given) => {
    const { config } = self as { config?: Record<string, unknown> };
    const [name, attributes] = sql("mysql", given[0], config ?? {});
    return callSpan(agent, name, attributes);
  };
  wrap(agent, prototype, "query", begin);
  wrap(agent, prototype, "execute", begin);
}

export function patchMysql(agent: Agent, exports: unknown): void {
  patched.add("mysql").add("mysql2");
  patchMysqlConnection(agent, (exports as { prototype: Prototype }).prototype);
}

/** A command of Redis without the values it carries. */
export function redis(words: readonly unknown[], address: unknown, port: unknown, database: unknown): [string, Attributes] {
  const [command = "", key, ...rest] = words;
  const name = String(command).toUpperCase();
  const shown = key === undefined ? name : `${name} ${String(key).slice(0, 256)}${" ?".repeat(Math.min(rest.length, 16))}`;
  const attributes: Attributes = {
    "db.system.name": "redis",
    "db.operation.name": name,
    "db.query.text": name === "AUTH" || name === "HELLO" ? name : shown,
    "db.namespace": database === undefined ? undefined : String(database),
    "server.address": text(address),
    "server.port": port === undefined ? undefined : Number(port),
  };
  return [name, attributes];
}

/** What a driver says by itself while it connects. */
export const CONNECTING = new Set(["AUTH", "HELLO", "INFO", "CLIENT", "SELECT", "QUIT"]);

export function patchIoredis(agent: Agent, exports: unknown): void {
  const { default: client } = exports as { default: { prototype: Prototype } };
  patched.add("ioredis");
  const seen = new WeakSet();
  wrap(agent, client.prototype, "sendCommand", (self, given) => {
    const command = given[0] as { name: string; args: unknown[] };
    // A command that had to wait for the connection comes through here again.
    if (seen.has(command)) return undefined;
    seen.add(command);
    const { options = {} } = self as { options?: { host?: unknown; port?: unknown; db?: unknown } };
    const [name, attributes] = redis([command.name, ...command.args], options.host, options.port, options.db);
    return CONNECTING.has(name) ? undefined : callSpan(agent, name, attributes);
  });
}

export function patchRedis(agent: Agent, exports: unknown): void {
  const { default: client } = exports as { default: { prototype: Prototype } };
  patched.add("redis");
  const options = (self: object): Record<string, unknown> => {
    const { options: own } = self as { options?: { socket?: Record<string, unknown>; database?: unknown } };
    return { host: own?.socket?.host ?? "localhost", port: own?.socket?.port ?? 6379, database: own?.database };
  };
  const begin = (self: object, words: readonly unknown[]): Span | undefined => {
    const { host, port, database } = options(self);
    const [name, attributes] = redis(words ?? [], host, port, database);
    return CONNECTING.has(name) ? undefined : callSpan(agent, name, attributes);
  };
  wrap(agent, client.prototype, "sendCommand", (self, given) => begin(self, given[0] as unknown[]));
  // Version 4 has a private way to send; its commands come through here.
  wrap(agent, client.prototype, "commandsExecutor", (self, given) => {
    const command = given[0] as { name?: string; transformArguments?: (...args: unknown[]) => unknown[] };
    const words = command.transformArguments?.(...(given[1] as unknown[])) ?? [command.name];
    return begin(self, words);
  });
  for (const method of ["_executeMulti", "_executePipeline", "multiExecutor"])
    wrap(agent, client.prototype, method, (self, given) => {
      const commands = given[0] as { args: unknown[] }[];
      const span = begin(self, [method === "_executePipeline" ? "PIPELINE" : "MULTI"]);
      if (span !== undefined) span.attributes["db.operation.batch.size"] = commands.length;
      return span;
    });
}

/** What the MongoDB driver says by itself. */
const HOUSEKEEPING = new Set(["hello", "ismaster", "isMaster", "ping", "endSessions", "saslStart", "saslContinue", "authenticate"]);

/** A command of MongoDB; none where the driver sends it by itself. */
export function mongodb(operation: string, database: unknown, collection: unknown, host: unknown, port: unknown): [string, Attributes] | undefined {
  if (HOUSEKEEPING.has(operation)) return undefined;
  const attributes: Attributes = {
    "db.system.name": "mongodb",
    "db.namespace": text(database),
    "db.collection.name": text(collection),
    "db.operation.name": operation,
    "server.address": text(host),
    "server.port": port === undefined ? undefined : Number(port),
  };
  return [[operation, text(collection)].filter(Boolean).join(" "), attributes];
}

export function patchMongodb(agent: Agent, exports: unknown): void {
  const { Connection: connection } = exports as { Connection: { prototype: Prototype } };
  patched.add("mongodb");
  const begin: Begin = (self, given) => {
    const [namespace, command] = given as [{ db?: unknown }, Record<string, unknown>];
    const operation = Object.keys(command)[0] ?? "";
    const [, host, port] = /^(.*):(\d+)$/.exec(String((self as { address?: unknown }).address ?? "")) ?? [];
    const described = mongodb(operation, namespace.db, text(command[operation]) ?? command.collection, host, port);
    return described && callSpan(agent, ...described);
  };
  // Newer versions end with the class of the response, older ones with a callback.
  wrap(agent, connection.prototype, "command", begin, (value): value is Method => typeof value === "function" && !("make" in value));
}

/** Message of a tracing channel: what the library says of the call, later with its error. */
interface Traced {
  error?: unknown;
  query?: unknown;
  database?: unknown;
  serverAddress?: unknown;
  serverPort?: unknown;
  user?: unknown;
  command?: unknown;
  args?: unknown[];
  /** Of several commands at once, and of each of them. */
  batchMode?: unknown;
  batchSize?: unknown;
}

const traced = new WeakMap<Traced, Span>();
/** Libraries that are patched: what they tell of their calls is known. */
const patched = new Set<string>();
/** Libraries that have told of a call. */
const telling = new Set<string>();

/** Whether the library's calls are known, so that nobody need read what goes over its sockets. */
export const isTold = (library: string): boolean => patched.has(library) || telling.has(library);

/** Libraries that tell of their calls by themselves, also from inside of a bundle. */
export function onTraced(agent: Agent, library: "mysql2" | "ioredis" | "redis", event: string, message: Traced): void {
  if (patched.has(library)) return;
  telling.add(library);
  if (event === "start") {
    const { serverAddress: host, serverPort: port, database, user, batchMode, batchSize } = message;
    const isBatch = batchMode !== undefined && message.command === undefined;
    if (batchMode !== undefined && !isBatch) return;
    const command = isBatch ? batchMode : message.command;
    // Redis drivers give the command among the words, or apart from them.
    const words = message.args?.[0] === command ? message.args : [command, ...(message.args ?? [])];
    const [name, attributes] =
      library === "mysql2" ? sql("mysql", message.query, { host, port, database, user }) : redis(words ?? [], host, port, database);
    const span = library !== "mysql2" && CONNECTING.has(name) ? undefined : callSpan(agent, name, attributes);
    if (span === undefined) return;
    if (isBatch) span.attributes["db.operation.batch.size"] = batchSize;
    traced.set(message, span);
    return;
  }
  const span = traced.get(message);
  // A call that fails at once never becomes asynchronous.
  if (span !== undefined && (event === "asyncEnd" || message.error !== undefined)) agent.recorder.finish(span, message.error);
}
