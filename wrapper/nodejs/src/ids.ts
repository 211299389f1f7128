/** Random ids. `node:crypto` would be some milliseconds of start-up for what one read of the kernel's source gives. */

import * as fs from "node:fs";

const POOL_BYTES = 1024;
let pool = "";

/** So many random bytes, never all zeros, as lowercase hexadecimal. */
export function newId(bytes: number): string {
  const digits = bytes * 2;
  if (pool.length < digits) refill();
  const id = pool.slice(0, digits);
  pool = pool.slice(digits);
  return /[^0]/.test(id) ? id : newId(bytes);
}

function refill(): void {
  const fd = fs.openSync("/dev/urandom", "r");
  try {
    const fresh = Buffer.allocUnsafe(POOL_BYTES);
    pool = fresh.toString("hex", 0, fs.readSync(fd, fresh));
  } finally {
    fs.closeSync(fd);
  }
}
