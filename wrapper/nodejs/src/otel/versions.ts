/** Versions of the copies of the OpenTelemetry API in the function. Asked by the bridge. */

import fs = require("node:fs");
import { createRequire } from "node:module";

const ASKING = /\/internal\/global-utils(\.c?js)$/;

/** The version of the copy that is being loaded, where its own code does not tell: a module that runs is in the cache and not loaded yet. */
export function versionOfLoading(): string | undefined {
  for (const [file, module] of Object.entries(require.cache)) {
    const version = module === undefined || module.loaded || !ASKING.test(file) ? undefined : versionBeside(file);
    if (version !== undefined) return version;
  }
  return undefined;
}

/** The version of a copy that asks by the symbol that everybody knows: one that was loaded before the agent, or behind loader hooks. */
export function versionOfLoaded(): string | undefined {
  const file = Object.keys(require.cache).find((name) => ASKING.test(name));
  return (file && versionBeside(file)) ?? versionOfPackage(process.env.LAMBDA_TASK_ROOT ?? process.cwd());
}

function versionBeside(file: string): string | undefined {
  const { VERSION: version } = (require.cache[file.replace(ASKING, "/version$1")]?.exports ?? {}) as { VERSION?: unknown };
  return typeof version === "string" ? version : undefined;
}

/** An ES module is in no cache that could be looked into: the version of what the function's own code imports. */
function versionOfPackage(folder: string): string | undefined {
  try {
    const file = createRequire(`${folder}/index.js`).resolve("@opentelemetry/api");
    const home = file.slice(0, file.lastIndexOf("/@opentelemetry/api/") + "/@opentelemetry/api/".length);
    const { version } = JSON.parse(fs.readFileSync(`${home}package.json`, "utf8")) as { version?: unknown };
    return typeof version === "string" ? version : undefined;
  } catch {
    return undefined;
  }
}

const minorOf = (version: string): number => (/^1\.\d+\.\d+$/.test(version) ? Number(version.split(".")[1]) : Number.NaN);

/** Whether a copy of the version may use what a copy of the other has registered, by the API's own rule: the other is as new. */
export function mayUse(version: string, other: string): boolean {
  return version === other || minorOf(version) <= minorOf(other);
}
