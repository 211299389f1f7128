/**
 * The place where every copy of the OpenTelemetry API 1.x looks for who implements it. Called at every start; it reads the bridge
 * when somebody looks.
 */

import { type Agent, guarded } from "../record/agent";
import { chunk } from "../record/chunk";

const NAME = "opentelemetry.js.api.1";
const KEY = Symbol.for(NAME);

/** What was last matched, in full: a field that V8 keeps, and that the type library names by its old letter. */
const lastMatched = (): string => (RegExp as unknown as { input: string }).input;

/**
 * Gives each copy of the API a place of its own, named by a symbol of its own. Who registers with a copy must find that copy's very
 * version, and nothing that it does tells the version or the copy, but this: a copy matches its version against a pattern, and asks for
 * the symbol in the next breath. Stacks say nothing where they are rewritten. The bridge is read when the first copy looks;
 * a function without one pays for a property.
 */
export function offerOtelApi(agent: Agent): void {
  const places = globalThis as unknown as Record<symbol, unknown>;
  // Put there by what NODE_OPTIONS has loaded before.
  const before = places[KEY];
  const { for: symbolFor } = Symbol;
  let offer: ReturnType<typeof import("./bridge").offer> | undefined;
  const open = (key: symbol, version: string): void => {
    let view: object | undefined;
    let held: unknown;
    Object.defineProperty(globalThis, key, {
      configurable: true,
      get: () => {
        const look = (): object => (offer ??= chunk("otel_bridge").offer(agent, before))(version);
        return held ?? (held = view = guarded(agent, "the OpenTelemetry API", look));
      },
      set: (value: unknown) => {
        // Whoever registers something puts back first what it has found.
        if (view !== undefined && value === view) offer?.registering(view);
        else held = value;
      },
    });
  };
  open(KEY, "");
  Symbol.for = new Proxy(symbolFor, {
    apply: (target, self, given) => {
      if (given[0] !== NAME) return Reflect.apply(target, self, given) as symbol;
      const matched = lastMatched();
      // Something that watches `require` may have matched a path in between.
      const version = /^1\.\d+\.\d+(?:-.+)?$/.test(matched)
        ? matched
        : guarded(agent, "the OpenTelemetry API", () => chunk("otel_bridge").versionOfLoading());
      if (version === undefined) return KEY;
      const own = Symbol(NAME);
      open(own, version);
      return own;
    },
  });
}
