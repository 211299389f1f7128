// A function as Lambda would run it: a Runtime API, the runtime client, the layer, and a reader of frames.

import { execFileSync, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import * as fs from "node:fs";
import http from "node:http";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { bound } from "./bound.mjs";
import { Frames } from "./frames.mjs";

const here = path.dirname(fileURLToPath(import.meta.url));

/** Folder with node_modules, that `layer-build/tools.sh node-test` prints. */
export const tools = process.env.OTEL_XRAY_NODE_TEST;
export const modules = path.join(tools, "node_modules");
/** The same of `layer-build/tools.sh node-beside`: published versions of the OpenTelemetry API, and what runs beside the agent. */
export const beside = path.join(process.env.OTEL_XRAY_NODE_BESIDE ?? "", "node_modules");
const agent = process.env.OTEL_XRAY_NODE_AGENT;

/** The Node.js that functions run on. The tests themselves run on one that can listen on abstract sockets. */
export const node = process.env.OTEL_XRAY_NODE;
export const version = execFileSync(node, ["--version"], { encoding: "utf8" }).trim().slice(1);
export const major = Number(version.split(".")[0]);

export const TRACE = "5759e988bd862e3fe1be46a994272793";
export const PARENT = "53995c3f42cd8ad8";
export const HEADER = `Root=1-${TRACE.slice(0, 8)}-${TRACE.slice(8)};Parent=${PARENT};Sampled=1`;
export const ARN = "arn:aws:lambda:eu-west-1:123456789012:function:shop";

/** Runtime clients of two generations with their native module, and a stand-in that speaks HTTP in the ways of custom ones. */
export const RUNTIMES = {
  native: path.join(modules, "aws-lambda-ric", "index.mjs"),
  native3: path.join(modules, "aws-lambda-ric3", "bin", "index.mjs"),
  http: path.join(here, "runtime.mjs"),
  fetch: path.join(here, "runtime.mjs"),
  socket: path.join(here, "runtime.mjs"),
};

class RuntimeApi {
  /** Events are sent chunked, in pieces of one byte. */
  inPieces = false;
  #events = [];
  #asking = [];
  #answers = [];
  #listening = [];

  handle(request, response) {
    const pieces = [];
    request.on("data", (piece) => pieces.push(piece));
    request.on("end", () => {
      const where = request.url.replace("/2018-06-01/runtime/", "");
      if (where === "invocation/next") {
        this.#asking.push(response);
        this.#give();
        return;
      }
      const body = Buffer.concat(pieces).toString();
      response.writeHead(202, { "content-type": "application/json" }).end('{"status":"OK"}');
      const answer = { kind: where.split("/").pop(), body, trailers: request.trailers, headers: request.headers };
      const waiting = this.#listening.shift();
      if (waiting === undefined) this.#answers.push(answer);
      else waiting(answer);
    });
  }

  #give() {
    if (this.#events.length === 0 || this.#asking.length === 0) return;
    const { requestId, body, header } = this.#events.shift();
    const response = this.#asking.shift();
    const headers = {
      "Lambda-Runtime-Aws-Request-Id": requestId,
      "Lambda-Runtime-Deadline-Ms": String(Date.now() + 60_000),
      "Lambda-Runtime-Invoked-Function-Arn": ARN,
      "Content-Type": "application/json",
    };
    if (header !== null) headers["Lambda-Runtime-Trace-Id"] = header;
    response.writeHead(200, headers);
    for (const byte of this.inPieces ? Buffer.from(body) : []) response.write(Buffer.of(byte));
    response.end(this.inPieces ? undefined : body);
  }

  put(event) {
    this.#events.push(event);
    this.#give();
  }

  answer() {
    const known = this.#answers.shift();
    if (known !== undefined) return Promise.resolve(known);
    return new Promise((resolve, reject) => {
      const limit = bound(() => reject(new Error("no answer came")));
      this.#listening.push((answer) => {
        clearTimeout(limit);
        resolve(answer);
      });
    });
  }
}

/** The newest runtime client with its native module in a file of another name. */
function renamedClient(folder) {
  const original = path.join(modules, "aws-lambda-ric");
  fs.mkdirSync(folder);
  fs.writeFileSync(path.join(folder, "index.mjs"), fs.readFileSync(RUNTIMES.native, "utf8").replaceAll("rapid-client.node", "client.node"));
  fs.copyFileSync(path.join(original, "rapid-client.node"), path.join(folder, "client.node"));
  return path.join(folder, "index.mjs");
}

