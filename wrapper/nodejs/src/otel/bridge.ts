/**
 * The OpenTelemetry API on top of the recorder: manual spans of the function join its trace, whatever 1.x it brings along, also inside of a
 * bundle. A function that registers an SDK of its own gets exactly that one. Called when a copy of the API first looks into its place
 * (global.ts).
 */

import type { Agent } from "../record/agent";
import { contextManager } from "./context";
import { Joined } from "./joined";
import { propagator } from "./propagation";
import { tracerProvider } from "./tracer";
import { mayUse, versionOfLoaded } from "./versions";

export { versionOfLoading } from "./versions";

/** To a copy whose version nobody knows: at least its minor version. What is implemented here has not changed since 1.0. */
const OFFERED = "1.999.0";

/** What copies of the API have registered, and the version of the first that did. */
type Registered = Record<PropertyKey, unknown>;

/** What a copy of the API finds in its place. */
export type View = object;

export interface Offer {
  (version: string): View;
  /** The next look into the view is that of somebody who registers. */
  registering: (view: View) => void;
}

/** `before`: what has been registered before the agent was loaded. */
export function offer(agent: Agent, before: unknown): Offer {
  const registered = Object.assign(Object.create(null) as object, before) as Registered;
  const joined = new Joined(agent, registered);
  const own: Registered = {
    __proto__: null,
    trace: tracerProvider(agent, joined),
    context: contextManager(agent, joined),
    propagation: propagator(agent),
  };
  const states = new WeakMap<View, Copy>();
  const make = (version: string): View => {
    const state = new Copy(version, own, joined);
    const view = new Proxy(registered, state);
    states.set(view, state);
    return view;
  };
  return Object.assign(make, {
    registering: (view: View) => {
      const state = states.get(view);
      if (state !== undefined) state.isRegistering = true;
    },
  });
}

/** How one copy of the API sees what is registered. */
class Copy implements ProxyHandler<Registered> {
  isRegistering = false;
  /** The version is about to be quoted to who has been refused. */
  private isRefusing = false;

  constructor(
    private readonly version: string,
    private readonly own: Registered,
    private readonly joined: Joined,
  ) {}

  get(registered: Registered, name: PropertyKey): unknown {
    const first = registered.version as string | undefined;
    if (this.isRegistering) {
      // To somebody who registers, the place is free unless the function has taken it.
      if (name === "version") return this.versionToRegister(first);
      this.isRegistering = registered[name] === undefined;
      return registered[name];
    }
    if (name === "version") {
      const told = this.isRefusing ? first : undefined;
      this.isRefusing = false;
      return told ?? (this.version || OFFERED);
    }
    const isTheirs = first === undefined || this.version === "" || mayUse(this.version, first);
    return (isTheirs ? registered[name] : undefined) ?? this.own[name];
  }

  /** As without the agent: the first who registers decides which version everybody else has to be of. */
  private versionToRegister(first: string | undefined): string {
    this.isRegistering = false;
    const own = this.version || versionOfLoaded() || OFFERED;
    this.isRefusing = first !== undefined && first !== own;
    return first ?? own;
  }

  set(registered: Registered, name: PropertyKey, value: unknown): boolean {
    registered[name] = value;
    registered.version ??= this.version || versionOfLoaded();
    this.joined.changed();
    return true;
  }

  deleteProperty(registered: Registered, name: PropertyKey): boolean {
    delete registered[name];
    this.joined.changed();
    return true;
  }

  has(registered: Registered, name: PropertyKey): boolean {
    return name in registered || name in this.own;
  }
}
