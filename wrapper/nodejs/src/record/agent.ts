/** What patches get: the invocation that runs, the recorder, and the settings. */

import type { Recorder } from "./recorder";
import type { Span } from "../trace/span";
import type { TraceHeader } from "../trace/trace_header";
import { told, type Wire } from "./wire";

export interface Agent {
  readonly wire: Wire;
  /** The handler's span while it runs. Work without a context of its own belongs to it. */
  root: Span | undefined;
  /** Ends what nobody waits for when the invocation of that span ends; none where there has been no such call. */
  leave: ((root: Span) => void) | undefined;
  /** The trace header that what happens in the invocation goes by. */
  header: TraceHeader | undefined;
  /** Epoch microseconds. */
  readonly now: () => number;
  /** Records what the function does. It is read when there is something to record. */
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
    agent.complain(what, `${what} could not be recorded: ${told(error)}`);
    return undefined;
  }
}
