/**
 * Databases whose driver cannot be patched, as inside of a bundle: their calls are read from what goes over the function's own
 * sockets. Read when a connection's first bytes are such that it could be one.
 */

import { type Agent, guarded } from "./agent";
import { Connection, type Conversation } from "./sockets_connection";
import { openMongodb } from "./sockets_mongodb";
import { openMysql } from "./sockets_mysql";
import { openPostgres } from "./sockets_postgres";
import { openRedis } from "./sockets_redis";

export type Write = (this: object, ...given: unknown[]) => boolean;

/** What of a socket is read along. */
export interface Watched {
  write: Write;
  push: (data: Uint8Array | null, encoding?: string) => boolean;
  _destroy: (error: Error | null, done: (error?: Error | null) => void) => void;
}

/** Instrumentations, and what reads the protocol; it declines by `undefined` what begins in another way. */
const PROTOCOLS: readonly [instrumentations: string[], open: (first: Buffer, connection: Connection) => Conversation | undefined][] = [
  [["pg"], openPostgres],
  [["mysql", "mysql2"], openMysql],
  [["mongodb"], openMongodb],
  [["redis", "ioredis"], openRedis],
];

function bytes(data: unknown, encoding: unknown): Buffer {
  if (typeof data === "string") return Buffer.from(data, typeof encoding === "string" ? (encoding as BufferEncoding) : "utf8");
  const { buffer, byteOffset, byteLength } = data as Uint8Array;
  return Buffer.from(buffer, byteOffset, byteLength);
}

/** Where a socket connects to, from the arguments that `connect` got in one of its ways. */
function addressOf(given: unknown[]): { host?: string | undefined; port?: number | undefined } {
  const [first, second] = Array.isArray(given[0]) ? (given[0] as unknown[]) : given;
  const options = (typeof first === "object" && first !== null ? first : { port: first, host: second }) as Record<string, unknown>;
  if (typeof options.path === "string") return { host: options.path };
  if (typeof options.port === "string" && !(Number(options.port) >= 0)) return { host: options.port };
  return { host: typeof options.host === "string" ? options.host : "localhost", port: Number(options.port) };
}

/** The first that is written to a connection: it is read along from here on, if anybody can read it. */
export function open(agent: Agent, socket: Watched, connecting: unknown[], written: unknown[]): void {
  const first = bytes(written[0], written[1]);
  const { host, port } = addressOf(connecting);
  const connection = new Connection(agent, host, port);
  for (const [instrumentations, read] of PROTOCOLS) {
    const conversation = read(first, connection);
    if (conversation === undefined) continue;
    if (instrumentations.every((name) => agent.disabled(name))) return;
    watch(agent, socket, connection, conversation, first);
    return;
  }
}

/** Properties of this one socket; the function's other sockets are left alone. */
function watch(agent: Agent, socket: Watched, connection: Connection, conversation: Conversation, first?: Buffer): void {
  const { write, push, _destroy } = socket;
  const step = (run: () => void): void => {
    if (connection.over) return;
    let failed = true;
    guarded(agent, "a database connection", () => {
      run();
      failed = false;
    });
    if (failed || connection.over) guarded(agent, "a database connection", () => connection.close());
    const { afterTls } = connection;
    if (!connection.over && afterTls === undefined) return;
    if (afterTls !== undefined) {
      connection.afterTls = undefined;
      onTls(agent, socket, connection, afterTls);
    }
    // Somebody else may have put something of their own on top.
    if (socket.write === watched.write) socket.write = write;
    if (socket.push === watched.push) socket.push = push;
  };
  const watched: Watched = {
    write: function (...given) {
      const [data, encoding] = given;
      if (typeof data === "string" || data instanceof Uint8Array) step(() => conversation.sent(bytes(data, encoding)));
      return write.apply(this, given);
    },
    push: function (this: object, data, encoding) {
      if (data instanceof Uint8Array) step(() => conversation.received(bytes(data, encoding)));
      return push.call(this, data, encoding);
    },
    _destroy: function (this: object, error, done) {
      guarded(agent, "a database connection", () => connection.close(error ?? new Error("The connection was closed before an answer came")));
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
      guarded(agent, "a database connection", () => then(this));
    }
    return start.apply(this, given);
  };
}
