/** The monotonic clock. `performance` would be a millisecond of start-up: it is not in Node.js's snapshot. */

export function monotonicUs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e6 + nanoseconds / 1e3;
}
