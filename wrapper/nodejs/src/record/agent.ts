/** The agent, as everybody above gets it: what runs now, the recorder, and the settings. main.ts makes the only one. */

import type { Recorder, Running } from "./recorder";
import { told } from "./wire";

export interface Agent extends Running {
  /** Records what the function does. It is read when there is something to record. */
  readonly recorder: Recorder;
  /** The Runtime API's `host:port`. Calls to it are the runtime's own. */
  readonly runtimeApi: string;
  /** Names of instrumentations that are turned off. */
  readonly disabled: (name: string) => boolean;
}

/** Runs what must not trouble the function; the first trouble of each kind is told. */
export function guarded<T>(agent: Agent, what: string, run: () => T): T | undefined {
  try {
    return run();
  } catch (error) {
    agent.complain(what, `${what} could not be recorded: ${told(error)}`);
    return undefined;
  }
}
