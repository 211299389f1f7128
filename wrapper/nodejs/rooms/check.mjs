// Checks which way the arrows between the agent's rooms run (rules.mjs), and how many files a room has.
//
//   node check.mjs MODULES     (MODULES is the folder whose node_modules has dependency-cruiser)

import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { forbidden, isInRoom, MOST_FILES } from "./rules.mjs";

const source = path.join(path.dirname(fileURLToPath(import.meta.url)), "..", "src");
const cruiser = path.resolve(process.argv[2], "node_modules", "dependency-cruiser");
const { exports: doors } = JSON.parse(fs.readFileSync(path.join(cruiser, "package.json"), "utf8"));
const { cruise } = await import(pathToFileURL(path.join(cruiser, doors["."].import)));

/** Name of a part -> the file that it is made of. */
const table = fs.readFileSync(path.join(source, "chunks.ts"), "utf8");
const parts = new Map([...table.matchAll(/^ *(\w+): typeof import\("\.\/(.+)"\);$/gm)].map(([, name, file]) => [name, file]));

/** The sources, where a part that is asked for by its name is required by its path: dependency-cruiser sees paths. */
const copy = fs.mkdtempSync(path.join(os.tmpdir(), "rooms-"));
let named = 0;
try {
  fs.cpSync(source, copy, { recursive: true });
  for (const file of fs.readdirSync(copy, { recursive: true })) {
    if (!file.endsWith(".ts")) continue;
    const text = fs.readFileSync(path.join(copy, file), "utf8");
    const required = (name) => {
      named++;
      return `require("${parts.has(name) ? `./${path.relative(path.dirname(file), parts.get(name))}` : `no part ${name}`}")`;
    };
    let asked = text.replace(/\bchunk\("(\w+)"\)/g, (_, name) => required(name));
    // Where a variable holds the name, it is one that the file has in a table.
    if (/\bchunk\(\w+\)/.test(text)) for (const [, name] of text.matchAll(/"(\w+)"/g)) if (parts.has(name)) asked += `${required(name)};\n`;
    fs.writeFileSync(path.join(copy, file), asked);
  }
  await check();
} finally {
  fs.rmSync(copy, { recursive: true });
}

async function check() {
  const options = { baseDir: copy, validate: true, ruleSet: { forbidden }, tsPreCompilationDeps: true };
  const { output } = await cruise(["."], options, { extensions: [".ts"] });
  const files = output.modules.map((module) => module.source).filter((file) => file.endsWith(".ts"));
  const faults = output.summary.violations.map(({ from, to, rule, cycle }) => {
    const { comment } = forbidden.find(({ name }) => name === rule.name);
    return `${from} -> ${cycle?.map(({ name }) => name).join(" -> ") ?? to} (${rule.name}): ${comment}`;
  });
  for (const file of files) if (!isInRoom(file)) faults.push(`${file} is in no room of rules.mjs: name the room there, on the line where it belongs`);
  const counts = {};
  for (const file of files) counts[path.dirname(file)] = (counts[path.dirname(file)] ?? 0) + 1;
  for (const [folder, count] of Object.entries(counts))
    if (count > MOST_FILES) faults.push(`${folder} has ${count} files, and ${MOST_FILES} is the most: make a room of some of them`);
  // What sees no arrows finds no fault with them.
  if (files.length < 50 || named < 50) faults.push(`${files.length} files that ask for parts ${named} times are too few: check.mjs no longer sees what it looks for`);
  for (const fault of faults) console.error(`rooms: ${fault}`);
  console.log(`rooms: ${files.length} files, ${output.summary.totalDependenciesCruised} arrows, ${faults.length} faults`);
  process.exitCode = faults.length === 0 ? 0 : 1;
}
