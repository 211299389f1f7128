// Stands in for the managed Node.js runtime where none is named: finds the handler by its rules, reports its errors in
// its words, and answers in its ways. The Runtime API is reached by node:http, without a native module.

import { existsSync, readFileSync } from "node:fs";
import http from "node:http";
import { createRequire } from "node:module";
import path from "node:path";
import { Writable } from "node:stream";

const BASE = "/2018-06-01/runtime";
const STREAMING = Symbol.for("aws.lambda.runtime.handler.streaming");
const { AWS_LAMBDA_RUNTIME_API: api, LAMBDA_TASK_ROOT: taskRoot, _HANDLER: handlerName } = process.env;
const concurrency = Number(process.env.AWS_LAMBDA_MAX_CONCURRENCY ?? 1);
const agent = new http.Agent({ keepAlive: true, maxSockets: 2 * concurrency });
const require = createRequire(path.join(taskRoot, "runtime.js"));
/** From this version on, the managed runtime imports CommonJS modules too. */
const importsAll = Number(process.versions.node.split(".")[0]) >= 24;

class RuntimeError extends Error {
  constructor(name, message, stack) {
    super(message);
    this.name = `Runtime.${name}`;
    if (stack !== undefined) this.stack = stack;
  }
}

function request(method, where, headers, answered, failed) {
  const [hostname, port] = api.split(":");
  return http
    .request({ hostname, port, method, path: BASE + where, agent, headers }, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (piece) => (body += piece));
      response.on("end", () => answered({ headers: response.headers, body }));
    })
    .on("error", failed);
}

const call = (method, where, body, headers = {}) =>
  new Promise((resolve, reject) => request(method, where, headers, resolve, reject).end(body));

function reportOf(error) {
  if (!(error instanceof Error)) return { errorType: typeof error, errorMessage: String(error), trace: [] };
  return { errorType: error.name, errorMessage: error.message, trace: String(error.stack ?? "").split("\n") };
}

/** The same as X-Ray shows it. */
function causeOf(error) {
  const { errorType, errorMessage, trace } = reportOf(error);
  const frames = trace.map((line) => /^\s+at (?:(.*) \()?(?:file:\/\/)?(.+?):(\d+):\d+\)?$/.exec(line)).filter((frame) => frame !== null);
  const stack = frames.map(([, label, file, line]) => ({ path: file, line: Number(line), label: label ?? "anonymous" }));
  const paths = [...new Set(stack.map((frame) => frame.path))];
  return JSON.stringify({ working_directory: process.cwd(), exceptions: [{ type: errorType, message: errorMessage, stack }], paths });
}

/** A header has no room for other letters, nor for much of a cause. */
function headersOf(error) {
  const cause = causeOf(error).replace(/[^\x20-\x7e]/g, "?");
  const fits = cause.length < 65_536;
  return { "Lambda-Runtime-Function-Error-Type": reportOf(error).errorType, ...(fits && { "Lambda-Runtime-Function-XRay-Error-Cause": cause }) };
}

function postError(where, title, error) {
  const report = reportOf(error);
  console.error(`${title} \t${JSON.stringify({ ...report, trace: undefined, stack: report.trace })}`);
  return call("POST", where, JSON.stringify(report), headersOf(error));
}

/** Whether Node.js takes the folder's `.js` files for ES modules. */
function holdsEsModules(folder) {
  const file = path.join(folder, "package.json");
  if (existsSync(file)) {
    try {
      return JSON.parse(readFileSync(file)).type === "module";
    } catch {
      return false;
    }
  }
  return folder !== path.dirname(folder) && holdsEsModules(path.dirname(folder));
}

async function moduleOf(file, folder, name) {
  const js = `${file}.js`;
  if (importsAll) {
    for (const extension of ["", ".js", ".mjs", ".cjs"]) if (existsSync(file + extension)) return import(file + extension);
  } else {
    if (existsSync(file)) return require(file);
    if (existsSync(js)) return holdsEsModules(path.dirname(js)) ? import(js) : require(js);
    if (existsSync(`${file}.mjs`)) return import(`${file}.mjs`);
    if (existsSync(`${file}.cjs`)) return require(`${file}.cjs`);
  }
  return require(require.resolve(name, { paths: [taskRoot, folder] }));
}

const pick = (object, names) => names.reduce((found, name) => found?.[name], object);

/** `some/folder/file.a.b`: the file ends at the first dot of the last part, and names follow. */
async function load() {
  if (handlerName.includes(".."))
    throw new RuntimeError("MalformedHandlerName", `'${handlerName}' is not a valid handler name. Use absolute paths when specifying root directories in handler names.`);
  const last = path.basename(handlerName);
  const dot = last.indexOf(".");
  if (dot < 0) throw new RuntimeError("MalformedHandlerName", "Bad handler");
  const folder = path.resolve(taskRoot, handlerName.slice(0, handlerName.length - last.length));
  const [name, names] = [last.slice(0, dot), last.slice(dot + 1).split(".")];
  let exports;
  try {
    exports = await moduleOf(path.join(folder, name), folder, name);
  } catch (error) {
    if (error instanceof SyntaxError) throw new RuntimeError("UserCodeSyntaxError", String(error), error.stack);
    if (error?.code === "MODULE_NOT_FOUND") throw new RuntimeError("ImportModuleError", String(error));
    throw error;
  }
  const handler = pick(exports, names) ?? pick(exports?.default, names);
  if (!handler) throw new RuntimeError("HandlerNotFound", `${handlerName} is undefined or not exported`);
  if (typeof handler !== "function") throw new RuntimeError("HandlerNotFound", `${handlerName} is not a function`);
  return handler;
}

