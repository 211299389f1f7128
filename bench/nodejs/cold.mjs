// What an agent costs a Node.js function: CPU of a cold start and of warm invocations, memory, and bytes read.
//
//   node cold.mjs --node NODE --client RUNTIME_CLIENT --wrapper FOLDER --modules NODE_MODULES --others NODE_MODULES
//                 [--runs 16] [--json FILE] [--form NAME]... [--variant NAME]... [--wrapper NAME=FOLDER]...
//
// --form and --variant name the only ones to run; further wrappers are further variants, to compare versions of the agent.
// Every run is a fresh process under the real runtime client; variants take turns, in another order in each round. CPU is what the
// kernel has accounted to all threads of the process, from its start until it asks for the second event.

import { spawn } from "node:child_process";
import fs from "node:fs";
import http from "node:http";
import { createRequire } from "node:module";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { Frames } from "../../tests/nodejs/stage/pipe.mjs";

const { values: options } = parseArgs({
  options: {
    node: { type: "string" },
    client: { type: "string" },
    wrapper: { type: "string", multiple: true },
    form: { type: "string", multiple: true },
    variant: { type: "string", multiple: true },
    modules: { type: "string" },
    others: { type: "string" },
    runs: { type: "string", default: "16" },
    json: { type: "string" },
  },
});
const RUNS = Number(options.runs);
const WARM = 50;
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "otel-xray-bench-"));

const AWS = `const s3 = new S3Client({ region: "eu-west-1", endpoint: process.env.AWS_URL, forcePathStyle: true });
  const handler = async () => { const { Body } = await s3.send(new GetObjectCommand({ Bucket: "b", Key: "k" })); return Body.transformToString(); };`;
const IMPORT = 'import { S3Client, GetObjectCommand } from "@aws-sdk/client-s3";';

