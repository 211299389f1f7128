// A reader of frames in the extension's place, with a pipe for each process that claims one.

import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import net from "node:net";
import { span } from "./otlp.mjs";

export const Frame = { hello: 1, invoke: 2, start: 3, end: 4, done: 5 };

export class Frames {
  all = [];
  closed = 0;
  claims = 0;
  #waiting = [];
  #sockets = [];
  #stopped = false;

  constructor(path) {
    this.path = path;
    this.#lay();
  }

  #lay() {
    // Open before it can be claimed.
    const laid = `${this.path}.next`;
    execFileSync("mkfifo", ["-m", "600", laid]);
    const fd = fs.openSync(laid, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
    fs.renameSync(laid, this.path);
    const socket = new net.Socket({ fd, readable: true, writable: false });
    this.#sockets.push(socket);
    const connection = this.#sockets.length;
    let data = Buffer.alloc(0);
    socket.on("data", (chunk) => {
      if (data !== undefined && socket.claimed === undefined) {
        socket.claimed = true;
        this.claims++;
        this.#lay();
      }
      data = Buffer.concat([data, chunk]);
      while (data.length >= 5 && data.length >= 5 + data.readUInt32LE(1)) {
        const length = data.readUInt32LE(1);
        this.#received(connection, data[0], data.subarray(5, 5 + length));
        data = data.subarray(5 + length);
      }
    });
    socket.on("close", () => {
      if (socket.claimed && !this.#stopped) this.closed++;
      this.#tell();
    });
    socket.on("error", () => undefined);
  }

  #received(connection, kind, payload) {
    this.all.push({ connection, kind, payload: Buffer.from(payload) });
    this.#tell();
  }

  #tell() {
    for (const check of [...this.#waiting]) check();
  }

  /** Resolves when the condition holds. */
  async until(condition, what) {
    if (condition()) return;
    await new Promise((resolve, reject) => {
      const limit = setTimeout(() => {
        reject(new Error(`${what} did not come; frames: ${this.all.map((frame) => frame.kind).join(" ")}`));
      }, 10_000);
      const check = () => {
        if (!condition()) return;
        clearTimeout(limit);
        this.#waiting = this.#waiting.filter((other) => other !== check);
        resolve();
      };
      this.#waiting.push(check);
    });
  }

  of(kind) {
    return this.all.filter((frame) => frame.kind === kind).map((frame) => frame.payload);
  }

  async done(count) {
    await this.until(() => this.of(Frame.done).length >= count, `done frame ${count}`);
  }

  get hello() {
    return JSON.parse(this.of(Frame.hello)[0].toString());
  }

  get started() {
    return this.of(Frame.start).map(span);
  }

  get ended() {
    return this.of(Frame.end).map(span);
  }

  /** The one complete span of that name. */
  named(name) {
    const found = this.ended.filter((candidate) => candidate.name === name);
    if (found.length !== 1)
      throw new Error(`${found.length} spans ${name} in ${this.ended.map((candidate) => candidate.name).join(", ")}`);
    return found[0];
  }

  stop() {
    this.#stopped = true;
    for (const socket of this.#sockets) socket.destroy();
    fs.rmSync(this.path, { force: true });
  }
}
