// Invocations of which neither Lambda nor a caller has decided (LAM-6): the agent does, and tells whom it calls.

import assert from "node:assert/strict";
import test from "node:test";
import { listen, withFunction } from "./stage/function.mjs";

const GET = `exports.handler = ({ url }) => new Promise((go) => require("http").get(url, (res) => res.resume().on("end", () => go(res.statusCode))));`;
const INSIDE = "0ccccccc";
const OUTSIDE = "ffffffff";

const header = (number, end, sampled) =>
  `Root=1-5759e988-${String(number).padStart(16, "0")}${end};Parent=53995c3f42cd8ad8${sampled === "" ? "" : `;Sampled=${sampled}`}`;

const CASES = [
  [{ OTEL_XRAY_SAMPLING: "auto" }, [["0", INSIDE, "1"], ["", INSIDE, "1"], ["?", INSIDE, "1"]]],
  [{ OTEL_XRAY_SAMPLING: "auto", OTEL_XRAY_TRACING_MODE: "active" }, [["0", INSIDE, "0"]]],
  [{ OTEL_XRAY_SAMPLING: "rules" }, [["0", INSIDE, "0"]]],
  [{ OTEL_XRAY_SAMPLING: "respect" }, [["0", INSIDE, "0"]]],
  // LAM-5: who has said yes has said no, too.
  [{ OTEL_XRAY_SAMPLING: "auto" }, [["1", OUTSIDE, "1"], ["0", INSIDE, "0"], ["", INSIDE, "1"]]],
];

for (const [variables, invocations] of CASES)
  test(`LAM-6: what is undecided is decided and told, ${JSON.stringify(variables)} ${invocations.length}`, async () => {
    const seen = [];
    const { address, close } = await listen((request, response) => {
      seen.push(request.headers["x-amzn-trace-id"]);
      response.end("fine");
    });
    try {
      await withFunction(GET, { variables }, async (fn) => {
        for (const [index, [sampled, end, expected]] of invocations.entries()) {
          await fn.invoke({ url: `http://${address}/` }, header(index + 1, end, sampled));
          assert.match(seen[index], new RegExp(`;Sampled=${expected}$`));
        }
      });
    } finally {
      close();
    }
  });
