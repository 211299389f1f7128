// The functions that are measured: one for each kind of handler.

import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const IMPORT = 'import { S3Client, GetObjectCommand } from "@aws-sdk/client-s3";';
const REQUIRE = 'const { S3Client, GetObjectCommand } = require("@aws-sdk/client-s3");';
const AWS = `const s3 = new S3Client({ region: "eu-west-1", endpoint: process.env.AWS_URL, forcePathStyle: true });
  const handler = async () => { const { Body } = await s3.send(new GetObjectCommand({ Bucket: "b", Key: "k" })); return Body.transformToString(); };`;

export const FORMS = ["empty", "commonjs", "esm", "bundle"];

/** Whether the runtime loads this handler as an ES module whatever the version of Node.js. */
export const isModule = (form) => form === "esm" || form === "bundle";

/** Whether the handler makes an AWS call. */
export const callsAws = (form) => form !== "empty";

/** Lays the functions out below `folder`, each in a folder of its name; `modules` has esbuild and the AWS SDK. */
export async function layForms(folder, modules) {
  const { build } = createRequire(path.join(modules, "x.js"))("esbuild");
  const bundle = await build({
    stdin: { contents: `${IMPORT} ${AWS} export { handler };`, resolveDir: path.dirname(modules) },
    bundle: true,
    platform: "node",
    format: "esm",
    write: false,
    banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
  });
  const sources = {
    empty: ["app.js", "exports.handler = async () => 1;"],
    commonjs: ["app.js", `${REQUIRE} ${AWS} exports.handler = handler;`],
    esm: ["app.mjs", `${IMPORT} ${AWS} export { handler };`],
    bundle: ["app.mjs", bundle.outputFiles[0].text],
  };
  for (const form of FORMS) {
    const task = path.join(folder, form);
    fs.mkdirSync(task);
    fs.writeFileSync(path.join(task, sources[form][0]), sources[form][1]);
    if (form !== "bundle") fs.symlinkSync(modules, path.join(task, "node_modules"));
  }
}
