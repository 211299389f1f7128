/** Notices which files of packages the function loads, without a frame of its own in anybody's stack. */

import { type Agent, guarded } from "./agent";
import { chunk } from "./chunks";

declare const module: NodeJS.Module;

interface ModuleClass {
  _cache: Record<string, NodeJS.Module>;
}

export const PACKAGES = "/node_modules/";

/**
 * Watches the cache that every CommonJS module is put into before it runs, also one that an ES module imports. A
 * wrapper around `require` would be seen in the stack of every error that is raised while the function loads.
 */
export function watchModules(agent: Agent): void {
  // `require("node:module")` would first make what an ES module could import of it.
  const modules = module.constructor as unknown as ModuleClass;
  modules._cache = new Proxy(modules._cache, {
    set(cache, filename, module: NodeJS.Module) {
      (cache as Record<string | symbol, NodeJS.Module>)[filename] = module;
      // Not native ones, such as the runtime client's.
      if (typeof filename === "string" && filename.endsWith("js") && filename.includes(PACKAGES))
        guarded(agent, filename, () => chunk("packages").loading(agent, filename, module));
      return true;
    },
  });
}
