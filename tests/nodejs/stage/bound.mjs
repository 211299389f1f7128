// How long anything may take before a test gives up: only what hangs reaches it. Nothing is measured by it.

export const BOUND_MS = 180_000;

/** Calls when the time is up, without keeping the process for it; give it to clearTimeout. */
export const bound = (over) => setTimeout(over, BOUND_MS).unref();
