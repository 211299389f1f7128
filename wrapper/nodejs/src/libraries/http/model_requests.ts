/**
 * Which HTTP requests ask a language model: those of OpenAI's and Anthropic's interfaces, by their clients, and what asks their servers.
 * Asked by http.ts, http2.ts and undici.ts.
 */

import { type Agent, guarded } from "../../record/agent";
import { chunk } from "../../record/chunk";
import type { Span } from "../../trace/span";
import { BEDROCK } from "../aws/calls";

const CALL = /\/(chat\/completions|completions|responses|messages|embeddings)$/;
const OPERATIONS: Record<string, string | undefined> = { completions: "text_completion", embeddings: "embeddings" };
const SERVERS = /(?:^|\.)(?:openai\.com|openai\.azure\.com|anthropic\.com)$/;

/** Whether the answer tells of tokens: one of Bedrock, or of a model's own interface. */
export const asksModel = (span: Span, isSigned: boolean, method: string, path: string, get: (name: string) => string): boolean =>
  isSigned ? span.attributes["rpc.service"] === BEDROCK : isModelCall(span, method, path, String(span.attributes["server.address"]), get);

/** Reads along what comes through the stream, before anybody has it. */
export function readAnswer(agent: Agent, span: Span, source: object, encoding: unknown): void {
  const { ModelAnswer } = chunk("models");
  const answer = new ModelAnswer(span, String(encoding ?? ""));
  const stream = source as { push: (this: object, data: unknown, ...rest: unknown[]) => boolean };
  const { push } = stream;
  stream.push = function (data, ...rest) {
    guarded(agent, "a model's answer", () => (data === null ? answer.tell() : answer.feed(data)));
    return push.call(this, data, ...rest);
  };
}

/** Says so of the span, if it is one. Others speak the same interfaces: clients that are known by their headers ask them as well. */
function isModelCall(span: Span, method: string, path: string, host: string, get: (name: string) => string): boolean {
  if (method !== "POST") return false;
  const [, what = ""] = CALL.exec(path.split("?", 1)[0] ?? "") ?? [];
  if (what === "") return false;
  const isAnthropics = get("anthropic-version") !== "";
  if (isAnthropics !== (what === "messages") || !(get("x-stainless-lang") !== "" || isAnthropics || SERVERS.test(host))) return false;
  span.attributes["gen_ai.provider.name"] = isAnthropics ? "anthropic" : "openai";
  span.attributes["gen_ai.operation.name"] = OPERATIONS[what] ?? "chat";
  return true;
}
