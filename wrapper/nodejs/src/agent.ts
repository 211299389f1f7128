/** What patches get: the recorder, what it needs to be asked politely, and the settings. */

import type { Recorder } from "./recorder";

export interface Agent {
  readonly recorder: Recorder;
  /** The Runtime API's `host:port`. Calls to it are the runtime's own. */
  readonly runtimeApi: string;
  /** Names of instrumentations that are turned off. */
  readonly disabled: (name: string) => boolean;
  /** One line for each kind of trouble in the life of the process. */
  readonly complain: (key: string, message: string) => void;
}

/** Runs what must not trouble the function; the first trouble of each kind is told. */
export function guarded<T>(agent: Agent, what: string, run: () => T): T | undefined {
  try {
    return run();
  } catch (error) {
    agent.complain(what, `${what} could not be recorded: ${String(error)}`);
    return undefined;
  }
}
