/**
 * What a call of a language model says: the model in the request, and in its answer the model and the tokens, whole or as a stream of
 * events. Fed by whoever sees the request's body and the pieces of the answer.
 */

import { brotliDecompressSync, constants, gunzipSync, inflateSync } from "node:zlib";
import type { Span } from "../trace/span";
import { parametersIn } from "./body";

/** Of an answer, what is looked at: usage stands at its end, and at the beginning of some streams. */
const HEAD = 8192;
const TAIL = 65_536;
/** Bytes of a compressed one, which can only be read as a whole. */
const MAX_COMPRESSED = 1_048_576;
const MAX_TEXT = 16 * MAX_COMPRESSED;

const DECODERS: Record<string, ((data: Buffer, options: object) => Buffer) | undefined> = {
  gzip: gunzipSync,
  "x-gzip": gunzipSync,
  deflate: inflateSync,
  br: brotliDecompressSync,
};

/** What the request's body says. */
export function describeModel({ attributes }: Span, type: string, body: Buffer): void {
  const { model } = parametersIn(type, body, ["model"]);
  if (typeof model === "string") attributes["gen_ai.request.model"] = model;
}

/** An answer, as it is read. */
export class ModelAnswer {
  private head: Buffer[] = [];
  private tail: Buffer[] = [];
  private headSize = 0;
  private tailSize = 0;

  constructor(
    private readonly span: Span,
    private readonly encoding: string,
  ) {}

  feed(data: unknown): void {
    if (!(data instanceof Uint8Array) || data.length === 0) return;
    const piece = Buffer.from(data);
    const isCompressed = DECODERS[this.encoding] !== undefined;
    const room = Math.min(isCompressed ? MAX_COMPRESSED - this.headSize : HEAD - this.headSize, piece.length);
    if (room > 0) {
      this.head.push(piece.subarray(0, room));
      this.headSize += room;
    }
    if (room === piece.length || isCompressed) return;
    this.tail.push(piece.subarray(room));
    this.tailSize += piece.length - room;
    while (this.tail.length > 1 && this.tailSize - (this.tail[0]?.length ?? 0) >= TAIL) this.tailSize -= this.tail.shift()?.length ?? 0;
  }

  /** It is over, or broken off. */
  tell(): void {
    const head = Buffer.concat(this.head);
    const tail = Buffer.concat(this.tail);
    this.head = this.tail = [];
    const options = { finishFlush: this.encoding === "br" ? constants.BROTLI_OPERATION_FLUSH : constants.Z_SYNC_FLUSH, maxOutputLength: MAX_TEXT };
    const whole = DECODERS[this.encoding]?.(head, options) ?? head;
    const { attributes } = this.span;
    const text = `${clear(whole)}\n${clear(tail)}`;
    const model = /(?<!\\)"model"\s*:\s*"([^"\\]{1,256})"/.exec(text)?.[1];
    if (model !== undefined) attributes["gen_ai.response.model"] = model;
    const { input, output } = tokensIn(text);
    if (input !== undefined) attributes["gen_ai.usage.input_tokens"] = input;
    if (output !== undefined) attributes["gen_ai.usage.output_tokens"] = output;
  }
}

/** Models of Bedrock answer in pieces that are written in base64. */
function clear(data: Buffer): string {
  return data.toString("latin1").replace(/"bytes":"([A-Za-z0-9+/=]+)"/g, (_all, bytes: string) => Buffer.from(bytes, "base64").toString("latin1"));
}

/** No text in JSON says so: its quotation marks are escaped there. */
const USAGE = /(?<!\\)"(?:usage|usageMetadata|amazon-bedrock-invocationMetrics)"\s*:\s*\{/g;
const INPUT = /(?<!\\)"(?:input_tokens|prompt_tokens|inputTokens|inputTokenCount)"\s*:\s*(\d+)/;
const OUTPUT = /(?<!\\)"(?:output_tokens|completion_tokens|outputTokens|outputTokenCount)"\s*:\s*(\d+)/;

/** What it says last counts. */
export function tokensIn(text: string): { input: number | undefined; output: number | undefined } {
  const found: { input: number | undefined; output: number | undefined } = { input: undefined, output: undefined };
  for (const { index, 0: begin } of text.matchAll(USAGE)) {
    const usage = text.slice(index + begin.length, index + 1024);
    const [input, output] = [INPUT.exec(usage)?.[1], OUTPUT.exec(usage)?.[1]];
    if (input !== undefined) found.input = Number(input);
    if (output !== undefined) found.output = Number(output);
  }
  return found;
}
