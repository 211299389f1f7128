// What an agent costs a Node.js function: CPU of a cold start, of early and of warm invocations, memory, and bytes read.
//
//   node cold.mjs --node NODE --client RUNTIME_CLIENT --wrapper FOLDER --modules NODE_MODULES [--others NODE_MODULES]
//                 [--runs 32] [--json FILE] [--version OF_THE_WRAPPER] [--form NAME]... [--variant NAME]... [--wrapper NAME=FOLDER]...
//
// --form and --variant name the only ones to run; further wrappers are further variants, to compare versions of the agent.
// Without --others, the layers of others are left out.
// Every run is a fresh process under the real runtime client; variants take turns, in another order in each round. CPU is what the
// kernel has accounted to all threads of the process, from its start until it asks for the second event.
// Before any is measured, each variant has to record: the handler, and the AWS call where there is one.

import fs from "node:fs";
import http from "node:http";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { Frames } from "../../tests/nodejs/stage/frames.mjs";
import { Collector } from "./collector.mjs";
import { callsAws, FORMS, layForms } from "./forms.mjs";
import { adotEnvironment, layOthers, upstreamEnvironment, versions } from "./others.mjs";
import { FunctionProcess } from "./process.mjs";
import { line, row } from "./table.mjs";

const { values: options } = parseArgs({
  options: {
    node: { type: "string" },
    client: { type: "string" },
    wrapper: { type: "string", multiple: true },
    form: { type: "string", multiple: true },
    variant: { type: "string", multiple: true },
    modules: { type: "string" },
    others: { type: "string" },
    runs: { type: "string", default: "32" },
    version: { type: "string" },
    json: { type: "string" },
  },
});
const RUNS = Number(options.runs);
/** Invocations behind the first in which V8 still compiles, with a layer or without, as the CPU of each shows. */
const EARLY = 500;
const WARM_UP = 2_000;
/** Those that are then measured, which takes seconds: in so many of the runs. */
const WARM = 1_000;
const WARM_RUNS = 5;
const SERVER = 2;
const CLIENT = 3;

// Short names, as on Lambda: Node.js keeps them in memory many times over.
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "opt-"));
const collector = new Collector();
const s3 = http.createServer((request, response) => response.end("content"));
const { version: nodeVersion } = JSON.parse(fs.readFileSync(path.join(path.dirname(options.node), "..", "package.json"), "utf8"));
const major = Number(nodeVersion.split(".")[0]);

/** `NAME=FOLDER`, or the folder of the agent itself. */
const wrappers = options.wrapper
  .map((given) => /^(?:([^/=]+)=)?(.+)$/.exec(given))
  .map(([, name = "otel-xray", from], index) => {
    const wrapper = path.join(folder, `w${index}`);
    fs.cpSync(from, wrapper, { recursive: true });
    return [name, () => ({ wrapper })];
  });
const VARIANTS = {
  none: () => ({}),
  ...Object.fromEntries(wrappers),
  ...(options.others && {
    "upstream layer": (form) => ({ environment: upstreamEnvironment(folder, form, collector.otlp) }),
    "ADOT fast start": (form) => ({ environment: adotEnvironment(folder, form, major, "adot-fast") }),
    "ADOT default": (form) => ({ environment: adotEnvironment(folder, form, major, "adot-full") }),
  }),
};
const forms = FORMS.filter((form) => options.form?.includes(form) ?? true);
const variants = Object.keys(VARIANTS).filter((variant) => options.variant?.includes(variant) ?? true);

/** Starts a function of that form with that layer, and hands it to `use` with what reads the agent's frames. */
async function withFunction(form, variant, use) {
  const { wrapper, environment } = VARIANTS[variant](form);
  const name = `otel-xray-bench-${process.pid}-${Math.random().toString(36).slice(2)}`;
  const frames = await new Frames().listen(name);
  const command = [options.node, options.client, "app.handler"];
  if (wrapper) command.unshift(path.join(wrapper, "otel-instrument"));
  const started = new FunctionProcess();
  try {
    await started.start(command, path.join(folder, form), {
      AWS_EXECUTION_ENV: `AWS_Lambda_nodejs${major}.x`,
      AWS_XRAY_DAEMON_ADDRESS: collector.daemon,
      AWS_URL: `http://127.0.0.1:${s3.address().port}`,
      OTEL_XRAY_AGENT_SOCKET: name,
      ...environment,
    });
    return await use(started, frames);
  } catch (error) {
    throw new Error(`${variant}, ${form}: ${error.message}`, { cause: error });
  } finally {
    started.stop();
    frames.stop();
  }
}

