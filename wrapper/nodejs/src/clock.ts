/** The monotonic clock. `performance` would be a millisecond of start-up: it is not in Node.js's snapshot. */

export function monotonicUs(): number {
  const time = process.hrtime();
  return time[0] * 1e6 + time[1] / 1e3;
}
