/**
 * postgres (porsager's). It sends its queries when a connection is free, so a query's call begins with whoever asks for its result;
 * where it goes is read from the connection that sends it.
 */

import { type Agent, guarded } from "../../record/agent";
import { chunk } from "../../record/chunk";
import { callSpan, type Method, type Prototype } from "../calls";

interface Query {
  readonly executed: boolean;
  readonly strings: readonly string[];
  /** What is sent, once it has been made of the strings. */
  readonly statement: { string?: string } | null;
  resolve: (value: unknown) => unknown;
  reject: (error: unknown) => unknown;
}

export function patch(agent: Agent, exports: unknown): void {
  const { prototype } = (exports as { Query: { prototype: Prototype } }).Query;
  const { handle } = prototype;
  if (handle === undefined) return;
  const handled: Method = function (...given) {
    const query = this as Query;
    if (!query.executed) guarded(agent, "a database call", () => begin(agent, query));
    return handle.apply(this, given);
  };
  prototype.handle = handled;
}

function begin(agent: Agent, query: Query): void {
  const { recorder } = agent;
  const { sql, unsent } = chunk("databases");
  const written = query.strings.map((part, index) => (index === 0 ? part : `$${index}${part}`)).join("");
  const span = callSpan(agent, ...sql("postgresql", written, {}));
  if (span === undefined) return;
  const call = {
    text: (): string | undefined => query.statement?.string,
    sent: (config: Record<string, unknown>): void => {
      const [name, attributes] = sql("postgresql", query.statement?.string, config);
      span.name = name;
      Object.assign(span.attributes, attributes);
    },
  };
  unsent.add(call);
  const finish = (error?: unknown): void => {
    unsent.delete(call);
    guarded(agent, "a database call", () => recorder.finish(span, error));
  };
  const { resolve, reject } = query;
  query.resolve = (value) => {
    finish();
    return resolve(value);
  };
  query.reject = (error) => {
    finish(error);
    return reject(error);
  };
}
