// What is made of each protocol's finer points, message by message: the reader alone, with a recorder that only notes.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import path from "node:path";
import test from "node:test";

const { open } = createRequire(import.meta.url)(path.join(process.env.OTEL_XRAY_NODE_AGENT, "sockets.js"));

const uint = (value, bytes) => Array.from({ length: bytes }, (_, index) => Math.floor(value / 256 ** index) % 256);
const join = (...parts) => Buffer.concat(parts.map((part) => (typeof part === "number" ? Buffer.from([part]) : Buffer.from(part))));

// PostgreSQL: a letter, a size, a body.
const pg = (type, body = "") => join(type, uint(Buffer.byteLength(body) + 4, 4).reverse(), body);
const startUp = join([0, 0, 0, 30, 0, 3, 0, 0], "user\0u\0database\0shop\0\0");
const pgReady = pg("Z", "I");
const pgError = pg("E", "SERROR\0C42601\0Mwrong\0\0");
const execute = (text) => [pg("P", `\0${text}\0\0\0`), pg("B", "\0\0\0\0\0\0\0\0"), pg("E", "\0\0\0\0\0")];

// MySQL: a size, a number, a body.
const mysql = (sequence, ...parts) => join(uint(join(...parts).length, 3), sequence, ...parts);
const logIn = (capabilities, extended = 0) => mysql(1, uint(0x8208 + capabilities, 4), uint(1 << 24, 4), 8, Buffer.alloc(19), uint(extended, 4), "u\0\0shop\0");
const query = (text) => mysql(0, 3, text);
const ok = (sequence, flags = 2) => mysql(sequence, [0, 0, 0], uint(flags, 2), [0, 0]);
const eof = (sequence, flags = 2) => mysql(sequence, [0xfe, 0, 0], uint(flags, 2));
const column = (sequence) => mysql(sequence, "\u0003def");
const row = (sequence) => mysql(sequence, "\u00011");
const mysqlError = (sequence) => mysql(sequence, 0xff, uint(1064, 2), "#42000wrong");
const DEPRECATE_EOF = 1 << 24;

// MongoDB: numbers of the request and of what it answers, a document.
const string = (name, value) => join(2, `${name}\0`, uint(value.length + 1, 4), `${value}\0`);
const int = (name, value) => join(16, `${name}\0`, uint(value, 4));
const document = (...fields) => join(uint(join(...fields).length + 5, 4), ...fields, 0);
const mongo = (id, answers, fields, flags = 0, sequence = "") => {
  const body = join(uint(flags, 4), sequence, 0, document(...fields));
  return join(uint(body.length + 16, 4), uint(id, 4), uint(answers, 4), uint(2013, 4), body);
};
const hello = mongo(1, 0, [int("hello", 1), string("$db", "admin")]);
const command = (id, name, collection, flags, sequence) => mongo(id, 0, [string(name, collection), string("$db", "shop")], flags, sequence);

const redis = (...words) => `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join("")}`;

// Kafka: a size; its numbers have their first byte first.
const short = (value) => uint(value, 2).reverse();
const int32 = (value) => uint(value, 4).reverse();
const kafka = (...parts) => join(int32(join(...parts).length), ...parts);
const versions = kafka(short(18), short(2), int32(0), short(1), "c");
const record = (key) => join(0, 0, 0, 2 * key.length, key, 1);
const batch = (count, records) => join(Buffer.alloc(16), 2, Buffer.alloc(4), short(0), Buffer.alloc(34), int32(count), records);
const produce = (id, acknowledgements, topic, ...batches) =>
  kafka(short(0), short(7), int32(id), short(1), "c", [255, 255], short(acknowledgements), int32(9), int32(1), short(topic.length), topic, int32(batches.length), ...batches.map((each) => join(int32(0), int32(each.length), each)));
const produced = (id, topic, code) => kafka(int32(id), int32(1), short(topic.length), topic, int32(1), int32(0), short(code), Buffer.alloc(24), int32(0));

