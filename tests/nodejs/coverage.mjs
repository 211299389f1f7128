// What the agent records of which library: coverage.tsv as the table in the agent's README. Run, it writes the table there.

import * as fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const here = path.dirname(fileURLToPath(import.meta.url));
const readme = path.join(here, "..", "..", "wrapper", "nodejs", "README.md");
const MARKED = /(<!-- coverage -->\n)[^]*(<!-- \/coverage -->)/;

export const rows = fs.readFileSync(path.join(here, "coverage.tsv"), "utf8").trimEnd().split("\n").slice(1).map((line) => {
  const [library, name, versions, bundled, recorded] = line.split("\t");
  return { library, name, versions: versions.split(", ").filter(Boolean), bundled, recorded };
});

const row = (cells) => `| ${cells.join(" | ")} |\n`;
const table = [
  row(["library", "versions tried", "in a bundle", "recorded"]),
  row(["---", "---", "---", "---"]),
  ...rows.map(({ library, versions, bundled, recorded }) => row([library, versions.join(", ") || "those of Node.js", bundled, recorded])),
].join("");

export const found = fs.readFileSync(readme, "utf8");
export const wanted = found.replace(MARKED, (_all, begin, end) => begin + table + end);

if (process.argv[1] === fileURLToPath(import.meta.url)) fs.writeFileSync(readme, wanted);