function contextOf(headers, id) {
  const json = (text) => (text === undefined ? undefined : JSON.parse(text));
  return {
    callbackWaitsForEmptyEventLoop: true,
    functionName: process.env.AWS_LAMBDA_FUNCTION_NAME,
    functionVersion: process.env.AWS_LAMBDA_FUNCTION_VERSION,
    memoryLimitInMB: process.env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: process.env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: process.env.AWS_LAMBDA_LOG_STREAM_NAME,
    awsRequestId: id,
    invokedFunctionArn: headers["lambda-runtime-invoked-function-arn"],
    clientContext: json(headers["lambda-runtime-client-context"]),
    identity: json(headers["lambda-runtime-cognito-identity"]),
    getRemainingTimeInMillis: () => Number(headers["lambda-runtime-deadline-ms"]) - Date.now(),
  };
}

/**
 * The answer of a handler that promises it or hands it to a callback; without either it is null, when nothing is left to
 * wait for. From version 24 on there is no callback, and what a handler returns is the answer.
 */
function answerOf(handler, event, context) {
  let nothingLeft;
  const answer = new Promise((resolve, reject) => {
    nothingLeft = () => resolve(null);
    if (!importsAll) process.once("beforeExit", nothingLeft);
    const callback = (error, value) => (error ? reject(error) : resolve(value));
    const returned = handler(event, context, importsAll ? undefined : callback);
    if (typeof returned?.then === "function") returned.then(resolve, reject);
    else if (importsAll) resolve(returned);
  });
  return answer.finally(() => process.off("beforeExit", nothingLeft));
}

async function stream(where, handler, event, context) {
  let open;
  const sent = new Promise((resolve, reject) => {
    const headers = {
      "Content-Type": "application/octet-stream",
      "Lambda-Runtime-Function-Response-Mode": "streaming",
      Trailer: "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body",
    };
    open = request("POST", `${where}/response`, headers, resolve, reject);
  });
  const output = new Writable({ write: (data, encoding, done) => open.write(data, encoding, done), final: (done) => open.end(done) });
  output.setContentType = (type) => open.setHeader("Content-Type", type);
  try {
    await handler(event, output, context);
  } catch (error) {
    const body = Buffer.from(JSON.stringify(reportOf(error))).toString("base64");
    open.addTrailers({ "Lambda-Runtime-Function-Error-Type": reportOf(error).errorType, "Lambda-Runtime-Function-Error-Body": body });
    output.end();
  }
  await sent;
}

/** The invocation that a process which ends, or an error that nobody catches, belongs to. */
let current;

async function work(handler) {
  for (;;) {
    const { headers, body } = await call("GET", "/invocation/next");
    const id = headers["lambda-runtime-aws-request-id"];
    const where = `/invocation/${id}`;
    current = where;
    if (headers["lambda-runtime-trace-id"] === undefined) delete process.env._X_AMZN_TRACE_ID;
    else process.env._X_AMZN_TRACE_ID = headers["lambda-runtime-trace-id"];
    try {
      const [event, context] = [JSON.parse(body), contextOf(headers, id)];
      if (handler[STREAMING]) {
        await stream(where, handler, event, context);
        continue;
      }
      const answer = (await answerOf(handler, event, context)) ?? null;
      await call("POST", `${where}/response`, JSON.stringify(answer), { "Content-Type": "application/json" });
    } catch (error) {
      await postError(`${where}/error`, "Invoke Error", error);
    }
    current = undefined;
  }
}

async function giveUp(title, error) {
  await postError(current === undefined ? "/init/error" : `${current}/error`, title, error);
  process.exit(129);
}

globalThis.awslambda = {
  streamifyResponse: (handler) => Object.assign(handler, { [STREAMING]: "response" }),
  HttpResponseStream: {
    from(output, prelude) {
      output.setContentType("application/vnd.awslambda.http-integration-response");
      output.write(JSON.stringify(prelude));
      output.write(new Uint8Array(8));
      return output;
    },
  },
};
process.on("uncaughtException", (error) => giveUp("Uncaught Exception", error));
process.on("unhandledRejection", (reason) => {
  const error = new RuntimeError("UnhandledPromiseRejection", String(reason), reason?.stack);
  return giveUp("Unhandled Promise Rejection", error);
});

let handler;
try {
  handler = await load();
} catch (error) {
  await postError("/init/error", "Init Error", error);
  process.exit(1);
}
for (let worker = 0; worker < concurrency; worker++) work(handler);
