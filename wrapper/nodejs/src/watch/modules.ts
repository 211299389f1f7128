/**
 * Notices which files of packages the function loads, without a frame of its own in anybody's stack. Called at every start; hands the files
 * on to loading/packages.ts.
 */

import fs = require("node:fs");
import type { ModuleClass as EsModuleClass } from "../loading/es_modules";
import { type Agent, guarded } from "../record/agent";
import { chunk } from "../record/chunk";
import { PACKAGES } from "../record/paths";

declare const module: NodeJS.Module;

interface ModuleClass {
  _cache: Record<string, NodeJS.Module>;
}

/** Packages that functions import as ES modules, and that are no CommonJS below. */
const ES_PACKAGES = ["hono", "@trpc/server"];

/**
 * Watches the cache that every CommonJS module is put into before it runs, also one that an ES module imports. A
 * wrapper around `require` would be seen in the stack of every error that is raised while the function loads.
 */
export function watchModules(agent: Agent, environ: NodeJS.ProcessEnv): void {
  // `require("node:module")` would first make what an ES module could import of it.
  const modules = module.constructor as unknown as ModuleClass & EsModuleClass;
  modules._cache = new Proxy(modules._cache, {
    set(cache, filename, module: NodeJS.Module) {
      (cache as Record<string | symbol, NodeJS.Module>)[filename] = module;
      // Not native ones, such as the runtime client's.
      if (typeof filename === "string" && filename.endsWith("js") && filename.includes(PACKAGES))
        guarded(agent, filename, () => chunk("packages").loading(agent, filename, module));
      return true;
    },
  });
  if (modules.registerHooks !== undefined) guarded(agent, "ES modules", () => watchEsModules(agent, environ, modules));
}

/** Hooks cost each module that is loaded something: only where the function has such a package, and is an ES module itself. */
const watchEsModules = (agent: Agent, environ: NodeJS.ProcessEnv, modules: EsModuleClass): void => {
  const { LAMBDA_TASK_ROOT: root = "", _HANDLER: handler = "" } = environ;
  const slash = handler.lastIndexOf("/") + 1;
  const folders = [...new Set([`${root}/`, `${root}/${handler.slice(0, slash)}`])];
  if (!ES_PACKAGES.some((name) => folders.some((folder) => fs.existsSync(`${folder}node_modules/${name}`)))) return;
  const isModule = (folder: string): boolean => {
    const file = `${folder}package.json`;
    return fs.existsSync(file) && (JSON.parse(fs.readFileSync(file, "utf8")) as { type?: unknown }).type === "module";
  };
  const [name = ""] = handler.slice(slash).split(".");
  if (fs.existsSync(`${folders[folders.length - 1]}${name}.mjs`) || folders.some(isModule)) chunk("es_modules").watch(agent, modules);
};