/** Listens on a free port; returns the address and what closes it. */
export async function listen(handle) {
  const server = http.createServer(handle);
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { address: `127.0.0.1:${server.address().port}`, server, close: () => (server.closeAllConnections?.(), server.close()) };
}

/**
 * Starts a function from its sources, gives it to `use`, and ends it.
 *
 * `layer: false` runs it as without the layer, `runtime` is a key of RUNTIMES, `packages` a folder of packages, or false for none.
 */
export async function withFunction(sources, options, use) {
  const { layer = true, listening = true, runtime = "native", handler = "app.handler", variables = {}, packages = modules } = options;
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "otel-xray-node-"));
  const task = path.join(folder, "task");
  const opt = path.join(folder, "opt");
  for (const [name, content] of Object.entries(typeof sources === "string" ? { "app.js": sources } : sources)) {
    fs.mkdirSync(path.dirname(path.join(task, name)), { recursive: true });
    fs.writeFileSync(path.join(task, name), content);
  }
  if (packages) fs.symlinkSync(packages === true ? modules : packages, path.join(task, "node_modules"));
  fs.mkdirSync(path.join(opt, "otel-xray"), { recursive: true });
  fs.cpSync(agent, path.join(opt, "otel-xray", "nodejs"), { recursive: true });
  fs.copyFileSync(process.env.OTEL_XRAY_LAUNCHER, path.join(opt, "otel-instrument"));
  const name = `otel-xray-test-${randomUUID()}`;
  const frames = listening ? await new Frames().listen(name) : undefined;
  const api = new RuntimeApi();
  api.inPieces = options.inPieces ?? false;
  const { address, close } = await listen((request, response) => api.handle(request, response));
  const environment = {
    PATH: process.env.PATH,
    AWS_LAMBDA_RUNTIME_API: address,
    AWS_LAMBDA_FUNCTION_NAME: "shop",
    AWS_LAMBDA_FUNCTION_VERSION: "7",
    AWS_LAMBDA_FUNCTION_MEMORY_SIZE: "512",
    AWS_REGION: "eu-west-1",
    AWS_ACCESS_KEY_ID: "AKIDEXAMPLE",
    AWS_SECRET_ACCESS_KEY: "secret",
    AWS_EXECUTION_ENV: `AWS_Lambda_nodejs${major}.x`,
    AWS_LAMBDA_LOG_GROUP_NAME: "/aws/lambda/shop",
    AWS_LAMBDA_LOG_STREAM_NAME: "2026/01/01/[7]abc",
    LAMBDA_TASK_ROOT: task,
    _HANDLER: handler,
    OTEL_XRAY_AGENT_SOCKET: name,
    // What is decided here otherwise, sampling.test.mjs tests.
    OTEL_XRAY_SAMPLING: "respect",
    ...variables,
  };
  const client = runtime === "renamed" ? renamedClient(path.join(folder, "client")) : RUNTIMES[runtime];
  const command = [node, ...(options.nodeArguments ?? []), client, handler, runtime];
  if (layer) command.unshift(path.join(opt, "otel-instrument"));
  const child = spawn(command[0], command.slice(1), { cwd: task, env: environment, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  child.stdout.on("data", (piece) => (output += piece));
  child.stderr.on("data", (piece) => (output += piece));
  const exited = new Promise((resolve) => child.on("exit", (code, signal) => resolve({ code, signal })));
  const run = {
    frames,
    task,
    exited,
    child,
    output: () => output,
    /** Of the last event. */
    requestId: undefined,
    put(event, header = HEADER) {
      run.requestId = randomUUID();
      api.put({ requestId: run.requestId, body: JSON.stringify(event) ?? "null", header });
    },
    answer: () => api.answer(),
    async invoke(event = null, header = HEADER) {
      run.put(event, header);
      return api.answer();
    },
  };
  try {
    return await use(run);
  } catch (error) {
    error.message += `\noutput of the function:\n${output}`;
    throw error;
  } finally {
    child.kill("SIGKILL");
    await exited;
    frames?.stop();
    close();
    fs.rmSync(folder, { recursive: true, force: true });
  }
}
