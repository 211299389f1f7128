// One function process under the real runtime client, fed one event after another, and what the kernel says of it.

import { spawn } from "node:child_process";
import fs from "node:fs";
import http from "node:http";

const EVENT = {
  "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-west-1:123456789012:function:bench",
  "Content-Type": "application/json",
  "Lambda-Runtime-Trace-Id": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
};

export class FunctionProcess {
  #server;
  #asked;
  #waiting;
  #died;
  #count = 0;

  /** Starts `command` in the folder `task`; `first()` says when it has asked for its first event. */
  async start(command, task, environment) {
    this.#server = http.createServer((request, response) => {
      request.resume().on("end", () => {
        if (!request.url.endsWith("/next")) {
          response.writeHead(202).end("{}");
          return;
        }
        this.#asked = response;
        this.#waiting?.();
      });
    });
    await new Promise((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    const first = this.#turn();
    this.child = spawn(command[0], command.slice(1), {
      cwd: task,
      stdio: ["ignore", "pipe", "pipe"],
      env: {
        PATH: process.env.PATH,
        AWS_LAMBDA_RUNTIME_API: `127.0.0.1:${this.#server.address().port}`,
        AWS_LAMBDA_FUNCTION_NAME: "bench",
        AWS_LAMBDA_FUNCTION_VERSION: "1",
        AWS_LAMBDA_FUNCTION_MEMORY_SIZE: "512",
        AWS_LAMBDA_LOG_GROUP_NAME: "g",
        AWS_LAMBDA_LOG_STREAM_NAME: "s",
        AWS_REGION: "eu-west-1",
        AWS_ACCESS_KEY_ID: "a",
        AWS_SECRET_ACCESS_KEY: "b",
        LAMBDA_TASK_ROOT: task,
        _HANDLER: "app.handler",
        ...environment,
      },
    });
    this.output = "";
    for (const stream of [this.child.stdout, this.child.stderr]) stream.on("data", (piece) => (this.output += piece));
    this.#died = new Promise((_, reject) => {
      this.child.on("exit", (code, signal) => reject(new Error(`it ended (${code ?? signal}): ${this.output}`)));
      this.child.on("error", reject);
    });
    this.#died.catch(() => undefined);
    await Promise.race([first, this.#died]);
  }

  #turn() {
    return new Promise((resolve) => (this.#waiting = resolve));
  }

  /** One invocation: over when the runtime client asks for the next event. */
  async invoke() {
    const again = this.#turn();
    const own = { "Lambda-Runtime-Aws-Request-Id": `id-${this.#count++}`, "Lambda-Runtime-Deadline-Ms": String(Date.now() + 60_000) };
    this.#asked.writeHead(200, { ...EVENT, ...own }).end("{}");
    await Promise.race([again, this.#died]);
  }

  /** CPU of all threads of the process so far, in ms. */
  get cpuMs() {
    const tasks = `/proc/${this.child.pid}/task`;
    const nanoseconds = fs.readdirSync(tasks).map((task) => Number(fs.readFileSync(`${tasks}/${task}/schedstat`, "utf8").split(" ")[0]));
    return nanoseconds.reduce((sum, one) => sum + one, 0) / 1e6;
  }

  #field(file, name) {
    return Number(new RegExp(`${name}:\\s+(\\d+)`).exec(fs.readFileSync(`/proc/${this.child.pid}/${file}`, "utf8"))[1]);
  }

  get rssMb() {
    return this.#field("status", "VmRSS") / 1024;
  }

  /** What the process has read so far, of files and sockets, in kB. */
  get readKb() {
    return this.#field("io", "rchar") / 1024;
  }

  stop() {
    this.child?.kill("SIGKILL");
    this.#server.closeAllConnections();
    this.#server.close();
  }
}
