/** Diagnostics channels, on which libraries tell of their calls. */

interface Channel {
  subscribe: (listener: (message: unknown) => void) => void;
}

interface Diagnostics {
  channel: (name: string) => Channel;
  tracingChannel?: (name: unknown) => { start?: Channel };
}

/** `event` is the last word of the channel's name. */
type Listener = (event: string, message: unknown) => void;

interface Wanted {
  followed: string[];
  on: Listener;
}

const wanted = new Map<string, Wanted>();

/** Held here, because on Node.js 18 a channel that nobody holds is forgotten with its listeners. */
const held: Channel[] = [];

/** Listens to the channel of an event and, from the first such event on, to those that follow it. */
export function listen(event: string, followed: string[], on: Listener): void {
  wanted.set(event, { followed, on });
}

/**
 * Waits for libraries to make the channels that are wanted, which a library does when it is loaded, also inside of a bundle.
 * A function that has none of them pays for none. `madeBefore`: something has been loaded before the agent.
 */
export function watchChannels(madeBefore: boolean): void {
  const diagnostics = require("node:diagnostics_channel") as Diagnostics;
  const { channel, tracingChannel } = diagnostics;
  const subscribe = (name: string, { followed, on }: Wanted): void => {
    const made = channel(name);
    made.subscribe((message) => {
      for (const later of followed.splice(0)) subscribe(later, { followed: [], on });
      on(name.slice(name.lastIndexOf(":") + 1), message);
    });
    held.push(made);
  };
  const notice = (name: string): void => {
    const one = wanted.get(name);
    if (one === undefined) return;
    wanted.delete(name);
    subscribe(name, one);
  };
  if (madeBefore) for (const name of [...wanted.keys()]) notice(name);
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
