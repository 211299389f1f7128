/** Time, by the monotonic clock. `performance` would be a millisecond of start-up: it is not in Node.js's snapshot. */

/** Taken before the function can put others in their place, as fake timers do. */
const { hrtime } = process;
const { now } = Date;

/** Epoch milliseconds. */
export const wallMs = now;

export function monotonicUs(): number {
  const time = hrtime();
  return time[0] * 1e6 + time[1] / 1e3;
}

let offsetUs = 0;

/** Epoch microseconds, from the monotonic clock between one `setClock` and the next. */
export function nowUs(): number {
  if (offsetUs === 0) setClock();
  return monotonicUs() + offsetUs;
}

/** The monotonic clock stands still while the environment is frozen, and the wall clock has whole milliseconds, cut off. */
export function setClock(): void {
  const newOffsetUs = now() * 1000 - monotonicUs();
  const behindUs = newOffsetUs - offsetUs;
  if (behindUs > 0 || behindUs < -2000) offsetUs = newOffsetUs;
}