/** Fails unless the variant records the handler, and the AWS call where there is one. Gives what it recorded. */
async function recorded(form, variant) {
  collector.spans = [];
  collector.keep = true;
  const recordedSpans = await withFunction(form, variant, async (started, frames) => {
    const spans = () => [...collector.spans, ...frames.ended];
    const complete = () => spans().some((one) => one.kind === SERVER) && (!callsAws(form) || spans().some((one) => one.kind === CLIENT));
    await started.invoke();
    await started.invoke();
    for (let waited = 0; !complete(); waited += 20) {
      if (waited > 5_000) throw new Error(`it does not record the handler and its AWS call, only [${spans().map((one) => one.name)}]`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return spans();
  });
  collector.keep = false;
  return [...new Set(recordedSpans.filter((one) => one.kind === SERVER || one.kind === CLIENT).map((one) => one.name))].sort();
}

async function measure(form, variant, round) {
  const use = async (started) => {
    await started.invoke();
    const found = { cold: started.cpuMs, rss: started.rssMb, read: started.readKb };
    // Spread over all rounds.
    if ((round * WARM_RUNS) % RUNS >= WARM_RUNS) return found;
    const early = await each(started, EARLY);
    await each(started, WARM_UP - EARLY);
    return { ...found, early, warm: await each(started, WARM) };
  };
  return withFunction(form, variant, use);
}

/** CPU ms of each of so many invocations. */
async function each(started, invocations) {
  const before = started.cpuMs;
  for (let count = 0; count < invocations; count++) await started.invoke();
  return (started.cpuMs - before) / invocations;
}

/** The native runtime client crashes now and then, with or without an agent. Such a run is told of, and repeated. */
async function again(run, form, variant, round) {
  for (let attempt = 0; ; attempt++) {
    try {
      return await run(form, variant, round);
    } catch (error) {
      if (attempt === 3 || !error.message.includes("SIGSEGV")) throw error;
      process.stderr.write(`\nagain: ${variant}, ${form}: the runtime client crashed\n`);
    }
  }
}

async function everyRun() {
  const runs = Object.fromEntries(forms.map((form) => [form, Object.fromEntries(variants.map((variant) => [variant, []]))]));
  for (let round = 0; round < RUNS; round++) {
    for (const form of forms)
      for (let index = 0; index < variants.length; index++) {
        const variant = variants[(index + round) % variants.length];
        runs[form][variant].push(await again(measure, form, variant, round));
      }
    process.stderr.write(`\rround ${round + 1} of ${RUNS}`);
  }
  process.stderr.write("\n");
  return runs;
}

try {
  await layForms(folder, options.modules);
  if (options.others) await layOthers(folder, options.modules, options.others);
  await collector.listen();
  await new Promise((resolve) => s3.listen(0, "127.0.0.1", resolve));
  const seen = {};
  for (const form of forms) {
    seen[form] = {};
    for (const variant of variants) if (variant !== "none") seen[form][variant] = await again(recorded, form, variant);
  }
  const runs = await everyRun();
  const machine = `${os.type()} ${os.machine()}, ${os.availableParallelism()} cores`;
  const measured = { "otel-xray": options.version, ...(options.others && versions(options.others)) };
  const results = { node: nodeVersion, runs: RUNS, warm_runs: Math.min(RUNS, WARM_RUNS), warm_from: WARM_UP + 2, machine, versions: measured, forms: {} };
  console.log(`Node.js ${nodeVersion}, n = ${RUNS}: CPU ms of init + first invocation, minimum (median), and what is added to "none"`);
  for (const form of forms) {
    results.forms[form] = {};
    console.log(`\n${form}`);
    for (const variant of variants) {
      const figures = row(runs[form][variant], runs[form].none);
      results.forms[form][variant] = { ...figures, ...(variant !== "none" && { records: seen[form][variant] }) };
      console.log(line(variant, figures));
    }
  }
  if (options.json) fs.writeFileSync(options.json, `${JSON.stringify(results, null, 2)}\n`);
} finally {
  collector.close();
  s3.close();
  fs.rmSync(folder, { recursive: true });
}
