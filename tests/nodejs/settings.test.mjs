// What the agent makes of settings: what the extension makes of them (tests/settings.json).

import assert from "node:assert/strict";
import fs from "node:fs";
import { createRequire } from "node:module";
import test from "node:test";

const require = createRequire(import.meta.url);
const table = JSON.parse(fs.readFileSync(new URL("../settings.json", import.meta.url), "utf8"));

/** A part of the agent as the layer has it, without what another test has left in it. */
function part(name) {
  const file = require.resolve(`${process.env.OTEL_XRAY_NODE_AGENT}/${name}.js`);
  delete require.cache[file];
  return require(file);
}

const given = (variables) => Object.fromEntries(Object.entries(variables).filter(([, value]) => value !== null));

for (const { value, is } of table.agent_socket)
  test(`worker threads connect to where the extension listens: ${JSON.stringify(value)}`, () => {
    assert.equal(part("managed").agentSocket(given({ OTEL_XRAY_AGENT_SOCKET: value })), is);
  });

for (const { value, is } of table.daemon)
  test(`the X-Ray SDK's documents go to where the extension listens: ${JSON.stringify(value)}`, () => {
    assert.equal(part("xray_sdk").extensionAddress(given({ OTEL_XRAY_DAEMON: value }))?.join(":") ?? null, is);
  });

for (const { sampling, tracing_mode, is } of table.decides)
  test(`the agent decides where the extension lets it: ${JSON.stringify([sampling, tracing_mode])}`, () => {
    const environ = given({ OTEL_XRAY_SAMPLING: sampling, OTEL_XRAY_TRACING_MODE: tracing_mode });
    assert.equal(part("sampler").isOurs({ sampled: "0" }, environ, false), is);
  });

for (const { value, is, complains = false } of table.switch)
  test(`a switch is read as the extension reads one: ${JSON.stringify(value)}`, () => {
    const lines = [];
    const { disabled } = part("instrumentations").chosen(given({ OTEL_XRAY_LOG_TRACE_IDS: value }), (key, line) => lines.push([key, line]));
    assert.equal(disabled("console"), !is);
    assert.equal(lines.length, complains ? 1 : 0);
    if (complains)
      assert.deepEqual(lines[0], [
        "OTEL_XRAY_LOG_TRACE_IDS",
        `OTEL_XRAY_LOG_TRACE_IDS=${JSON.stringify(value)} is not understood: set it to true or false; using the default (false)`,
      ]);
  });
