/** Random ids, from the generator that V8 seeds from the kernel for each process. `node:crypto` would be milliseconds of start-up. */

/** Taken before the function can put one of its own in its place. */
const { random } = Math;

/** So many random bytes, a multiple of four and never all zeros, as lowercase hexadecimal. */
export function newId(bytes: number): string {
  let id = "";
  // A first word of zero is as rare as an id of zeros must be.
  while (id.length < bytes * 2) id += Math.floor(random() * 0xffff_ffff + (id === "" ? 1 : 0)).toString(16).padStart(8, "0");
  return id;
}
