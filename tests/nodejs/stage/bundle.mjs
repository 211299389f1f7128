// What build tools make of a function: one file with its libraries in it.

import { createRequire } from "node:module";
import path from "node:path";
import { modules } from "./function.mjs";

const require = createRequire(path.join(modules, "x.js"));

/** Versions of drivers that have no tracing channels. */
export const OLD = { ioredis: "ioredis5", redis: "redis4", mysql2: "mysql2-3.11", mongodb: "mongodb6" };

export async function bundle(source, { alias = {}, minify = true, keepNames = false, packages = modules }) {
  const built = await require("esbuild").build({
    stdin: { contents: source, resolveDir: path.dirname(packages) },
    bundle: true,
    platform: "node",
    format: "cjs",
    minify,
    keepNames,
    alias,
    absWorkingDir: path.dirname(packages),
    write: false,
    logLevel: "error",
    external: ["@node-rs/xxhash", "pg-native"],
  });
  return { "app.js": built.outputFiles[0].text };
}
