/**
 * OpenTelemetry's own instrumentations, those among the function's packages that it names. Their spans go where every span of the
 * OpenTelemetry API goes: to this agent, or to the SDK that the function registers. Called at the start with their names.
 */

import { createRequire } from "node:module";
import { type Agent, guarded } from "../record/agent";
import { chunk } from "../record/chunk";

/** A package that depends on most of the instrumentations. */
const COLLECTION = "@opentelemetry/auto-instrumentations-node";

/** Names as in `instrumentation-NAME`, or of whole packages where there is a slash in it. `folder` is the function's. */
export function load(agent: Agent, names: readonly string[], folder: string): void {
  const { isOwn, watchPackage } = chunk("packages");
  const ofFunction = createRequire(`${folder}/index.js`);
  for (const name of names) {
    if (isOwn(name)) continue;
    const packageName = name.includes("/") ? name : `@opentelemetry/instrumentation-${name}`;
    guarded(agent, `The instrumentation ${name}`, () => {
      const exports = find(ofFunction, packageName);
      if (exports === undefined) {
        agent.complain(
          packageName,
          `OTEL_NODE_ENABLED_INSTRUMENTATIONS names ${name}, and ${packageName} is not among the function's packages: add it or ${COLLECTION} to them, or remove the name`,
        );
        return;
      }
      const made = Object.entries(exports).find(([key, value]) => /Instrumentation$/.test(key) && typeof value === "function");
      if (made === undefined) throw new TypeError(`${packageName} exports no class whose name ends with Instrumentation`);
      // To be made is to be active.
      const instrumentation = new (made[1] as new () => { _modules?: { name: string }[] })();
      for (const { name: library } of instrumentation._modules ?? []) watchPackage(library, seenByRequire);
    });
  }
}

/**
 * They see what is required, and not what an ES module imports, unless loader hooks make every start slower. So what has
 * been loaded is required once more; what they already know they leave as it is.
 */
function seenByRequire(filename: string, module: NodeJS.Module): void {
  const seen: unknown = module.require(filename);
  if (seen !== module.exports) module.exports = seen;
}

function find(ofFunction: NodeJS.Require, packageName: string): object | undefined {
  const isThere = (resolve: NodeJS.Require, name: string): string | undefined => {
    try {
      return resolve.resolve(name);
    } catch {
      return undefined;
    }
  };
  const own = isThere(ofFunction, packageName);
  if (own !== undefined) return ofFunction(own) as object;
  const collection = isThere(ofFunction, COLLECTION);
  const collected = collection === undefined ? undefined : isThere(createRequire(collection), packageName);
  return collected === undefined ? undefined : (ofFunction(collected) as object);
}
