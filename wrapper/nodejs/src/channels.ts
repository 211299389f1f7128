/** Diagnostics channels, on which libraries tell of their calls. */

import { type Agent, guarded } from "./agent";
import { chunk } from "./chunks";

export interface Channel {
  subscribe: (listener: (message: unknown) => void) => void;
}

interface Diagnostics {
  channel: (name: string) => Channel;
  tracingChannel?: (name: unknown) => { start?: Channel };
}

/**
 * Waits for libraries to make the channels that are wanted, which a library does when it is loaded, also inside of a bundle.
 * A function that has none of them pays for none. `madeBefore`: something has been loaded before the agent.
 */
export function watchChannels(agent: Agent, madeBefore: boolean): void {
  const diagnostics = require("node:diagnostics_channel") as Diagnostics;
  const { channel, tracingChannel } = diagnostics;
  const notice = (name: unknown): void => {
    if (name === "undici:request:create" || String(name).startsWith("tracing:"))
      guarded(agent, "a channel", () => chunk("listeners").made(agent, channel, String(name)));
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
    if (typeof name === "string") notice(`tracing:${name}:start`);
    return made;
  };
}
