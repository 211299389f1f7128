/**
 * Whether somebody reads the answer to a call: until then it has been answered, and nobody waits for it. Asked by everything that calls
 * over HTTP, when the head of an answer is there.
 */

import { type Agent, guarded } from "../../record/agent";
import type { Span } from "../../trace/span";

/** A readable stream of Node.js or of undici. */
export interface Body {
  readonly readableFlowing: boolean | null;
  readonly listenerCount: (event: string) => number;
  read: (this: Body, size?: number) => unknown;
  readonly _readableState?: { pipes?: Body[] };
}

// The function may replace them later, with ones of which it turns the clock.
const later = queueMicrotask;
const { nextTick } = process;

/** Looks, when everything that waited for the head of the answer has run, whether its body is being read. */
export function watchBody(agent: Agent, span: Span, bodyOf: () => Body | undefined): void {
  later(() => nextTick.call(process, () => guarded(agent, "an answer", () => look(agent, span, bodyOf()))));
}

function look(agent: Agent, span: Span, source: Body | undefined): void {
  if (source === undefined || span.endUs !== 0) return;
  const body = last(source);
  if (isRead(body)) return;
  const { recorder } = agent;
  recorder.answered(span, Number(span.attributes["http.response.status_code"] ?? 0));
  const { read } = body;
  const watched: Body["read"] = function (size) {
    // With 0 a stream asks by itself for more than anybody wants.
    if (size !== 0 || isRead(this)) {
      if (body.read === watched) body.read = read;
      guarded(agent, "an answer", () => recorder.awaited(span));
    }
    return read.call(this, size);
  };
  body.read = watched;
}

/** Where what is compressed comes out. */
function last(source: Body): Body {
  let body = source;
  for (let depth = 0; depth < 10; depth++) {
    const [next, ...others] = body._readableState?.pipes ?? [];
    if (next?._readableState === undefined || others.length > 0) break;
    body = next;
  }
  return body;
}

function isRead(body: Body): boolean {
  if (body.readableFlowing !== null || body.listenerCount("readable") > 0 || body.listenerCount("data") > 0) return true;
  // undici's `body.text()` and its like listen to nothing.
  const consume = Object.getOwnPropertySymbols(body).find(({ description }) => description === "kConsume");
  return consume !== undefined && (body as unknown as Record<symbol, unknown>)[consume] !== null;
}