// AMQP: frames of a channel.
const frame = (type, channel, ...parts) => join(type, short(channel), int32(join(...parts).length), ...parts, 0xce);
const greeting = Buffer.from("AMQP\0\0\u0009\u0001");
const publish = (channel, key) => join(frame(1, channel, short(60), short(40), short(0), 0, key.length, key, 0), frame(2, channel, short(60), short(0), int32(0), int32(1), short(0)), frame(3, channel, "x"));
const confirmSelect = frame(1, 1, short(85), short(10), 0);
const ack = (number, more, method = 80) => frame(1, 1, short(60), short(method), int32(0), int32(number), more);

/** What is sent (`>`) and received (`<`) in order; then each call as (name, text of the statement or collection, code of its error), as they end. */
const CASES = {
  "PostgreSQL: answers in the order of the statements": [
    [">", startUp, "<", pg("R", "\0\0\0\0"), pgReady, ">", pg("Q", "SELECT 1\0"), pg("Q", "DELETE x\0"), "<", pg("C", "SELECT 1\0"), pgReady, pgError, pgReady],
    [["connect shop", undefined], ["SELECT shop", "SELECT 1"], ["DELETE shop", "DELETE x", "42601"]],
  ],
  "PostgreSQL: several statements in one query are one call": [
    [">", startUp, "<", pgReady, ">", pg("Q", "UPDATE a; UPDATE b\0"), "<", pg("C", "UPDATE 1\0"), pg("C", "UPDATE 1\0"), pgReady],
    [["connect shop", undefined], ["UPDATE shop", "UPDATE a; UPDATE b"]],
  ],
  "PostgreSQL: what is queued before the server is ready": [
    [">", startUp, pg("Q", "SELECT 1\0"), "<", pgReady, ">", pg("Q", "SELECT 2\0"), "<", pg("C", "\0"), pgReady, pg("C", "\0"), pgReady],
    [["connect shop", undefined], ["SELECT shop", "SELECT 1"], ["SELECT shop", "SELECT 2"]],
  ],
  "PostgreSQL: after an error the rest of its round is skipped": [
    [">", startUp, "<", pgReady, ">", ...execute("SELECT 1"), ...execute("SELECT 2"), ...execute("SELECT 3"), pg("S"), ...execute("SELECT 4"), pg("S"), "<", pg("C", "\0"), pgError, pgReady, pg("C", "\0"), pgReady],
    [["connect shop", undefined], ["SELECT shop", "SELECT 1"], ["SELECT shop", "SELECT 2", "42601"], ["SELECT shop", "SELECT 3", "42601"], ["SELECT shop", "SELECT 4"]],
  ],
  "PostgreSQL: rows that are fetched in portions are one call": [
    [">", startUp, "<", pgReady, ">", ...execute("SELECT 1"), pg("H"), "<", pg("s"), ">", pg("E", "\0\0\0\0\0"), pg("S"), "<", pg("C", "\0"), pgReady, ">", pg("Q", "SELECT 2\0"), "<", pgReady],
    [["connect shop", undefined], ["SELECT shop", "SELECT 1"], ["SELECT shop", "SELECT 2"]],
  ],
  "PostgreSQL: a statement that fails when it is prepared": [
    [">", startUp, "<", pgReady, ">", pg("P", "n\0SELECT x\0\0\0"), pg("D", "Sn\0"), pg("S"), "<", pgError, pgReady],
    [["connect shop", undefined], ["SELECT shop", "SELECT x", "42601"]],
  ],
  "PostgreSQL: a server that has no TLS": [
    [">", [0, 0, 0, 8, 4, 210, 22, 47], "<", "N", ">", startUp, "<", pgReady, ">", pg("Q", "SELECT 1\0"), "<", pgReady],
    [["connect shop", undefined], ["SELECT shop", "SELECT 1"]],
  ],
  "MySQL: rows and what ends them": [
    [">", logIn(0), "<", ok(2), ">", query("SELECT 1"), "<", mysql(1, 2), column(2), column(3), eof(4), row(5), row(6), eof(7), ">", query("SELECT 2"), "<", mysql(1, 1), column(2), eof(3), mysqlError(4)],
    [["connect shop", undefined], ["SELECT shop", "SELECT 1"], ["SELECT shop", "SELECT 2", "1064"]],
  ],
  "MySQL: no packet between columns and rows": [
    [">", logIn(DEPRECATE_EOF), "<", ok(2), ">", query("SELECT 1"), "<", mysql(1, 1), column(2), row(3), mysql(4, [0xfe, 0, 0, 2, 0, 0, 0]), ">", query("SELECT 2"), "<", ok(1)],
    [["connect shop", undefined], ["SELECT shop", "SELECT 1"], ["SELECT shop", "SELECT 2"]],
  ],
  "MySQL: several results are one call": [
    [">", logIn(0), "<", ok(2), ">", query("CALL a"), "<", ok(1, 10), mysql(2, 1), column(3), eof(4), row(5), eof(6, 10), ok(7), ">", query("SELECT 2"), "<", ok(1)],
    [["connect shop", undefined], ["CALL shop", "CALL a"], ["SELECT shop", "SELECT 2"]],
  ],
  "MySQL: a file that the server asks for": [
    [">", logIn(0), "<", ok(2), ">", query("LOAD DATA"), "<", mysql(1, 0xfb, "file"), ">", mysql(2, "data"), mysql(3), "<", ok(4), ">", query("SELECT 2"), "<", ok(1)],
    [["connect shop", undefined], ["LOAD shop", "LOAD DATA"], ["SELECT shop", "SELECT 2"]],
  ],
  "MySQL: a row that takes two packets": [
    [">", logIn(0), "<", ok(2), ">", query("SELECT 1"), "<", mysql(1, 1), column(2), eof(3), join([255, 255, 255, 4], Buffer.alloc(0xffffff, 1)), mysql(5, [0xfe, 1]), eof(6), ">", query("SELECT 2"), "<", ok(1)],
    [["connect shop", undefined], ["SELECT shop", "SELECT 1"], ["SELECT shop", "SELECT 2"]],
  ],
  "MySQL: prepared, executed with a cursor, fetched, closed": [
    [">", logIn(0), "<", ok(2), ">", mysql(0, 0x16, "SELECT ?"), "<", mysql(1, [0, 7, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0]), column(2), eof(3), column(4), eof(5), ">", mysql(0, 0x17, uint(7, 4), [1]), "<", mysql(1, 1), column(2), eof(3, 64), ">", mysql(0, 0x1c, uint(7, 4)), "<", row(1), eof(2), ">", mysql(0, 0x19, uint(7, 4)), query("SELECT 2"), "<", ok(1)],
    [["connect shop", undefined], ["SELECT shop", "SELECT ?"], ["SELECT shop", "SELECT 2"]],
  ],
  "MySQL: another database, another user": [
    [">", logIn(0), "<", ok(2), ">", mysql(0, 2, "other"), "<", ok(1), ">", query("SELECT 1"), "<", ok(1), ">", mysql(0, 0x11, "v\0\0third\0"), "<", mysql(1, 0xfe, "auth\0"), ">", mysql(2, "secret"), "<", ok(3), ">", query("SELECT 2"), "<", ok(1)],
    [["connect shop", undefined], ["SELECT other", "SELECT 1"], ["SELECT third", "SELECT 2"]],
  ],
  "MySQL: attributes before a statement": [
    [">", logIn(1 << 27), "<", ok(2), ">", mysql(0, [3, 0, 1], "SELECT 1"), "<", ok(1)],
    [["connect shop", undefined], ["SELECT shop", "SELECT 1"]],
  ],
  "PostgreSQL: a connection that is refused": [[">", startUp, "<", pg("R", "\0\0\0\u0003"), pgError], [["connect shop", undefined, "42601"]]],
  "MySQL: a connection that is refused": [[">", logIn(0), "<", mysqlError(2)], [["connect shop", undefined, "1064"]]],
  "MySQL: what is compressed is not read": [[">", logIn(1 << 5), "<", ok(2), ">", query("SELECT 1"), "<", ok(1)], []],
  "MongoDB: answers by their numbers": [
    [">", hello, "<", mongo(9, 1, [int("ok", 1)]), ">", command(2, "find", "a"), command(3, "find", "b"), "<", mongo(10, 3, [int("ok", 1)]), mongo(11, 2, [int("ok", 0), string("errmsg", "wrong"), int("code", 2)])],
    [["find b", "b"], ["find a", "a", "2"]],
  ],
  "MongoDB: nobody waits for an answer": [
    [">", hello, "<", mongo(9, 1, [int("ok", 1)]), ">", command(2, "insert", "a", 2), command(3, "find", "b"), "<", mongo(10, 3, [int("ok", 1)])],
    [["insert a", "a"], ["find b", "b"]],
  ],
  "MongoDB: documents before the command": [
    [">", hello, ">", command(2, "insert", "a", 0, join(1, uint(4 + 10 + document().length, 4), "documents\0", document())), "<", mongo(10, 2, [int("ok", 1)])],
    [["insert a", "a"]],
  ],
  "MongoDB: a message in pieces": [
    [">", hello, ">", command(2, "find", "a").subarray(0, 9), command(2, "find", "a").subarray(9, 30), command(2, "find", "a").subarray(30), "<", mongo(10, 2, [int("ok", 1)]).subarray(0, 20), mongo(10, 2, [int("ok", 1)]).subarray(20)],
    [["find a", "a"]],
  ],
  "Redis: answers of every kind": [
    [">", redis("HELLO", "3"), "<", "%1\r\n+server\r\n+redis\r\n", ">", ...["a", "b", "c", "d", "e"].map((key) => redis("GET", key)), "<", "$-1\r\n*2\r\n:1\r\n*1\r\n$3\r\na\r\n\r\n", "|1\r\n+k\r\n%1\r\n+a\r\n#t\r\n", "=8\r\ntxt:a\r\nb\r\n", ">2\r\n+invalidate\r\n*0\r\n", "!9\r\nERR wrong\r\n", "_\r\n"],
    [["GET", "GET a"], ["GET", "GET b"], ["GET", "GET c"], ["GET", "GET d", "ERR"], ["GET", "GET e"]],
  ],
  "Redis: commands and answers in pieces": [
    [">", redis("PING"), "<", "+PO", "NG\r", "\n", ">", "*3\r\n$3\r\nSET\r\n$1\r", "\nk\r\n$4", "\r\nsecr", "\r\n", "<", "$", "3\r\nab", "c\r", "\n"],
    [["PING", "PING"], ["SET", "SET k ?"]],
  ],
  "Kafka: answers by their numbers": [
    [">", versions, "<", kafka(int32(0), short(0), int32(0)), ">", produce(1, -1, "a", batch(1, record("k"))), produce(2, -1, "b", batch(1, record("l"))), "<", produced(2, "b", 0), produced(1, "a", 29)],
    [["send b", "b"], ["send a", "a", "29"]],
  ],
  "Kafka: nobody waits for an answer": [[">", versions, produce(1, 0, "a", batch(1, record("k")))], [["send a", "a"]]],
  "AMQP: without confirmations a message is sent when it is on its way": [[">", greeting, publish(1, "a"), publish(2, "b")], [["publish a", "a"], ["publish b", "b"]]],
  "AMQP: confirmations, one for several, and what is refused": [
    [">", greeting, confirmSelect, publish(1, "a"), publish(1, "b"), publish(1, "c"), publish(1, "d"), "<", ack(2, 1), ack(4, 0, 120), ack(3, 0)],
    [["publish a", "a"], ["publish b", "b"], ["publish d", "d", "nack"], ["publish c", "c"]],
  ],
  "AMQP: the broker closes a channel": [
    [">", greeting, confirmSelect, publish(1, "a"), "<", frame(1, 1, short(20), short(40), short(404), 5, "wrong", int32(0)), ">", frame(1, 1, short(20), short(10), 0), publish(1, "b")],
    [["publish a", "a", "404"], ["publish b", "b"]],
  ],
  "Redis: who listens is let go": [
    [">", redis("SUBSCRIBE", "news"), "<", "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n", ">", redis("PING"), "<", "+PONG\r\n"],
    [["SUBSCRIBE", "SUBSCRIBE news"]],
  ],
  "Redis: another database, nothing of a password": [
    [">", redis("AUTH", "secret"), redis("SELECT", "3"), redis("GET", "a"), "<", "+OK\r\n+OK\r\n$-1\r\n"],
    [["GET", "GET a"]],
  ],
};

