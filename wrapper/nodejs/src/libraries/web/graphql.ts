/**
 * GraphQL: one span for each operation, with the errors that go out in its answer. Resolvers have none of their own. Called with what
 * `graphql/execution/execute.js` exports.
 */

import { type Agent, guarded } from "../../record/agent";
import { leave } from "../../record/errors";
import { type Attributes, Kind, MAX_TEXT } from "../../trace/span";
import { bare, type Prototype, runInner } from "../calls";

interface Token {
  kind: string;
  start: number;
  end: number;
  next: Token | null;
}

interface Document {
  definitions?: { operation?: string; name?: { value?: string } }[];
  loc?: { startToken: Token; source: { body: string } };
}

interface Arguments {
  document?: Document;
  operationName?: unknown;
}

interface Outcome {
  errors?: readonly { originalError?: unknown }[];
}

/** `graphql/execution/execute.js` of versions 14 to 16. */
export function patch(agent: Agent, exports: unknown): void {
  const execution = exports as Prototype;
  const { execute } = execution;
  if (execute === undefined) return;
  const { recorder } = agent;
  execution.execute = function (...given) {
    const span = guarded(agent, "a GraphQL operation", () => {
      const [name, attributes] = describe(argumentsOf(given));
      const made = recorder.child(name, Kind.Internal);
      if (made !== undefined) made.attributes = attributes;
      return made;
    });
    if (span === undefined) return bare(() => execute.apply(this, given));
    // The first says why; the answer itself has all of them.
    const failureOf = (outcome: unknown): unknown => {
      const errors = (outcome as Outcome | null | undefined)?.errors;
      for (const error of errors ?? []) [error, error.originalError].forEach(leave);
      const failed = errors?.[0];
      return failed?.originalError ?? failed;
    };
    return runInner(agent, span, () => execute.apply(this, given), failureOf);
  };
}

/** One object, or up to version 15 one after the other. */
function argumentsOf(given: unknown[]): Arguments {
  return given.length > 1 ? { document: given[1] as Document, operationName: given[5] } : ((given[0] ?? {}) as Arguments);
}

function describe({ document, operationName }: Arguments): [string, Attributes] {
  const operations = (document?.definitions ?? []).filter(({ operation }) => operation !== undefined);
  const named = typeof operationName === "string" && operationName !== "";
  const chosen = named ? operations.find(({ name }) => name?.value === operationName) : operations[0];
  const type = chosen?.operation;
  const name = chosen?.name?.value;
  const attributes: Attributes = {
    "graphql.operation.type": type,
    "graphql.operation.name": name,
    "graphql.source": document?.loc === undefined ? undefined : masked(document.loc.startToken, document.loc.source.body),
  };
  return [[type, name].filter(Boolean).join(" ") || "graphql.execute", attributes];
}

const VALUES: Record<string, string> = { Int: "*", Float: "*", String: '"*"', BlockString: '"*"' };

/** The document as it was written, without the values that are written into it. */
function masked(first: Token, body: string): string {
  let shown = "";
  let from = 0;
  for (let token: Token | null = first; token !== null && shown.length < MAX_TEXT; token = token.next) {
    shown += body.slice(from, token.start) + (VALUES[token.kind] ?? body.slice(token.start, token.end));
    from = token.end;
  }
  return shown.slice(0, MAX_TEXT);
}
