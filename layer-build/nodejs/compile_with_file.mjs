// Puts the functions that a file declares into parentheses: V8 then compiles them with the file. Others it reads twice, once to
// find their ends and again when they are first called; that was 18 % of the instructions that the agent adds to a cold start of
// Node.js 20. Methods and arrow functions stay as they are; whatever is not called in every cold start should be one of these.
//
//   node compile_with_file.mjs NODE_MODULES FILE     (NODE_MODULES has typescript)

import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const STRICT = '"use strict";';

const [modules, file] = process.argv.slice(2);
const ts = createRequire(path.resolve(modules, "x.js"))("typescript");
const text = fs.readFileSync(file, "utf8");
if (!text.startsWith(STRICT)) throw new Error(`${file} does not begin with ${STRICT}`);
const functions = ts
  .createSourceFile(file, text, ts.ScriptTarget.ES2022)
  .statements.filter((statement) => ts.isFunctionDeclaration(statement));
// In front of everything, as declarations count.
let made = "";
let rest = "";
let at = STRICT.length;
for (const { pos, end, name } of functions) {
  made += `${made === "" ? "var " : ","}${name.text}=(function${text.slice(name.end, end)})`;
  rest += text.slice(at, pos);
  at = end;
}
fs.writeFileSync(file, `${STRICT}${made};${rest}${text.slice(at)}`);
