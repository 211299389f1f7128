/** Time, by the monotonic clock. `performance` would be a millisecond of start-up: it is not in Node.js's snapshot. */

export function monotonicUs(): number {
  const time = process.hrtime();
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
  const newOffsetUs = Date.now() * 1000 - monotonicUs();
  const behindUs = newOffsetUs - offsetUs;
  if (behindUs > 0 || behindUs < -2000) offsetUs = newOffsetUs;
}
