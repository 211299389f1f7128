/**
 * What the wrapper preloads: starts the agent, and leaves no sign of itself. Nobody calls it; it calls what every cold start has (watch,
 * runtime), and hands each of them the agent.
 */

import { isLogger } from "./libraries/log_ids";
import { offerOtelApi } from "./otel/global";
import { type Agent, guarded } from "./record/agent";
import { chunk } from "./record/chunk";
import type { Recorder } from "./record/recorder";
import { complain, makeWire, told } from "./record/wire";
import { makeInvocation } from "./runtime/invocation";
import { watchNativeClient } from "./runtime/native_client";
import { nowUs } from "./trace/clock";
import { watchChannels } from "./watch/channels";
import { watchConnections } from "./watch/connections";
import { watchModules } from "./watch/modules";
import { watchHttp } from "./watch/requests";

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

/** Without one of these the instrumentations are those by default. */
const CHOICES = ["OTEL_NODE_ENABLED_INSTRUMENTATIONS", "OTEL_NODE_DISABLED_INSTRUMENTATIONS", "OTEL_XRAY_LOG_TRACE_IDS"];

/** Processes that the function forks inherit these arguments, also those of its worker threads, and are not the function. */
function leaveArguments(): void {
  const index = process.execArgv.indexOf(__filename);
  if (index > 0 && process.execArgv[index - 1] === "--require") process.execArgv.splice(index - 1, 2);
}

function start(environ: NodeJS.ProcessEnv): void {
  const fd = environ.OTEL_XRAY_AGENT_FD;
  delete environ.OTEL_XRAY_AGENT_FD;
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
  const wire = makeWire(JSON.stringify(hello));
  const isChosen = CHOICES.some((name) => environ[name]);
  const chosen = isChosen ? chunk("instrumentations").chosen(environ, complain) : { disabled: isLogger, named: [] };
  let recorder: Recorder | undefined;
  const agent: Agent = {
    wire,
    root: undefined,
    leave: undefined,
    header: undefined,
    now: nowUs,
    get recorder() {
      return (recorder ??= new (chunk("recorder").Recorder)(agent));
    },
    runtimeApi: environ.AWS_LAMBDA_RUNTIME_API ?? "",
    disabled: chosen.disabled,
    complain,
  };
  const invocation = makeInvocation(agent, environ);
  // During init, so that the extension knows before the first invocation that a done frame will come.
  if (isManaged) chunk("managed").share(agent, invocation, environ);
  else if (fd !== undefined) {
    wire.adopt(Number(fd));
    wire.connect = () => chunk("managed").reconnect(wire, environ);
  }
  // Where several run at once, a socket's bytes do not tell whose they are.
  const found = watchConnections(agent, isManaged ? undefined : invocation);
  watchNativeClient(agent, invocation, found);
  watchHttp(agent, invocation, found);
  // Only looks: whoever catches them, or nobody, does so as without it.
  process.on("uncaughtExceptionMonitor", (error) => guarded(agent, "an uncaught error", () => chunk("uncaught").thrown(invocation, error)));
  watchChannels(agent, environ.NODE_OPTIONS !== undefined);
  watchModules(agent, environ);
  if (!agent.disabled("opentelemetry")) offerOtelApi(agent);
  if (!agent.disabled("console")) chunk("log_ids").patchConsole(agent, environ.AWS_LAMBDA_LOG_FORMAT === "JSON");
  if (chosen.named.length > 0) chunk("contrib").load(agent, chosen.named, environ.LAMBDA_TASK_ROOT ?? process.cwd());
}

// What is not for worker threads is marked as disabled there; the module that says so in words would take two milliseconds to load.
const isMainThread = !("disabled" in process.abort);

// A managed instance runs every invocation in one of the runtime client's worker threads, which get the arguments from the main thread.
const isManaged = Boolean(process.env.AWS_LAMBDA_MAX_CONCURRENCY);

if (process.env.AWS_LAMBDA_RUNTIME_API && (isMainThread || isManaged)) {
  try {
    if (!isMainThread || !isManaged) leaveArguments();
    if (!isManaged || chunk("managed").mayInvoke(process.env)) start(process.env);
  } catch (error) {
    complain("start", `the Node.js agent could not start, the function is not traced: ${told(error)}`);
  }
} else if (!isMainThread) {
  leaveArguments();
}
