// What is said of the agent's coverage is what its tests run.

import assert from "node:assert/strict";
import * as fs from "node:fs";
import path from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { found, rows, wanted } from "./coverage.mjs";

const here = path.dirname(fileURLToPath(import.meta.url));
const read = (...parts) => fs.readFileSync(path.join(here, ...parts), "utf8");

/** Package -> versions that the tests install, under its own name or another. */
const installed = new Map();
for (const folder of [".", "beside", "fresh"])
  for (const [name, wants] of Object.entries(JSON.parse(read(folder, "package.json")).dependencies)) {
    const [, real = name, version] = /^(?:npm:(.+)@)?(\d[^@]*)$/.exec(wants) ?? [];
    if (version !== undefined) installed.set(real, [...(installed.get(real) ?? []), version]);
  }

test("every version that coverage.tsv names is one that the tests install, and none is left out", () => {
  const numbers = (versions) => [...new Set(versions)].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  for (const { name, versions } of rows) if (name !== "") assert.deepEqual(versions, numbers(installed.get(name) ?? []), name);
});

test("every library that is patched is in coverage.tsv", () => {
  const table = /const TABLE[^]*?\n};/.exec(read("..", "..", "wrapper", "nodejs", "src", "loading", "packages.ts"))[0];
  const patched = [...table.matchAll(/^ {2}"((?:@[^/]+\/)?[^/"]+)\//gm)].map(([, name]) => name);
  assert.ok(patched.length > 20);
  // Parts of what the rows name.
  const parts = { "@smithy/core": "@aws-sdk/client-dynamodb", "@smithy/smithy-client": "@aws-sdk/client-dynamodb", "@aws-sdk/smithy-client": "@aws-sdk/client-dynamodb", "@redis/client": "redis", router: "express", "pg-pool": "pg" };
  const named = new Set(rows.map(({ name }) => name));
  for (const name of patched) assert.ok(named.has(parts[name] ?? name), name);
});

test("the table in the agent's README is that of coverage.tsv; run tests/nodejs/coverage.mjs", () => {
  assert.match(wanted, /\| AWS SDK 3 \|/);
  assert.equal(found, wanted);
});
