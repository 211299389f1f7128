/**
 * Databases and brokers whose driver cannot be patched, as inside of a bundle: their calls are read from what goes over the
 * function's own sockets. Loaded when a connection's first bytes are such that it could be one.
 */

import { type Agent, guarded } from "../record/agent";
import { chunk } from "../record/chunk";
import { Connection, type Conversation } from "./connection";
import { isAmqp, isKafka, isMongodb, isMysql, isPostgres, isRedis } from "./first_words";

export type Write = (this: object, ...given: unknown[]) => boolean;

/** What of a socket is read along. */
export interface Watched {
  write: Write;
  push: (data: Uint8Array | null, encoding?: string) => boolean;
  _destroy: (error: Error | null, done: (error?: Error | null) => void) => void;
}

/** What a connection is opened with. Those of `http` and `https` bring their agent's key. */
export interface Options {
  path?: unknown;
  host?: unknown;
  port?: unknown;
  _agentKey?: unknown;
}

/** Managed Instances run several invocations at once. */
const SEVERAL = Boolean(process.env.AWS_LAMBDA_MAX_CONCURRENCY);

type Part = "sockets_amqp" | "sockets_kafka" | "sockets_mongodb" | "sockets_mysql" | "sockets_postgres" | "sockets_redis";

/** How a connection begins, whose it can be, the part that reads it, and the one that patches those libraries. */
const PROTOCOLS: readonly [begins: (first: Buffer) => boolean, libraries: string[], part: Part, patches: "databases" | "messaging"][] = [
  [isPostgres, ["pg", "postgres"], "sockets_postgres", "databases"],
  [isMysql, ["mysql", "mysql2"], "sockets_mysql", "databases"],
  [isMongodb, ["mongodb"], "sockets_mongodb", "databases"],
  [isRedis, ["redis", "ioredis"], "sockets_redis", "databases"],
  [isKafka, ["kafkajs"], "sockets_kafka", "messaging"],
  [isAmqp, ["amqplib"], "sockets_amqp", "messaging"],
];

function bytes(data: unknown, encoding: unknown): Buffer {
  if (typeof data === "string") return Buffer.from(data, typeof encoding === "string" ? (encoding as BufferEncoding) : "utf8");
  const { buffer, byteOffset, byteLength } = data as Uint8Array;
  return Buffer.from(buffer, byteOffset, byteLength);
}

/** Where a socket connects to; a path may stand where a port would. */
function addressOf({ path, host, port }: Options): { host?: string | undefined; port?: number | undefined } {
  if (typeof path === "string") return { host: path };
  if (typeof port === "string" && !(Number(port) >= 0)) return { host: port };
  return { host: typeof host === "string" ? host : "localhost", port: Number(port) };
}

/** The first that is written to a connection: it is read along from here on, if anybody can read it. */
export function open(agent: Agent, socket: Watched, options: Options, written: unknown[], sinceUs: number): void {
  const first = bytes(written[0], written[1]);
  const protocol = PROTOCOLS.find(([begins]) => begins(first));
  if (protocol === undefined) return;
  const [, libraries, part, patches] = protocol;
  const { isTold } = chunk(patches);
  if (chunk("databases").isToldSocket(socket)) return;
  if (libraries.every((library) => agent.disabled(library) || isTold(library))) return;
  const { host, port } = addressOf(options);
  const connection = new Connection(agent, host, port, sinceUs);
  watch(agent, socket, connection, chunk(part).read(connection), first);
}

/** Properties of this one socket; the function's other sockets are left alone. */
function watch(agent: Agent, socket: Watched, connection: Connection, conversation: Conversation, first?: Buffer): void {
  const { write, push, _destroy } = socket;
  /** Somebody else may have put something of their own on top. */
  const letGo = (): void => {
    if (socket.write === watched.write) socket.write = write;
    if (socket.push === watched.push) socket.push = push;
  };
  const step = (run: () => void): void => {
    if (connection.over) return;
    let failed = true;
    guarded(agent, "a connection", () => {
      run();
      failed = false;
    });
    if (failed || connection.over) guarded(agent, "a connection", () => connection.close());
    const { afterTls } = connection;
    if (!connection.over && afterTls === undefined) return;
    if (afterTls !== undefined) {
      connection.afterTls = undefined;
      onTls(agent, socket, connection, afterTls);
    }
    letGo();
  };
  const watched: Watched = {
    write: function (...given) {
      const [data, encoding] = given;
      if (typeof data === "string" || data instanceof Uint8Array) step(() => conversation.sent(bytes(data, encoding)));
      return write.apply(this, given);
    },
    push: function (this: object, data, encoding) {
      if (data instanceof Uint8Array) step(() => conversation.received(bytes(data, encoding)));
      if (!SEVERAL) return push.call(this, data, encoding);
      connection.inAnswer = true;
      try {
        return push.call(this, data, encoding);
      } finally {
        connection.inAnswer = false;
      }
    },
    _destroy: function (this: object, error, done) {
      guarded(agent, "a connection", () => connection.close(error ?? new Error("The connection was closed before an answer came")));
      letGo();
      _destroy.call(this, error, done);
    },
  };
  Object.assign(socket, watched);
  if (first !== undefined) step(() => conversation.sent(first));
}

type Start = (this: Watched & { _parent?: unknown }, ...given: unknown[]) => unknown;

/** Sockets that TLS takes over, and what happens then. */
const upgrades = new WeakMap<object, (secure: Watched) => void>();
let upgradesWatched = false;

/** The clear text goes over another object from here on. */
function onTls(agent: Agent, socket: Watched, connection: Connection, conversation: Conversation): void {
  upgrades.set(socket, (secure) => watch(agent, secure, connection, conversation));
  if (upgradesWatched) return;
  upgradesWatched = true;
  const { TLSSocket: secureSocket } = require("node:tls") as typeof import("node:tls");
  const prototype = secureSocket.prototype as unknown as { _start: Start };
  const { _start: start } = prototype;
  prototype._start = function (...given) {
    const { _parent: parent } = this;
    const then = typeof parent === "object" && parent !== null ? upgrades.get(parent) : undefined;
    if (then !== undefined) {
      upgrades.delete(parent as object);
      guarded(agent, "a connection", () => then(this));
    }
    return start.apply(this, given);
  };
}
