/**
 * The OpenTelemetry API on top of the recorder: manual spans of the function join its trace, whatever 1.x it brings along,
 * also inside of a bundle. A function that registers an SDK of its own gets exactly that one.
 */

import fs = require("node:fs");
import type { Agent } from "./agent";
import { BridgeContext, activeContext, holding } from "./otel_context";
import { propagator } from "./otel_propagation";
import { tracerProvider } from "./otel_tracer";

/** At least the minor version of whoever asks; the parts of the API that are implemented here have not changed since 1.0. */
const OFFERED = "1.999.0";

type Part = "trace" | "context" | "propagation";
const PARTS: readonly Part[] = ["trace", "context", "propagation"];

export interface Offer {
  /** The next look is that of somebody who registers. */
  registering: boolean;
}

export function offer(agent: Agent): Offer {
  const registered: Partial<Record<Part, unknown>> = {};
  const own: Record<Part, unknown> = {
    trace: tracerProvider(agent, () => registered.trace),
    context: contextManager(agent),
    propagation: propagator(agent),
  };
  const made: Offer = { registering: false };
  // Not for others to see: what copies of the API put here is what they find.
  Object.defineProperty(made, "registering", { enumerable: false });
  Object.defineProperty(made, "version", {
    enumerable: true,
    get: () => {
      // Who registers wants its own version, to the letter.
      const version = made.registering ? (versionOfCaller() ?? OFFERED) : OFFERED;
      made.registering = false;
      return version;
    },
  });
  for (const part of PARTS) {
    Object.defineProperty(made, part, {
      configurable: true,
      enumerable: true,
      // To somebody who registers the place is free unless the function has taken it.
      get: () => registered[part] ?? (made.registering ? undefined : own[part]),
      set: (value: unknown) => {
        registered[part] = value;
      },
    });
  }
  return made;
}

function contextManager(agent: Agent): object {
  const { recorder } = agent;
  return {
    active: () => activeContext(agent),
    with: (context: BridgeContext, run: (...given: unknown[]) => unknown, self?: unknown, ...given: unknown[]) =>
      recorder.run(holding(context), () => run.apply(self, given)),
    bind: (context: BridgeContext, target: unknown) =>
      typeof target === "function"
        ? function (this: unknown, ...given: unknown[]) {
            return recorder.run(holding(context), () => target.apply(this, given) as unknown);
          }
        : target,
    enable() {
      return this;
    },
    disable() {
      return this;
    },
  };
}

/** The version of the copy of the API that is asking, from its source. */
function versionOfCaller(): string | undefined {
  for (const line of (new Error("where").stack ?? "").split("\n").slice(1)) {
    const file = /(?:file:\/\/)?(\/[^:)]+):\d+:\d+\)?$/.exec(line)?.[1];
    if (file === undefined || file.startsWith(__dirname)) continue;
    try {
      if (file.endsWith("/internal/global-utils.js"))
        return /VERSION = ['"]([^'"]+)/.exec(fs.readFileSync(file.replace("internal/global-utils.js", "version.js"), "utf8"))?.[1];
      // In a bundle it stands in front of the name of the place.
      const source = fs.readFileSync(file, "utf8");
      const before = source.slice(0, source.indexOf("opentelemetry.js.api."));
      return [...before.matchAll(/["'`](1\.\d+\.\d+)["'`]/g)].pop()?.[1];
    } catch {
      return undefined;
    }
  }
  return undefined;
}
