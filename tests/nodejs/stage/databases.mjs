// Servers that speak as much of each database's protocol as one connection and one statement need.

import { createRequire } from "node:module";
import net from "node:net";
import path from "node:path";
import tls from "node:tls";
import { modules } from "./function.mjs";

const require = createRequire(path.join(modules, "x.js"));

export async function serve(onConnection) {
  const sockets = new Set();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    onConnection(socket);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { port: server.address().port, close: () => (sockets.forEach((socket) => socket.destroy()), server.close()) };
}

/** TLS without certificates: what both sides know, for the client as source. */
export const TLS_OPTIONS = `{ ciphers: "PSK", maxVersion: "TLSv1.2", checkServerIdentity: () => undefined, pskCallback: () => ({ psk: Buffer.from("0123456789abcdef"), identity: "test" }) }`;

/** The same for clients that take no secret: nobody shows who it is. */
export const ANONYMOUS = `{ ciphers: "AECDH:@SECLEVEL=0", rejectUnauthorized: false, maxVersion: "TLSv1.2" }`;

function secured(socket, onData) {
  const options = { ciphers: "PSK:AECDH:@SECLEVEL=0", maxVersion: "TLSv1.2", pskCallback: () => Buffer.from("0123456789abcdef") };
  const secure = new tls.TLSSocket(socket, { isServer: true, ...options });
  secure.on("error", () => undefined);
  secure.on("data", onData);
  return secure;
}

/** PostgreSQL: statements with `fail` in them fail, those with `close` close the connection. */
export function postgres() {
  const message = (type, ...parts) => {
    const body = Buffer.concat(parts.map((part) => (typeof part === "string" ? Buffer.from(`${part}\0`) : part)));
    const head = Buffer.alloc(5);
    head.write(type);
    head.writeUInt32BE(body.length + 4, 1);
    return Buffer.concat([head, body]);
  };
  const ready = message("Z", Buffer.from("I"));
  /** What each step of a prepared statement is answered with, when the client wants the answers. */
  const STEPS = { P: message("1"), B: message("2"), D: message("n"), C: message("3"), E: undefined };
  const failure = message("E", Buffer.from("SERROR\0C42601\0Mwrong\0\0"));
  return serve((raw) => {
    let socket = raw;
    let started = false;
    let statement = "";
    let skips = false;
    const answers = [];
    let data = Buffer.alloc(0);
    const onData = (chunk) => {
      data = Buffer.concat([data, chunk]);
      if (!started && data.length === 8 && data.readUInt32BE(4) === 80877103) {
        data = Buffer.alloc(0);
        raw.off("data", onData);
        raw.write("S");
        socket = secured(raw, onData);
        return;
      }
      if (!started) {
        if (data.length < 8 || data.length < data.readUInt32BE(0)) return;
        data = data.subarray(data.readUInt32BE(0));
        started = true;
        socket.write(Buffer.concat([message("R", Buffer.alloc(4)), ready]));
      }
      while (data.length >= 5 && data.length >= data.readUInt32BE(1) + 1) {
        const type = String.fromCharCode(data[0]);
        const body = data.subarray(5, data.readUInt32BE(1) + 1);
        data = data.subarray(data.readUInt32BE(1) + 1);
        if (type === "Q" || type === "P") statement = body.toString();
        const failed = statement.includes("fail");
        if (statement.includes("close") && type !== "X") {
          raw.destroy();
          return;
        }
        const done = failed ? failure : message("C", "SELECT 0");
        if (type === "Q") socket.write(Buffer.concat([done, ready]));
        if (type in STEPS && !skips) answers.push(failed ? failure : (STEPS[type] ?? done));
        skips ||= failed && type in STEPS;
        if (type === "S") answers.push(ready);
        if (type === "S" || type === "H") socket.write(Buffer.concat(answers.splice(0)));
        if (type === "S") skips = false;
      }
    };
    raw.on("data", onData);
  });
}

