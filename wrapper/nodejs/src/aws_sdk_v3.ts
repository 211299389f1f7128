/** The AWS SDK for JavaScript 3: one span for each command that a client sends. */

import { type Agent, guarded } from "./agent";
import { describeCall, describeOutcome } from "./aws_calls";
import type { Span } from "./span";

interface Client {
  config: { serviceId?: unknown; region?: unknown };
}

type Callback = (error: unknown, data?: unknown) => void;
type Send = (this: Client, command: object, ...rest: unknown[]) => Promise<unknown> | undefined;

interface Metadata {
  requestId?: unknown;
  extendedRequestId?: unknown;
  httpStatusCode?: unknown;
  attempts?: unknown;
}

export function patch(agent: Agent, exports: unknown): void {
  const { Client: client } = exports as { Client: { prototype: { send: Send } } };
  const original = client.prototype.send;
  client.prototype.send = function (command, ...rest) {
    const span = guarded(agent, "an AWS call", () => begin(agent, this, command));
    if (span === undefined) return original.call(this, command, ...rest);
    const last = rest.length - 1;
    const callback = rest[last];
    if (typeof callback === "function") {
      const outer = agent.recorder.held();
      rest[last] = (error: unknown, data: unknown) => {
        finish(agent, span, error, data);
        agent.recorder.run(outer, () => (callback as Callback)(error, data));
      };
      return agent.recorder.run(span, () => original.call(this, command, ...rest));
    }
    const sent = agent.recorder.run(span, () => original.call(this, command, ...rest));
    if (typeof sent?.then !== "function") return sent;
    return sent.then(
      (data) => {
        finish(agent, span, undefined, data);
        return data;
      },
      (error: unknown) => {
        finish(agent, span, error, undefined);
        throw error;
      },
    );
  };
}

function begin(agent: Agent, client: Client, command: object): Span | undefined {
  const span = agent.recorder.call("");
  if (span === undefined) return undefined;
  const operation = command.constructor.name.replace(/Command$/, "");
  const service = typeof client.config.serviceId === "string" ? client.config.serviceId : "AWS";
  describeCall(span, service, operation, (command as { input?: unknown }).input);
  agent.recorder.announce(span);
  const { region } = client.config;
  // The region is found out on the way, as the SDK does itself; it is there long before the answer.
  if (typeof region === "function")
    void Promise.resolve((region as () => unknown)()).then(
      (known) => (span.attributes["cloud.region"] = known),
      () => undefined,
    );
  return span;
}

function finish(agent: Agent, span: Span, error: unknown, data: unknown): void {
  guarded(agent, "an AWS call", () => {
    const source = (error ?? data ?? {}) as { $metadata?: Metadata };
    const metadata = source.$metadata ?? {};
    describeOutcome(span, { ...metadata, statusCode: metadata.httpStatusCode }, error);
    agent.recorder.finish(span, error);
  });
}
