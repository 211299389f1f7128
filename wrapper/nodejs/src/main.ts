/** What the wrapper preloads: starts the agent, and leaves no sign of itself. */

import type { Agent } from "./agent";
import { watchChannels } from "./channels";
import { chunk } from "./chunks";
import { watchConnections } from "./connections";
import { offerOtelApi } from "./otel_global";
import { Invocation } from "./invocation";
import { instrumentations } from "./instrumentations";
import { isOwn, watchModules, watchPackage } from "./modules";
import { watchNativeClient } from "./native_client";
import { watchHttp, watchTraced, watchUndici } from "./outgoing";
import { Recorder } from "./recorder";
import { Sampler } from "./sampler";
import { complain, Wire } from "./wire";

declare const AGENT_VERSION: string;

const HELLO_VARIABLES = [
  "_HANDLER",
  "AWS_EXECUTION_ENV",
  "AWS_LAMBDA_LOG_GROUP_NAME",
  "AWS_LAMBDA_LOG_STREAM_NAME",
  "LAMBDA_TASK_ROOT",
  "AWS_XRAY_DAEMON_ADDRESS",
  "_AWS_XRAY_DAEMON_ADDRESS",
  "_AWS_XRAY_DAEMON_PORT",
];

/** Processes that the function forks inherit these arguments, and are not the function. */
function leaveArguments(): void {
  const index = process.execArgv.indexOf(__filename);
  if (index > 0 && process.execArgv[index - 1] === "--require") process.execArgv.splice(index - 1, 2);
}

function start(environ: NodeJS.ProcessEnv): void {
  const env: NodeJS.ProcessEnv = {};
  for (const name of HELLO_VARIABLES) env[name] = environ[name];
  const hello = {
    agent: "otel-xray-nodejs",
    agent_version: AGENT_VERSION,
    runtime: "nodejs",
    runtime_version: process.versions.node,
    pid: process.pid,
    env,
  };
  const wire = new Wire(`/tmp/.${environ.OTEL_XRAY_AGENT_SOCKET || "otel-xray"}`, JSON.stringify(hello));
  const chosen = instrumentations(environ);
  const agent: Agent = {
    recorder: new Recorder(wire, new Sampler(environ)),
    runtimeApi: environ.AWS_LAMBDA_RUNTIME_API ?? "",
    disabled: chosen.disabled,
    complain,
  };
  const invocation = new Invocation(agent, environ);
  // During init, so that the extension knows before the first invocation that a done frame will come.
  if (isManaged) chunk("managed").share(agent, invocation);
  else wire.connect();
  // Where several run at once, a socket's bytes do not tell whose they are.
  const found = watchConnections(agent, isManaged ? undefined : invocation);
  watchNativeClient(agent, invocation, found);
  watchHttp(agent, invocation, found);
  watchUndici(agent);
  watchTraced(agent);
  watchChannels(environ.NODE_OPTIONS !== undefined);
  watchModules(agent);
  if (!agent.disabled("opentelemetry")) offerOtelApi(agent);
  if (!agent.disabled("console")) chunk("log_ids").patchConsole(agent, environ.AWS_LAMBDA_LOG_FORMAT === "JSON");
  const others = chosen.named.filter((name) => !isOwn(name));
  if (others.length > 0) chunk("contrib").load(agent, others, environ.LAMBDA_TASK_ROOT ?? process.cwd(), watchPackage);
}

// What is not for worker threads is marked as disabled there; the module that says so in words would take two milliseconds to load.
const isMainThread = !("disabled" in process.abort);

// A managed instance runs every invocation in one of the runtime client's worker threads, which get the arguments from the main thread.
const isManaged = process.env.AWS_LAMBDA_MAX_CONCURRENCY !== undefined;

if (process.env.AWS_LAMBDA_RUNTIME_API && (isMainThread || isManaged)) {
  try {
    if (!isMainThread || !isManaged) leaveArguments();
    if (!isManaged || chunk("managed").mayInvoke(process.env)) start(process.env);
  } catch (error) {
    complain("start", `the Node.js agent could not start, the function is not traced: ${String(error)}`);
  }
}
