// A stand-in for the managed runtime: its rules for finding the handler, its ways of answering, and, for what the runtime client
// does in its native module, what custom ones do: plain HTTP by node:http, by fetch, or by a socket of its own.

import { createRequire } from "node:module";
import fs from "node:fs";
import path from "node:path";
import { transports } from "./transports.mjs";

const require = createRequire(import.meta.url);
const concurrency = Number(process.env.AWS_LAMBDA_MAX_CONCURRENCY ?? 1);
const { call, open } = await transports[process.argv[3] ?? "http"](process.env.AWS_LAMBDA_RUNTIME_API, 2 * concurrency);
const STREAMING = Symbol.for("aws.lambda.runtime.handler.streaming");

const report = (error) =>
  error instanceof Error
    ? { errorType: error.name, errorMessage: error.message, trace: error.stack.split("\n") }
    : { errorType: typeof error, errorMessage: String(error), trace: [] };

function postError(where, error) {
  const reported = report(error);
  return call("POST", where, JSON.stringify(reported), { "Lambda-Runtime-Function-Error-Type": reported.errorType });
}

function moduleType(folder) {
  const file = path.join(folder, "package.json");
  if (fs.existsSync(file)) return JSON.parse(fs.readFileSync(file)).type;
  return folder === "/" ? undefined : moduleType(path.dirname(folder));
}

/** `some/folder/file.a.b`: the file ends at the first dot of the last part, and names follow. */
async function load(taskRoot, name) {
  const last = path.basename(name);
  const dot = last.indexOf(".");
  const file = path.resolve(taskRoot, name.slice(0, name.length - last.length), last.slice(0, dot));
  // From version 24 on, the runtime imports CommonJS too.
  const importsAll = Number(process.versions.node.split(".")[0]) >= 24;
  const imported = async (extension) => {
    const found = await import(file + extension);
    return found.default !== undefined && last.slice(dot + 1).split(".")[0] in Object(found.default) ? found.default : found;
  };
  let exports;
  if (fs.existsSync(`${file}.js`) && moduleType(path.dirname(file)) !== "module" && !importsAll) exports = require(`${file}.js`);
  else if (fs.existsSync(`${file}.js`)) exports = await imported(".js");
  else if (fs.existsSync(`${file}.mjs`)) exports = await imported(".mjs");
  else exports = require(`${file}.cjs`);
  const handler = last.slice(dot + 1).split(".").reduce((object, key) => object?.[key], exports);
  if (typeof handler !== "function") throw new Error(`${name} is undefined or not exported`);
  return handler;
}

async function stream(requestId, handler, event) {
  const { request, sent } = open(`/invocation/${requestId}/response`, {
    "Lambda-Runtime-Function-Response-Mode": "streaming",
    Trailer: "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body",
  });
  const handled = handler(event, request, { awsRequestId: requestId }).catch((error) => {
    const body = Buffer.from(JSON.stringify(report(error))).toString("base64");
    request.addTrailers({ "Lambda-Runtime-Function-Error-Type": "Error", "Lambda-Runtime-Function-Error-Body": body });
    request.end();
  });
  await handled;
  await sent;
}

globalThis.awslambda = { streamifyResponse: (handler) => Object.assign(handler, { [STREAMING]: true }) };
let current;
process.on("uncaughtException", async (error) => {
  await postError(current === undefined ? "/init/error" : `/invocation/${current}/error`, error);
  process.exit(129);
});

let handler;
try {
  handler = await load(process.env.LAMBDA_TASK_ROOT, process.env._HANDLER);
} catch (error) {
  await postError("/init/error", error);
  process.exit(1);
}
async function work() {
  for (;;) {
    const { headers, data } = await call("GET", "/invocation/next");
    const id = (current = headers["lambda-runtime-aws-request-id"]);
    process.env._X_AMZN_TRACE_ID = headers["lambda-runtime-trace-id"] ?? "";
    const event = JSON.parse(data);
    if (handler[STREAMING]) {
      await stream(id, handler, event);
      continue;
    }
    try {
      const result = await new Promise((resolve, reject) => {
        const callback = (error, value) => (error ? reject(error) : resolve(value));
        const returned = handler(event, { awsRequestId: id }, callback);
        if (typeof returned?.then === "function") returned.then(resolve, reject);
      });
      await call("POST", `/invocation/${id}/response`, JSON.stringify(result ?? null));
    } catch (error) {
      await postError(`/invocation/${id}/error`, error);
    }
  }
}

for (let worker = 0; worker < concurrency; worker++) work();