export async function mysql() {
  const mysql2 = require("mysql2");
  const server = mysql2.createServer();
  server.on("connection", (connection) => {
    connection.serverHandshake({ protocolVersion: 10, serverVersion: "5.6.10", connectionId: 1, statusFlags: 2, characterSet: 8, capabilityFlags: 0xffffff });
    connection.on("error", () => undefined);
    connection.on("query", (statement) => {
      // Both drivers count a command's packets from its first on.
      connection.sequenceId = 1;
      if (statement.includes("fail")) connection.writeError({ code: 1064, message: "wrong" });
      else connection.writeTextResult([{ a: 1 }], [{ catalog: "def", schema: "s", table: "t", orgTable: "t", name: "a", orgName: "a", characterSet: 63, columnLength: 11, columnType: 8, flags: 129, decimals: 0 }]);
      connection.sequenceId = 0;
    });
  });
  server.on("connection", (connection) => {
    const answer = (payload) => {
      connection.sequenceId = 1;
      if (payload === undefined) connection.writeOk();
      else connection.stream.write(Buffer.from([payload.length, 0, 0, 1, ...payload]));
      connection.sequenceId = 0;
    };
    // A pool asks whether a connection is still alive.
    connection.on("ping", () => answer());
    // What begins with SET is taken for a statement that is prepared. Others have no parameters, and the number 1.
    connection.on("stmt_prepare", (statement) => {
      if (statement.startsWith("SET")) answer();
      else if (statement.includes("fail")) answer([0xff, 0x28, 0x04, ...Buffer.from("#42000wrong")]);
      else answer([0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    });
    connection.on("stmt_execute", () => answer());
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { port: server._server.address().port, close: () => server._server.close() };
}

/** MySQL that wants TLS, and answers each statement with what an update is answered with, or an error where it has `fail` in it. */
export function mysqlOverTls() {
  const packet = (sequence, payload) => Buffer.from([payload.length, 0, 0, sequence, ...payload]);
  const greeting = [10, ...Buffer.from("8.0.0\0"), 1, 0, 0, 0, ...Buffer.from("12345678\0"), 0xff, 0xaa, 8, 2, 0, 0x08, 0, 21, ...Buffer.alloc(10), ...Buffer.from("123456789012\0mysql_native_password\0")];
  return serve((raw) => {
    let socket = raw;
    let data = Buffer.alloc(0);
    raw.write(packet(0, greeting));
    const onData = (chunk) => {
      data = Buffer.concat([data, chunk]);
      while (data.length >= 4 && data.length >= data.readUIntLE(0, 3) + 4) {
        const body = data.subarray(4, data.readUIntLE(0, 3) + 4);
        const sequence = data[3];
        data = Buffer.from(data.subarray(body.length + 4));
        if (sequence === 1 && body.length === 32) {
          // The client does not wait: its first words in TLS may be here already.
          raw.off("data", onData).pause();
          if (data.length > 0) raw.unshift(data);
          data = Buffer.alloc(0);
          socket = secured(raw, onData);
        } else if (body[0] !== 1 || sequence !== 0) {
          const failed = body.includes("fail");
          socket.write(packet(sequence + 1, failed ? [0xff, 0x28, 0x04, ...Buffer.from("#42000wrong")] : [0, 0, 0, 2, 0, 0, 0]));
        }
      }
    };
    raw.on("data", onData);
  });
}

/** Redis, version 2 of its protocol, also inside of TLS: every command is answered with OK, `fail` with an error. */
export function redis({ secure = false } = {}) {
  return serve((raw) => {
    let data = "";
    const onData = (chunk) => {
      data += chunk.toString("latin1");
      for (;;) {
        const words = /^\*(\d+)\r\n/.exec(data);
        if (words === null) return;
        let at = words[0].length;
        const command = [];
        for (let count = 0; count < Number(words[1]); count++) {
          const size = /^\$(\d+)\r\n/.exec(data.slice(at));
          if (size === null || data.length < at + size[0].length + Number(size[1]) + 2) return;
          command.push(data.substr(at + size[0].length, Number(size[1])));
          at += size[0].length + Number(size[1]) + 2;
        }
        data = data.slice(at);
        const name = command[0].toUpperCase();
        if (name === "HELLO") socket.write("%1\r\n+server\r\n+redis\r\n");
        else if (command[1] === "fail") socket.write("-ERR unknown command\r\n");
        else if (name === "INFO") socket.write("$24\r\nredis_version:6.0.0\r\nok\r\n\r\n".replace("$24", "$25"));
        else socket.write("+OK\r\n");
      }
    };
    const socket = secure ? secured(raw, onData) : raw.on("data", onData);
  });
}

export const redisOverTls = () => redis({ secure: true });

/** MongoDB: a collection `never` gets no answer. */
export function mongodb() {
  const { Long, serialize, deserialize } = require("bson");
  const hello = { ok: 1, helloOk: true, isWritablePrimary: true, ismaster: true, maxBsonObjectSize: 16777216, maxMessageSizeBytes: 48000000, maxWriteBatchSize: 100000, minWireVersion: 0, maxWireVersion: 25, localTime: new Date(0) };
  const answer = (command) => {
    if (command.hello || command.ismaster || command.isMaster) return hello;
    if (command.find === "fail") return { ok: 0, code: 2, codeName: "BadValue", errmsg: "wrong" };
    if (command.find || command.aggregate) return { ok: 1, cursor: { id: Long.ZERO, ns: "shop.orders", firstBatch: [{ a: 1 }] } };
    return { ok: 1, n: 1 };
  };
  return serve((socket) => {
    let data = Buffer.alloc(0);
    socket.on("data", (chunk) => {
      data = Buffer.concat([data, chunk]);
      while (data.length >= 16 && data.length >= data.readInt32LE(0)) {
        const message = data.subarray(0, data.readInt32LE(0));
        data = data.subarray(message.length);
        const legacy = message.readInt32LE(12) === 2004;
        const start = legacy ? message.indexOf(0, 20) + 9 : 21;
        const command = deserialize(message.subarray(start, start + message.readInt32LE(start)));
        if (command.find === "never") continue;
        const document = serialize(answer(command));
        const middle = legacy ? Buffer.alloc(20) : Buffer.alloc(5);
        if (legacy) middle.writeInt32LE(1, 16);
        const head = Buffer.alloc(16);
        head.writeInt32LE(16 + middle.length + document.length, 0);
        head.writeInt32LE(message.readInt32LE(4), 8);
        head.writeInt32LE(legacy ? 1 : 2013, 12);
        socket.write(Buffer.concat([head, middle, document]));
      }
    });
  });
}
