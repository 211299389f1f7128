/** The place where every copy of the OpenTelemetry API 1.x looks for who implements it. */

import { type Agent, guarded } from "./agent";
import { chunk } from "./chunks";

const KEY = Symbol.for("opentelemetry.js.api.1");

/** The bridge is read when the function's copy of the API first looks; a function without one pays for a property. */
export function offerOtelApi(agent: Agent): void {
  let own: ReturnType<typeof import("./otel_bridge").offer> | undefined;
  let held: unknown;
  Object.defineProperty(globalThis, KEY, {
    configurable: true,
    get: () => (held ??= own = guarded(agent, "the OpenTelemetry API", () => chunk("otel_bridge").offer(agent))),
    set: (value: unknown) => {
      // Whoever registers something puts back first what it has found.
      if (own !== undefined && value === own) own.registering = true;
      else held = value;
    },
  });
}
