// The layers that the agent is measured beside, laid out and started as theirs are: one minified file that the runtime
// loads before the function, import-in-the-middle beside it, and the variables that their wrapper scripts set.
// The shell of those scripts is left out, in their favour.

import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { isModule } from "./forms.mjs";

const ADOT = "@aws/aws-distro-opentelemetry-node-autoinstrumentation";
const RESOURCE = "cloud.region=eu-west-1,cloud.provider=aws,cloud.platform=aws_lambda,faas.name=bench,faas.version=1,faas.instance=s";

/** ADOT hooks only what an instrumentation asks for, and waits until the hook knows. */
const adotModule = (entry) => `import { register } from "node:module";
import { createAddHookMessageChannel } from "import-in-the-middle";
const channel = createAddHookMessageChannel();
register("import-in-the-middle/hook.mjs", { parentURL: import.meta.url, ...channel.registerOptions });
await channel.waitForAllMessagesAcknowledged();
await import("./${entry}.js");
`;
/** The upstream layer loads its wrapper first, and the hook, of everything, for ES modules alone. */
const UPSTREAM_COMMONJS = 'await import("./upstream.js");\n';
const UPSTREAM_MODULE = `${UPSTREAM_COMMONJS}const { register } = await import("node:module");
register("import-in-the-middle/hook.mjs", import.meta.url);
`;

/** Builds both below `folder`: `modules` has esbuild, `others` their packages. */
export async function layOthers(folder, modules, others) {
  const { build } = createRequire(path.join(modules, "x.js"))("esbuild");
  const source = path.join(others, ADOT, "build/src");
  const external = ["import-in-the-middle"];
  const common = { bundle: true, minify: true, platform: "node", format: "cjs", external, logLevel: "error", nodePaths: [others] };
  const fast = { contents: 'require("./opentelemetry-lite-sdk.js").configureLiteMode();', resolveDir: source };
  await build({ ...common, stdin: fast, outfile: path.join(folder, "adot-fast.js") });
  await build({ ...common, entryPoints: [path.join(source, "register.js")], outfile: path.join(folder, "adot-full.js") });
  const upstream = fileURLToPath(new URL("upstream/wrapper.mjs", import.meta.url));
  await build({ ...common, entryPoints: [upstream], outfile: path.join(folder, "upstream.js") });
  fs.mkdirSync(path.join(folder, "node_modules"));
  fs.symlinkSync(path.join(others, "import-in-the-middle"), path.join(folder, "node_modules", "import-in-the-middle"));
  for (const entry of ["adot-fast", "adot-full"]) fs.writeFileSync(path.join(folder, `${entry}.mjs`), adotModule(entry));
  fs.writeFileSync(path.join(folder, "upstream-commonjs.mjs"), UPSTREAM_COMMONJS);
  fs.writeFileSync(path.join(folder, "upstream-module.mjs"), UPSTREAM_MODULE);
}

/** What ADOT's layer sets; Node.js 24 loads every handler by import. */
export function adotEnvironment(folder, form, major, entry) {
  const load = path.join(folder, entry);
  return {
    NODE_OPTIONS: isModule(form) || major >= 24 ? `--import ${load}.mjs` : `--require ${load}.js`,
    OTEL_AWS_LAMBDA_FAST_START: String(entry === "adot-fast"),
    OTEL_METRICS_EXPORTER: "none",
    OTEL_LOGS_EXPORTER: "none",
    OTEL_EXPORTER_OTLP_PROTOCOL: "http/protobuf",
    OTEL_NODE_ENABLED_INSTRUMENTATIONS: "aws-sdk,aws-lambda,http",
    OTEL_SERVICE_NAME: "bench",
    OTEL_PROPAGATORS: "baggage,tracecontext,xray",
    OTEL_AWS_APPLICATION_SIGNALS_ENABLED: "true",
    OTEL_RESOURCE_ATTRIBUTES: `service.name=bench,${RESOURCE}`,
  };
}

/** What the upstream layer sets; its collector listens where `otlp` says. */
export function upstreamEnvironment(folder, form, otlp) {
  return {
    NODE_OPTIONS: `--import ${path.join(folder, isModule(form) ? "upstream-module.mjs" : "upstream-commonjs.mjs")}`,
    OTEL_PROPAGATORS: "tracecontext,baggage,xray",
    OTEL_RESOURCE_ATTRIBUTES: "service.name=bench",
    OTEL_EXPORTER_OTLP_ENDPOINT: otlp,
  };
}

/** The versions of what is measured, for the record. */
export function versions(others) {
  const version = (name) => JSON.parse(fs.readFileSync(path.join(others, name, "package.json"), "utf8")).version;
  return {
    adot: version(ADOT),
    upstream: Object.fromEntries(
      ["sdk-trace-base", "exporter-trace-otlp-http", "instrumentation-aws-lambda", "instrumentation-aws-sdk"].map((name) => [
        `@opentelemetry/${name}`,
        version(`@opentelemetry/${name}`),
      ]),
    ),
  };
}