/** Lays the functions out; gives the folder of each. */
async function functions() {
  const require = createRequire(path.join(options.modules, "x.js"));
  const esbuild = require("esbuild");
  const banner = { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" };
  const bundle = await esbuild.build({
    stdin: { contents: `${IMPORT} ${AWS} export { handler };`, resolveDir: path.dirname(options.modules) },
    bundle: true,
    platform: "node",
    format: "esm",
    write: false,
    banner,
  });
  const sources = {
    empty: { "app.js": "exports.handler = async () => 1;" },
    commonjs: { "app.js": `const { S3Client, GetObjectCommand } = require("@aws-sdk/client-s3"); ${AWS} exports.handler = handler;` },
    esm: { "app.mjs": `${IMPORT} ${AWS} export { handler };` },
    bundle: { "app.mjs": bundle.outputFiles[0].text },
  };
  for (const [name, files] of Object.entries(sources)) {
    fs.mkdirSync(path.join(folder, name));
    for (const [file, content] of Object.entries(files)) fs.writeFileSync(path.join(folder, name, file), content);
    if (name !== "bundle") fs.symlinkSync(options.modules, path.join(folder, name, "node_modules"));
  }
  return Object.keys(sources).filter((form) => options.form?.includes(form) ?? true);
}

const major = Number(/(\d+)\./.exec(fs.readFileSync(path.join(path.dirname(options.node), "..", "package.json"), "utf8").match(/"version":\s*"([^"]+)"/)[1])[1]);
/** ADOT as its layer has it: each way of starting in one minified file. */
async function bundleAdot() {
  const source = path.join(options.others, "@aws/aws-distro-opentelemetry-node-autoinstrumentation/build/src");
  const { build } = createRequire(path.join(options.modules, "x.js"))("esbuild");
  const entryPoints = { fast: `${source}/opentelemetry-lite-sdk.js`, full: `${source}/register.js` };
  await build({ entryPoints, bundle: true, minify: true, platform: "node", format: "cjs", outdir: folder, logLevel: "error" });
}

/** The variables that ADOT's layer sets, and the way in which it loads what it has for this kind of handler. */
function adotEnvironment(form, fast) {
  const imported = form === "esm" || form === "bundle" || major >= 24;
  const entry = path.join(folder, `adot-${fast}.${imported ? "mjs" : "cjs"}`);
  const load = path.join(folder, fast ? "fast.js" : "full.js");
  const start = fast ? "configureLiteMode();" : "";
  if (imported)
    fs.writeFileSync(
      entry,
      `import { register } from "node:module"; import { createRequire } from "node:module";
       register("import-in-the-middle/hook.mjs", "file://${options.others}/");
       const require = createRequire(import.meta.url); const { configureLiteMode } = require("${load}"); ${start}`,
    );
  else fs.writeFileSync(entry, `const { configureLiteMode } = require("${load}"); ${start}`);
  return {
    NODE_OPTIONS: imported ? `--import ${entry}` : `--require ${entry}`,
    OTEL_AWS_LAMBDA_FAST_START: String(fast),
    OTEL_METRICS_EXPORTER: "none",
    OTEL_LOGS_EXPORTER: "none",
    OTEL_EXPORTER_OTLP_PROTOCOL: "http/protobuf",
    OTEL_NODE_ENABLED_INSTRUMENTATIONS: "aws-sdk,aws-lambda,http",
    OTEL_SERVICE_NAME: "bench",
    OTEL_PROPAGATORS: "baggage,tracecontext,xray",
    OTEL_AWS_APPLICATION_SIGNALS_ENABLED: "true",
    OTEL_RESOURCE_ATTRIBUTES: "service.name=bench,cloud.region=eu-west-1,cloud.provider=aws",
  };
}

/** `NAME=FOLDER`, or the folder of the agent itself. */
const wrappers = options.wrapper.map((given) => /^(?:([^/=]+)=)?(.+)$/.exec(given)).map(([, name = "otel-xray", folder]) => [name, () => ({ wrapper: folder })]);

const VARIANTS = {
  none: () => ({}),
  ...Object.fromEntries(wrappers),
  "ADOT fast start": (form) => ({ environment: adotEnvironment(form, true) }),
  "ADOT default": (form) => ({ environment: adotEnvironment(form, false) }),
};

const cpuMs = (pid) =>
  fs
    .readdirSync(`/proc/${pid}/task`)
    .reduce((sum, task) => sum + Number(fs.readFileSync(`/proc/${pid}/task/${task}/schedstat`, "utf8").split(" ")[0]), 0) / 1e6;
const field = (pid, file, name) => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(fs.readFileSync(`/proc/${pid}/${file}`, "utf8"))[1]);

async function measure(form, variant, aws) {
  const { wrapper, environment } = VARIANTS[variant](form);
  const name = `otel-xray-bench-${process.pid}-${Math.random().toString(36).slice(2)}`;
  const frames = new Frames(`/tmp/.${name}`);
  let asked;
  let waiting;
  const turn = () => new Promise((resolve) => (waiting = resolve));
  let count = 0;
  const server = http.createServer((request, response) => {
    request.resume().on("end", () => {
      if (!request.url.endsWith("/next")) {
        response.writeHead(202).end("{}");
        return;
      }
      asked = response;
      waiting?.();
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const first = turn();
  const command = [options.node, options.client, "app.handler"];
  if (wrapper) command.unshift(path.join(wrapper, "otel-instrument"));
  const task = path.join(folder, form);
  let output = "";
  const child = spawn(command[0], command.slice(1), {
    cwd: task,
    stdio: ["ignore", "pipe", "pipe"],
    env: {
      PATH: process.env.PATH,
      AWS_LAMBDA_RUNTIME_API: `127.0.0.1:${server.address().port}`,
      AWS_LAMBDA_FUNCTION_NAME: "bench",
      AWS_LAMBDA_FUNCTION_VERSION: "1",
      AWS_LAMBDA_FUNCTION_MEMORY_SIZE: "512",
      AWS_LAMBDA_LOG_GROUP_NAME: "g",
      AWS_LAMBDA_LOG_STREAM_NAME: "s",
      AWS_REGION: "eu-west-1",
      AWS_EXECUTION_ENV: `AWS_Lambda_nodejs${major}.x`,
      AWS_ACCESS_KEY_ID: "a",
      AWS_SECRET_ACCESS_KEY: "b",
      LAMBDA_TASK_ROOT: task,
      _HANDLER: "app.handler",
      OTEL_XRAY_AGENT_SOCKET: name,
      AWS_URL: aws,
      AWS_XRAY_DAEMON_ADDRESS: "127.0.0.1:2000",
      ...environment,
    },
  });
  child.stdout.on("data", (piece) => (output += piece));
  child.stderr.on("data", (piece) => (output += piece));
  if (process.env.SHOW) child.stderr.pipe(process.stderr);
  const died = new Promise((_, reject) => child.on("exit", (code, signal) => reject(new Error(`${variant} ${form} ended (${code ?? signal}): ${output}`))));
  died.catch(() => undefined);
  const invoke = async () => {
    const again = turn();
    asked.writeHead(200, {
      "Lambda-Runtime-Aws-Request-Id": `id-${count++}`,
      "Lambda-Runtime-Deadline-Ms": String(Date.now() + 60_000),
      "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-west-1:123456789012:function:bench",
      "Content-Type": "application/json",
      "Lambda-Runtime-Trace-Id": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
    });
    asked.end("{}");
    await Promise.race([again, died]);
  };
  try {
    await Promise.race([first, died]);
    await invoke();
    const cold = cpuMs(child.pid);
    const rss = field(child.pid, "status", "VmRSS") / 1024;
    const read = field(child.pid, "io", "rchar") / 1024;
    for (let warmUp = 0; warmUp < 10; warmUp++) await invoke();
    const before = cpuMs(child.pid);
    for (let warm = 0; warm < WARM; warm++) await invoke();
    return { cold, warm: (cpuMs(child.pid) - before) / WARM, rss, read };
  } finally {
    child.kill("SIGKILL");
    frames.stop();
    server.closeAllConnections();
    server.close();
  }
}

/** The native runtime client crashes now and then, with or without an agent. Such a run is told of, and repeated. */
async function measureAgain(form, variant, aws) {
  for (let attempt = 0; ; attempt++) {
    try {
      return await measure(form, variant, aws);
    } catch (error) {
      if (attempt === 3 || !error.message.includes("SIGSEGV")) throw error;
      process.stderr.write(`\nagain: ${variant} ${form}: the runtime client crashed\n`);
    }
  }
}

const median = (numbers) => {
  const sorted = [...numbers].sort((one, other) => one - other);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

const forms = await functions();
if (options.others !== undefined) await bundleAdot();
const s3 = http.createServer((request, response) => response.end("content"));
await new Promise((resolve) => s3.listen(0, "127.0.0.1", resolve));
const runs = {};
for (let round = 0; round < RUNS; round++) {
  const variants = Object.keys(VARIANTS).filter((variant) => options.variant?.includes(variant) ?? true);
  for (const form of forms)
    for (let index = 0; index < variants.length; index++) {
      const variant = variants[(index + round) % variants.length];
      const found = await measureAgain(form, variant, `http://127.0.0.1:${s3.address().port}`);
      ((runs[form] ??= {})[variant] ??= []).push(found);
    }
  process.stderr.write(`\rround ${round + 1} of ${RUNS}`);
}
process.stderr.write("\n");
s3.close();
fs.rmSync(folder, { recursive: true });

const results = { node: major, runs: RUNS, forms: {} };
const round = (number) => Math.round(number * 100) / 100;
console.log(`Node.js ${major}, n = ${RUNS}: CPU ms of init + first invocation, minimum (median), and what is added to "none"`);
for (const form of forms) {
  results.forms[form] = {};
  console.log(`\n${form}`);
  for (const [variant, found] of Object.entries(runs[form])) {
    const bare = runs[form].none;
    const of = (key) => found.map((run) => run[key]);
    const added = (key, take) => round(take(of(key)) - take(bare.map((run) => run[key])));
    const least = (numbers) => Math.min(...numbers);
    const row = {
      cold_min_ms: round(least(of("cold"))),
      cold_median_ms: round(median(of("cold"))),
      added_cold_min_ms: added("cold", least),
      added_cold_median_ms: added("cold", median),
      added_warm_ms: added("warm", median),
      added_rss_mb: added("rss", median),
      added_read_kb: added("read", median),
    };
    results.forms[form][variant] = row;
    console.log(
      `  ${variant.padEnd(16)} ${row.cold_min_ms.toFixed(1).padStart(7)} (${row.cold_median_ms.toFixed(1)})`.padEnd(40) +
        `+${row.added_cold_min_ms} (+${row.added_cold_median_ms}) cold, +${row.added_warm_ms} warm, +${row.added_rss_mb} MB, +${row.added_read_kb} KB read`,
    );
  }
}
if (options.json) fs.writeFileSync(options.json, `${JSON.stringify(results, null, 2)}\n`);
