/** Gives a part of the agent by its name, read when it is asked for first. Everybody below main.ts gets to a part this way. */

/** Name -> what the part exports. The table is in chunks.ts, above all of them. */
export interface Chunks {}

const loaded: Partial<Chunks> = {};

export function chunk<N extends keyof Chunks>(name: N): Chunks[N] {
  return (loaded[name] ??= require(`${__dirname}/${name}.js`) as Chunks[N]) as Chunks[N];
}
