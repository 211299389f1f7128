/** The runtime client's native module: what it receives and answers is the invocation. Called at every start. */

import { type Agent, guarded } from "../record/agent";
import { chunk } from "../record/chunk";
import type { Invocation, InvocationHeaders } from "./invocation";

interface NativeClient {
  next: (...args: unknown[]) => Promise<{ bodyJson: string; headers: InvocationHeaders }>;
  done: (...args: unknown[]) => unknown;
  error: (...args: unknown[]) => unknown;
}

type Dlopen = typeof process.dlopen;

/** Waits for the module to be loaded, whatever its file is called, which happens once, and steps back. */
export function watchNativeClient(agent: Agent, invocation: Invocation, found: () => void): void {
  const original = process.dlopen;
  const dlopen: Dlopen = function (this: unknown, ...args: Parameters<Dlopen>) {
    original.apply(process, args);
    guarded(agent, "the runtime client", () => {
      const { exports } = args[0] as NodeJS.Module;
      if (!args[1].endsWith("rapid-client.node") && !isClient(exports)) return;
      process.dlopen = original;
      found();
      watch(agent, invocation, exports as NativeClient);
    });
  };
  process.dlopen = dlopen;
}

/** It exports these three functions and nothing else. */
function isClient(exports: object): boolean {
  return Object.keys(exports).sort().join() === "done,error,next";
}

function watch(agent: Agent, invocation: Invocation, client: NativeClient): void {
  const { next, done, error } = client;
  const own = `${__dirname}/`;
  // An error that nobody has caught on its way may have come through the agent.
  const withoutOwn = (text: string): string => guarded(agent, "an error", () => chunk("errors").reportWithoutOwnFrames(text)) ?? text;
  client.next = function (...args) {
    const scope = invocation.asks();
    return next.apply(this, args).then((received) => {
      invocation.begin(scope, received.headers, received.bodyJson);
      return received;
    });
  };
  client.done = function (...args) {
    const endUs = agent.now();
    const result = done.apply(this, args);
    // After the response has left: this costs the caller nothing, and the next event is not asked for yet.
    invocation.end(invocation.answers(String(args[0])), endUs, undefined, String(args[1]));
    return result;
  };
  client.error = function (...args) {
    const endUs = agent.now();
    const told = args.map((text, index) => (index > 0 && typeof text === "string" && text.includes(own) ? withoutOwn(text) : text));
    const result = error.apply(this, told);
    invocation.end(invocation.answers(String(args[0])), endUs, String(told[1]));
    return result;
  };
}
