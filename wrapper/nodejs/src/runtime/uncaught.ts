/**
 * Errors that nobody catches, and that end the process: what they say is on the span of what ran, the handler's or the failed load's. Told
 * by main.ts of each.
 */

import { chunk } from "../record/chunk";
import { Status } from "../trace/span";
import { loadingFailed } from "./init_error";
import type { Invocation } from "./invocation";

/** Tells of the error, if it ends the process in what runs now. */
export function thrown(invocation: Invocation, error: unknown): void {
  const { agent } = invocation;
  const { root } = agent;
  const endUs = agent.now();
  // Who reports it quotes its stack, which may have come through the agent.
  chunk("errors").leave(error);
  const tell = (): void => {
    if (agent.root !== root) return;
    const { describe, messageOf } = chunk("errors");
    if (root === undefined) {
      if (invocation.isCold) loadingFailed(invocation, describe(error));
      return;
    }
    agent.recorder.addEvent(root, "exception", describe(error), endUs);
    root.status = Status.Error;
    root.statusMessage = messageOf(error);
    root.endUs = endUs;
    // Not `done`: what else is open ends with the process.
    agent.wire.end(root, true);
  };
  // Whoever handles it may go on, or report it as runtime clients before version 4 do, or exit.
  if (process.listenerCount("uncaughtException") > 0 || process.hasUncaughtExceptionCaptureCallback()) process.once("exit", tell);
  else tell();
}
