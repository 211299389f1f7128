/**
 * Files of packages that the function imports as ES modules, which no cache shows and nobody can change from outside: each says itself, at
 * its end, that it has been loaded. Node.js 22.15 or later. Called at the start where the function has such packages; it calls the patches.
 */

import { type Agent, guarded } from "../record/agent";
import { chunk } from "../record/chunk";
import { belowPackages } from "../record/paths";

type Source = string | ArrayBuffer | Uint8Array | null | undefined;

interface Loaded {
  format?: string | null;
  source?: Source;
}

type Load = (url: string, context: unknown, next: (url: string, context: unknown) => Loaded) => Loaded;

export interface ModuleClass {
  registerHooks?: (hooks: { load: Load }) => unknown;
}

type Patch = "patchHono" | "patchTrpc";

/** A file below node_modules -> the instrumentation, and what patches it. */
const TABLE: Record<string, readonly [instrumentation: string, patch: Patch]> = {
  "hono/dist/router/smart-router/router.js": ["hono", "patchHono"],
  "hono/dist/router/pattern-router/router.js": ["hono", "patchHono"],
  "hono/dist/router/linear-router/router.js": ["hono", "patchHono"],
  "@trpc/server/dist/adapters/aws-lambda/index.mjs": ["trpc", "patchTrpc"],
};

let agentOfAll: Agent | undefined;

export function watch(agent: Agent, modules: ModuleClass): void {
  agentOfAll = agent;
  modules.registerHooks?.({
    load: (url, context, next) => {
      const loaded = next(url, context);
      const file = belowPackages(url);
      const [instrumentation, patch] = TABLE[file] ?? [];
      if (patch === undefined || loaded.format !== "module" || agent.disabled(String(instrumentation))) return loaded;
      return guarded(agent, file, () => ({ ...loaded, source: telling(textOf(loaded.source), patch) })) ?? loaded;
    },
  });
}

function textOf(source: Source): string {
  if (typeof source === "string") return source;
  if (source === null || source === undefined) throw new TypeError("the module has no source");
  return Buffer.from(source as Uint8Array).toString();
}

/** The module with a line at its end that hands over what it exports, and takes back the functions that have been put around its own. */
function telling(source: string, patch: Patch): string {
  const listed = /\bexport\s*\{([^}]*)\}\s*;?[^{}]*$/.exec(source)?.[1]?.split(",") ?? [];
  const names = listed.map((name) => name.trim()).filter((name) => /^[\w$]+$/.test(name));
  if (names.length === 0) throw new TypeError("the module exports nothing that could be found");
  const functions = names.filter((name) => new RegExp(`\\bfunction\\s+${name.replaceAll("$", "\\$")}\\b`).test(source));
  const back = functions.map((name) => ` ${name} = $otelXray_exports.${name};`).join("");
  return `${source}
import $otelXray from ${JSON.stringify(`file://${encodeURI(__filename)}`)};
const $otelXray_exports = { ${names.join(", ")} };
$otelXray.imported("${patch}", $otelXray_exports);${back}
`;
}

/** A module of the table has run. */
export function imported(patch: Patch, exports: unknown): void {
  const agent = agentOfAll;
  if (agent !== undefined) guarded(agent, patch, () => chunk("web_more")[patch](agent, exports));
}
