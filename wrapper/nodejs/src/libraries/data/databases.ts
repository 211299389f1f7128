/**
 * Database drivers: one span for each statement or command. Called with what a driver exports, or with what its tracing channels tell; what
 * reads sockets describes its calls by the same words.
 */

import { type Agent, guarded } from "../../record/agent";
import type { Attributes, Span } from "../../trace/span";
import { callSpan, type Begin, type Follow, type Method, type Prototype, text, unlessTheirs, wrap, wrapQueue } from "../calls";
import { acquires, connects, hasServer, waitFor, whereOf } from "./connecting";

export { waitFor };

/** The attributes of a statement in SQL; the extension masks the literals. */
export function sql(system: string, statement: unknown, config: Record<string, unknown>): [string, Attributes] {
  const query = (statement ?? {}) as { text?: unknown; sql?: unknown; cursor?: { text?: unknown } };
  const written = typeof statement === "string" ? statement : text(query.text ?? query.sql ?? query.cursor?.text);
  const operation = /^[\s(]*(\w+)/.exec(written ?? "")?.[1]?.toUpperCase();
  const database = text(config.database);
  const attributes: Attributes = {
    ...whereOf(system, config),
    "db.query.text": written,
    "db.operation.name": operation,
  };
  return [[operation, database].filter(Boolean).join(" ") || system, attributes];
}

/** Where queries hold what they call back. */
const CALLBACKS = ["callback", "onResult", "_callback"];

/** A query that has been made before it is sent, or its options, may hold the callback; and drivers tell the query what the server says. */
const followQuery: Follow = (given, asCallback, finish) => {
  const query = given[0] as Record<string, Method | undefined> | null | undefined;
  if (typeof query !== "object" || query === null) return;
  const isMade = typeof query.submit === "function" || typeof query.emit === "function";
  for (const key of CALLBACKS) {
    const callback = query[key];
    if (typeof callback !== "function") continue;
    const value = asCallback(callback);
    if (isMade) query[key] = value;
    else given[0] = Object.create(query, { [key]: { value, configurable: true, enumerable: true, writable: true } });
  }
  const { handleError, handleReadyForQuery } = query;
  if (!isMade || typeof handleError !== "function" || typeof handleReadyForQuery !== "function") return;
  query.handleError = function (...told) {
    finish(told[0]);
    return handleError.apply(this, told);
  };
  query.handleReadyForQuery = function (...told) {
    finish();
    return handleReadyForQuery.apply(this, told);
  };
};

const wrapQuery = (agent: Agent, prototype: Prototype, method: string, begin: Begin): void =>
  wrap(agent, prototype, method, begin, { followGiven: followQuery });

/** Sockets of drivers that are patched. Another driver may speak the same protocol. */
const toldSockets = new WeakSet<object>();

export const isToldSocket = (socket: object): boolean => toldSockets.has(socket);

function tellsOf(socket: unknown): void {
  if (typeof socket === "object" && socket !== null) toldSockets.add(socket);
}

/** A call whose library tells neither when nor where it is sent. */
export interface Unsent {
  /** What will be sent, as soon as the library knows. */
  readonly text: () => string | undefined;
  readonly sent: (config: Record<string, unknown>) => void;
}

/** The connection that sends one of them knows where it goes. */
export const unsent = new Set<Unsent>();

/** Whether this is the sending of a known call, which gets to know where it goes. */
export function isUnsent(sent: string, config: Record<string, unknown>): boolean {
  for (const call of unsent) {
    if (call.text() !== sent) continue;
    unsent.delete(call);
    call.sent(config);
    return true;
  }
  return false;
}

export function patchPg(agent: Agent, exports: unknown): void {
  const { prototype } = exports as { prototype: Prototype };
  const { connect } = prototype;
  if (connect !== undefined)
    prototype.connect = function (...given) {
      tellsOf((this as { connection?: { stream?: unknown } }).connection?.stream);
      return connect.apply(this, given);
    };
  connects(agent, "pg", prototype, "connect", (self) => ["postgresql", self]);
  const begin: Begin = (self, given) => callSpan(agent, ...sql("postgresql", given[0], self as Record<string, unknown>));
  wrapQuery(agent, prototype, "query", unlessTheirs(agent, "pg", "query", begin));
}

export function patchPgPool(agent: Agent, exports: unknown): void {
  const { prototype } = exports as { prototype: Prototype };
  wrapQueue(agent, prototype, "connect");
  acquires(agent, "pg", prototype, "connect", (self) => {
    const { _clients: clients, _idle: idle, options } = self as { _clients: Record<string, unknown>[]; _idle: unknown[]; options: { max: number } };
    return idle.length > 0 || clients.length < options.max ? undefined : ["postgresql", clients[0] ?? {}];
  });
}

export function patchMysql(agent: Agent, exports: unknown): void {
  const { prototype } = exports as { prototype: Prototype };
  patched.add("mysql2");
  // Its newer versions have all of it in a class below, where an instrumentation of the function's looks for it as well.
  if (!Object.hasOwn(prototype, "query")) return;
  const of = (self: object, statement: unknown): Span | undefined =>
    callSpan(agent, ...sql("mysql", statement, (self as { config?: Record<string, unknown> }).config ?? {}));
  const begin: Begin = (self, given) => of(self, given[0]);
  const library = prototype.execute === undefined ? "mysql" : "mysql2";
  for (const method of ["query", "execute"]) wrapQuery(agent, prototype, method, unlessTheirs(agent, library, method, begin));
  // mysql2: also of the handshake, and of a statement that has been prepared.
  wrapQuery(agent, prototype, "addCommand", (self, given) => {
    tellsOf((self as { stream?: unknown }).stream);
    const { constructor, statement } = given[0] as { constructor: { name: string }; statement?: { query?: unknown } };
    if (constructor.name === "ClientHandshake") return shakesHands(agent, self);
    return constructor.name === "Execute" && statement?.query !== undefined ? of(self, statement.query) : undefined;
  });
  // Whoever waits for the handshake is told of what becomes of it here, and the handshake itself only by the server.
  for (const method of ["_notifyError", "close"]) {
    const original = prototype[method];
    if (original === undefined) continue;
    prototype[method] = function (...given) {
      endHandshake(agent, this, given[0]);
      return original.apply(this, given);
    };
  }
  const { connect } = prototype;
  if (connect === undefined) return;
  prototype.connect = function (...given) {
    const result = connect.apply(this, given);
    tellsOf((this as { _socket?: unknown })._socket);
    return result;
  };
}

/** Connections of mysql2's, which connect when they are made, and the call that this is. */
const handshakes = new WeakMap<object, Span>();

function shakesHands(agent: Agent, self: object): Span | undefined {
  if (agent.recorder.records("mysql2", (self as Prototype).query)) return undefined;
  const span = callSpan(agent, ...waitFor("connect", "mysql", (self as { config?: Record<string, unknown> }).config ?? {}));
  if (span !== undefined) handshakes.set(self, span);
  return span;
}

function endHandshake(agent: Agent, connection: object, error: unknown): void {
  const span = handshakes.get(connection);
  if (span !== undefined) guarded(agent, "a database call", () => agent.recorder.finish(span, error));
}

/** Of mysql, which connects with its first statement where nobody has asked it before. */
export function patchMysqlProtocol(agent: Agent, exports: unknown): void {
  const { prototype } = exports as { prototype: Prototype };
  connects(agent, "mysql", prototype, "handshake", (self) => ["mysql", (self as { _config?: Record<string, unknown> })._config ?? {}]);
}

export function patchMysqlPool(agent: Agent, exports: unknown): void {
  const { prototype } = exports as { prototype: Prototype };
  // Newer versions of mysql2 have all of it in a class below.
  if (!Object.hasOwn(prototype, "getConnection")) return;
  wrapQueue(agent, prototype, "getConnection");
  const library = prototype.execute === undefined ? "mysql" : "mysql2";
  acquires(agent, library, prototype, "getConnection", (self) => {
    const pool = self as Record<"_freeConnections" | "_allConnections", { length: number }> & { config: { connectionLimit: number; connectionConfig: Record<string, unknown> } };
    const { connectionLimit: limit, connectionConfig } = pool.config;
    return pool._freeConnections.length > 0 || limit === 0 || pool._allConnections.length < limit ? undefined : ["mysql", connectionConfig];
  });
}

/** What follows these is no key, and may be a secret. */
const WITHOUT_KEY = new Set(
  (
    "ACL AUTH CLIENT CLUSTER COMMAND CONFIG DEBUG ECHO EVAL EVALSHA EVALSHA_RO EVAL_RO FUNCTION HELLO INFO LATENCY MIGRATE MODULE PING " +
    "REPLICAOF SCRIPT SELECT SENTINEL SLAVEOF SLOWLOG"
  ).split(" "),
);
const OF_TWO_WORDS = new Set(
  "ACL CLIENT CLUSTER COMMAND CONFIG DEBUG FUNCTION LATENCY MEMORY MODULE OBJECT PUBSUB SCRIPT SENTINEL SLOWLOG XGROUP XINFO".split(" "),
);
const MAX_KEY = 256;
const MAX_MARKS = 16;

/** A command's name, and with its first key and a mark for each argument after that. What is given as one word may be several. */
function redisWords(given: readonly unknown[]): [name: string, shown: string] {
  const [first = "", ...rest] = given;
  const [command = "", ...keys] = [...String(first).trim().split(/\s+/), ...rest];
  let name = String(command).toUpperCase();
  const isKeyed = !WITHOUT_KEY.has(name);
  if (OF_TWO_WORDS.has(name) && keys.length > 0) name += ` ${String(keys.shift()).slice(0, MAX_KEY).toUpperCase()}`;
  if (!isKeyed || keys.length === 0) return [name, name];
  return [name, `${name} ${String(keys[0]).slice(0, MAX_KEY)}${" ?".repeat(Math.min(keys.length - 1, MAX_MARKS))}`];
}

/** A command of Redis without the values it carries. */
export function redis(words: readonly unknown[], address: unknown, port: unknown, database: unknown): [string, Attributes] {
  const [name, shown] = redisWords(words);
  const attributes: Attributes = {
    "db.system.name": "redis",
    "db.operation.name": name,
    "db.query.text": shown,
    "db.namespace": database === undefined ? undefined : String(database),
    "server.address": text(address),
    "server.port": port === undefined ? undefined : Number(port),
  };
  return [name, attributes];
}

const CONNECTING = new Set(["AUTH", "HELLO", "INFO", "CLIENT", "SELECT", "QUIT"]);

/** Whether the command of that name is what a driver says by itself while it connects. */
export const isConnecting = (name: string): boolean => CONNECTING.has(name.split(" ", 1)[0] ?? "");

export function patchIoredis(agent: Agent, exports: unknown): void {
  const { default: client } = exports as { default: { prototype: Prototype } };
  patched.add("ioredis");
  connects(agent, "ioredis", client.prototype, "connect", (self) => ["redis", (self as { options?: Record<string, unknown> }).options ?? {}]);
  const seen = new WeakSet();
  wrap(agent, client.prototype, "sendCommand", (self, given) => {
    tellsOf((self as { stream?: unknown }).stream);
    if (agent.recorder.records("ioredis", (self as Prototype).sendCommand)) return undefined;
    const command = given[0] as { name: string; args: unknown[] };
    // A command that had to wait for the connection comes through here again.
    if (seen.has(command)) return undefined;
    seen.add(command);
    const { options = {} } = self as { options?: { host?: unknown; port?: unknown; db?: unknown } };
    const [name, attributes] = redis([command.name, ...command.args], options.host, options.port, options.db);
    return isConnecting(name) ? undefined : callSpan(agent, name, attributes);
  });
}

export function patchRedis(agent: Agent, exports: unknown): void {
  const { default: client } = exports as { default: { prototype: Prototype } };
  patched.add("redis");
  const options = (self: object): Record<string, unknown> => {
    const { options: own } = self as { options?: { socket?: Record<string, unknown>; database?: unknown } };
    return { host: own?.socket?.host ?? "localhost", port: own?.socket?.port ?? 6379, database: own?.database };
  };
  connects(agent, "redis", client.prototype, "connect", (self) => ["redis", options(self)]);
  const begin = (self: object, words: readonly unknown[]): Span | undefined => {
    if (agent.recorder.records("redis", (self as Prototype).sendCommand)) return undefined;
    const { host, port, database } = options(self);
    const [name, attributes] = redis(words ?? [], host, port, database);
    return isConnecting(name) ? undefined : callSpan(agent, name, attributes);
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
    const { host, port } = addressOf((self as { address?: unknown }).address);
    const described = mongodb(operation, namespace.db, text(command[operation]) ?? command.collection, host, port);
    return described && callSpan(agent, ...described);
  };
  // Newer versions end with the class of the response, older ones with a callback.
  wrap(agent, connection.prototype, "command", unlessTheirs(agent, "mongodb", "command", begin), {
    isCallback: (value): value is Method => typeof value === "function" && !("make" in value),
  });
}

/** Drivers before version 6 call back whoever waits for a connection. */
export function patchMongodbPool(agent: Agent, exports: unknown): void {
  const { ConnectionPool: pool } = exports as { ConnectionPool: { prototype: Prototype } };
  interface Pool {
    availableConnectionCount: number;
    totalConnectionCount: number;
    options: { maxPoolSize: number; hostAddress?: Record<string, unknown> };
  }
  wrapQueue(agent, pool.prototype, "checkOut");
  const isFull = ({ totalConnectionCount: count, options }: Pool): boolean => options.maxPoolSize > 0 && count >= options.maxPoolSize;
  const where = (self: Pool): [string, Record<string, unknown>] => ["mongodb", self.options.hostAddress ?? {}];
  const isReady = (self: Pool): boolean => self.availableConnectionCount > 0;
  connects(agent, "mongodb", pool.prototype, "checkOut", (self) => (isReady(self as Pool) || isFull(self as Pool) ? undefined : where(self as Pool)));
  acquires(agent, "mongodb", pool.prototype, "checkOut", (self) => (isReady(self as Pool) || !isFull(self as Pool) ? undefined : where(self as Pool)));
}

/** A command is sent when a server is known. */
export function patchMongodbTopology(agent: Agent, exports: unknown): void {
  const { Topology: topology } = exports as { Topology: { prototype: Prototype } };
  connects(agent, "mongodb", topology.prototype, "selectServer", (self, given) => {
    const { servers } = (self as { description: { servers: Map<string, { type: string }> } }).description;
    // What it selects by may be a function, and no callback.
    return given.length < 2 || hasServer(servers) ? undefined : ["mongodb", addressOf([...servers.keys()][0])];
  });
}

const addressOf = (address: unknown): { host?: string | undefined; port?: string | undefined } => {
  const [, host, port] = /^(.*):(\d+)$/.exec(String(address ?? "")) ?? [];
  return { host, port };
};

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

/** Those of which the sockets are known, so that others may speak the same protocol. */
const KNOWN_SOCKETS = new Set(["ioredis", "mysql2"]);

/** Whether the library's calls are known, so that nobody need read what goes over its sockets. */
export const isTold = (library: string): boolean => telling.has(library) || (patched.has(library) && !KNOWN_SOCKETS.has(library));

/** Libraries that tell of their calls by themselves, also from inside of a bundle. */
export function onTraced(agent: Agent, library: "mysql2" | "ioredis" | "redis", event: string, message: Traced, connects = false): void {
  if (patched.has(library)) return;
  telling.add(library);
  if (event === "start") {
    const { serverAddress: host, serverPort: port, database, user, batchMode, batchSize } = message;
    if (connects) {
      const span = callSpan(agent, ...waitFor("connect", library === "mysql2" ? "mysql" : "redis", { host, port, database, user }));
      if (span !== undefined) traced.set(message, span);
      return;
    }
    const isBatch = batchMode !== undefined && message.command === undefined;
    if (batchMode !== undefined && !isBatch) return;
    const command = isBatch ? batchMode : message.command;
    // Redis drivers give the command among the words, or apart from them.
    const words = message.args?.[0] === command ? message.args : [command, ...(message.args ?? [])];
    const [name, attributes] =
      library === "mysql2" ? sql("mysql", message.query, { host, port, database, user }) : redis(words ?? [], host, port, database);
    const span = library !== "mysql2" && isConnecting(name) ? undefined : callSpan(agent, name, attributes);
    if (span === undefined) return;
    if (isBatch) span.attributes["db.operation.batch.size"] = batchSize;
    traced.set(message, span);
    return;
  }
  const span = traced.get(message);
  // A call that fails at once never becomes asynchronous.
  if (span !== undefined && (event === "asyncEnd" || message.error !== undefined)) agent.recorder.finish(span, message.error);
}
