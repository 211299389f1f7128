// A reader of frames in the extension's place.

import net from "node:net";
import { bound } from "./bound.mjs";
import { span } from "./otlp.mjs";

export const Frame = { hello: 1, invoke: 2, start: 3, end: 4, done: 5, answered: 6 };

export class Frames {
  all = [];
  connections = 0;
  closed = 0;
  #waiting = [];
  #sockets = new Set();
  #server = net.createServer((socket) => this.#accept(socket));
  #isReading = true;
  #pieces = 0;

  /** Listens on the abstract socket of that name. */
  async listen(name) {
    await new Promise((resolve, reject) => this.#server.on("error", reject).listen(`\0${name}`, resolve));
    return this;
  }

  #accept(socket) {
    const connection = ++this.connections;
    this.#sockets.add(socket);
    let data = Buffer.alloc(0);
    socket.on("data", (chunk) => {
      this.#pieces++;
      data = Buffer.concat([data, chunk]);
      while (data.length >= 5 && data.length >= 5 + data.readUInt32LE(1)) {
        const length = data.readUInt32LE(1);
        this.#received(connection, data[0], data.subarray(5, 5 + length));
        data = data.subarray(5 + length);
      }
    });
    socket.on("close", () => {
      if (this.#sockets.delete(socket)) this.closed++;
      this.#tell();
    });
    socket.on("error", () => undefined);
    if (!this.#isReading) socket.pause();
    this.#tell();
  }

  /** Takes nothing more, until `read`. What is on its way stays there. */
  stall() {
    this.#isReading = false;
    for (const socket of this.#sockets) socket.pause();
  }

  read() {
    this.#isReading = true;
    for (const socket of this.#sockets) socket.resume();
  }

  /** Resolves when what had been written before is read: two turns of the event loop bring nothing. */
  async drained() {
    for (let quiet = 0, before = -1; quiet < 2; before = this.#pieces) {
      await new Promise((resolve) => setImmediate(resolve));
      quiet = this.#pieces === before ? quiet + 1 : 0;
    }
  }

  /** The connections are lost, and new ones are taken. */
  drop() {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** As when the extension has died. */
  die() {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
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
      const limit = bound(() => {
        reject(new Error(`${what} did not come; frames: ${this.all.map((frame) => frame.kind).join(" ")}`));
      });
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

  /** Of each call whose answer is read or not, in the order of the frames: its id, whether it is only answered, its status. */
  get answered() {
    return this.of(Frame.answered).map((payload) => ({
      spanId: payload.toString("hex", 16, 24),
      isAnswered: payload.readBigUInt64LE(24) > 0n,
      status: payload.readUInt16LE(32),
    }));
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
    this.#server.close();
    const left = [...this.#sockets];
    this.#sockets.clear();
    for (const socket of left) socket.destroy();
  }
}
