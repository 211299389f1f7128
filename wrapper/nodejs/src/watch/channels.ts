/** Diagnostics channels, on which libraries tell of their calls. Called at every start; hands the names on to loading/listeners.ts. */

import type { Channel } from "../loading/listeners";
import { type Agent, guarded } from "../record/agent";
import { chunk } from "../record/chunk";

interface Diagnostics {
  channel: (name: string) => Channel;
  tracingChannel?: (name: unknown) => { start?: Channel };
}

/** How the names of those begin that `listeners` knows. Node.js makes channels of its own. */
const TELLING = ["undici:request:create", "tracing:mysql2:", "tracing:ioredis:", "tracing:node-redis:"];

/**
 * Waits for libraries to make the channels that are wanted, which a library does when it is loaded, also inside of a bundle.
 * A function that has none of them pays for none. `madeBefore`: something has been loaded before the agent.
 */
export function watchChannels(agent: Agent, madeBefore: boolean): void {
  const diagnostics = require("node:diagnostics_channel") as Diagnostics;
  const { channel, tracingChannel } = diagnostics;
  const notice = (name: unknown): void => {
    if (typeof name === "string" && TELLING.some((start) => name.startsWith(start)))
      guarded(agent, "a channel", () => chunk("listeners").made(agent, channel, name));
  };
  if (madeBefore) chunk("listeners").madeBefore(agent, channel);
  diagnostics.channel = (name) => {
    const made = channel(name);
    notice(name);
    return made;
  };
  if (tracingChannel === undefined) return;
  diagnostics.tracingChannel = (name) => {
    const made = tracingChannel(name);
    notice(`tracing:${String(name)}:start`);
    return made;
  };
}
