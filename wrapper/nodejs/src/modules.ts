/** Patches libraries when, and only when, the function itself loads them. */

import { type Agent, guarded } from "./agent";
import { type Chunks, chunk } from "./chunks";

interface Patch {
  /** The name in OTEL_NODE_DISABLED_INSTRUMENTATIONS. */
  instrumentation: string;
  apply: (agent: Agent, exports: unknown) => void;
}

function of<N extends keyof Chunks>(
  instrumentation: string,
  name: N,
  run: (patches: Chunks[N], agent: Agent, exports: unknown) => void,
): Patch {
  return { instrumentation, apply: (agent, exports) => run(chunk(name), agent, exports) };
}

const awsSdk3 = of("aws-sdk", "aws_sdk_v3", (patches, agent, exports) => patches.patch(agent, exports));

/** What is required, as it is written -> patch. */
const TABLE: Record<string, Patch> = {
  "@smithy/core/client": awsSdk3,
  "@smithy/smithy-client": awsSdk3,
  "@aws-sdk/smithy-client": awsSdk3,
  "aws-sdk": of("aws-sdk", "aws_sdk_v2", (patches, agent, exports) => patches.patch(agent, exports)),
  "aws-sdk/lib/core": of("aws-sdk", "aws_sdk_v2", (patches, agent, exports) => patches.patch(agent, exports)),
};

interface ModuleClass {
  _load: (request: string, parent: unknown, isMain: boolean) => unknown;
}

/** One look into a table for each `require` of the function; ES imports of CommonJS packages come through here too. */
export function watchModules(agent: Agent): void {
  const modules = require("node:module") as ModuleClass;
  const original = modules._load;
  const patched = new WeakSet<object>();
  modules._load = function (request, parent, isMain) {
    const exports = original.call(this, request, parent, isMain);
    const patch = TABLE[request] ?? (request[0] === "/" ? TABLE[packageOf(request)] : undefined);
    if (patch === undefined || exports === null) return exports;
    if ((typeof exports !== "object" && typeof exports !== "function") || patched.has(exports)) return exports;
    patched.add(exports);
    if (!agent.disabled(patch.instrumentation)) guarded(agent, request, () => patch.apply(agent, exports));
    return exports;
  };
}

/** The package that a path inside node_modules belongs to. */
function packageOf(path: string): string {
  const start = path.lastIndexOf("/node_modules/");
  if (start < 0) return "";
  const [first = "", second = "", third = ""] = path.slice(start + 14).split("/");
  if (first[0] !== "@") return first;
  // A package with several entries, of which one matters.
  return first === "@smithy" && second === "core" && third === "dist-cjs"
    ? path.includes("/submodules/client/") ? "@smithy/core/client" : ""
    : `${first}/${second}`;
}
