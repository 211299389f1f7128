/** Where calls of `node:http` are noticed. What they say is read by chunks that the first call loads. Called at every start. */

import type { ClientRequest } from "node:http";
import { type Agent, guarded } from "../record/agent";
import { chunk } from "../record/chunk";
import { RUNTIME_API } from "../record/paths";
import type { Invocation } from "../runtime/invocation";

type StoreHeader = (this: ClientRequest, firstLine: string, headers: unknown) => unknown;

/**
 * Sees every `http` and `https` request where its header block is made: the one place that all of Node.js 18 to 26 share,
 * after the function has said everything about the request and before anything of it is sent.
 */
export function watchHttp(agent: Agent, invocation: Invocation, found: () => void): void {
  const { ClientRequest: request } = require("node:http") as typeof import("node:http");
  const prototype = request.prototype as unknown as { _storeHeader: StoreHeader };
  const original = prototype._storeHeader;
  prototype._storeHeader = function (firstLine, headers) {
    let sent = headers;
    guarded(agent, "an HTTP call", () => {
      if (this.path.startsWith(RUNTIME_API) && this.getHeader("host") === agent.runtimeApi) {
        found();
        chunk("runtime_http").watch(agent, invocation, this);
      } else if (agent.root !== undefined && !agent.disabled("http") && !agent.recorder.isNamed(this.getHeader("x-amzn-trace-id"))) {
        sent = chunk("http").begin(agent, this, headers);
      }
    });
    return original.call(this, firstLine, sent);
  };
}