class Socket {
  passed = { ">": [], "<": [] };
  write(data) {
    this.passed[">"].push(Buffer.from(data));
    return true;
  }
  push(data) {
    this.passed["<"].push(Buffer.from(data));
    return true;
  }
  _destroy(_, done) {
    done();
  }
}

function notes() {
  const ended = [];
  const recorder = {
    call: (name) => ({ name, attributes: {} }),
    announce: () => undefined,
    finish: (span, error) => ended.push([span, error]),
    held: () => undefined,
    run: (_, run) => run(),
  };
  const complaints = [];
  return { ended, complaints, agent: { recorder, root: {}, now: () => 0, disabled: () => false, complain: (_, message) => complaints.push(message) } };
}

/** Says it all; each message as it is, or in pieces of a few bytes. */
function play(script, size) {
  const { ended, complaints, agent } = notes();
  const socket = new Socket();
  let side = "";
  let opened = false;
  for (const said of script) {
    if (said === ">" || said === "<") {
      side = said;
      continue;
    }
    const data = Buffer.from(said);
    // First words come in one piece.
    const step = opened ? size : data.length;
    for (let at = 0; at < data.length; at += step) {
      const piece = data.subarray(at, at + step);
      if (!opened) open(agent, socket, { host: "db", port: 5432 }, [piece]);
      else if (side === ">") socket.write(piece);
      else socket.push(piece);
      opened = true;
    }
  }
  return { ended, complaints, socket };
}

for (const [name, [script, expected]] of Object.entries(CASES))
  for (const size of [Infinity, 7])
    test(`${name}${size === 7 ? ", in small pieces" : ""}`, { skip: size === 7 && name.includes("two packets") }, () => {
      const { ended, complaints, socket } = play(script, size);
      const calls = ended.map(([span, error]) => {
        const { attributes } = span;
        assert.equal(attributes["server.address"], "db");
        assert.match(error?.message ?? "wrong", /wrong|with error 29|did not take/);
        return [span.name, attributes["db.query.text"] ?? attributes["db.collection.name"] ?? attributes["messaging.destination.name"], ...(error === undefined ? [] : [error.name])];
      });
      assert.deepEqual(calls, expected);
      assert.deepEqual(complaints, []);
      // Everything but the first words has gone through here.
      const all = { ">": [], "<": [] };
      let side;
      for (const said of script) side = said === ">" || said === "<" ? said : (all[side].push(Buffer.from(said)), side);
      all[">"].shift();
      for (const direction of [">", "<"]) assert.ok(Buffer.concat(all[direction]).equals(Buffer.concat(socket.passed[direction])));
      socket._destroy(null, () => undefined);
      assert.equal(ended.length, expected.length);
    });
