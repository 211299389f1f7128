/**
 * A connection of the function's to a database, as the one who reads along sees it. The readers of the protocols begin and finish calls
 * here.
 */

import { callSpan } from "../libraries/calls";
import type { Agent } from "../record/agent";
import { chunk } from "../record/chunk";
import type { Attributes, Span } from "../trace/span";

/** Calls of one connection that may wait for their answers; a driver that sends more is let go. */
const MAX_WAITING = 10_000;

/** A protocol's reader. What it throws, and any word that it does not know, ends the reading and nothing else. */
export interface Conversation {
  sent: (data: Buffer) => void;
  received: (data: Buffer) => void;
}

/** How a call ended that the server refused. */
export interface Refusal {
  code: string;
  message: string;
}

export class Connection {
  /** Nobody needs to read along any longer. */
  over = false;
  /** The conversation goes on inside of TLS, with this reader. */
  afterTls: Conversation | undefined;
  /** Where several invocations run at once: what a driver sends now had to wait for this answer, and may be of any of them. */
  inAnswer = false;
  private readonly open = new Set<Span>();

  constructor(
    private readonly agent: Agent,
    readonly host: string | undefined,
    readonly port: number | undefined,
    /** When it was opened. */
    private readonly sinceUs: number,
  ) {}

  /** A call by one of these libraries. None outside of an invocation, and where the library tells of its calls by itself. */
  call(libraries: readonly string[], describe: (databases: typeof import("../libraries/data/databases")) => [name: string, Attributes] | undefined): Span | undefined {
    return this.begin(libraries, chunk("databases"), (databases) => {
      const described = describe(databases);
      return described && callSpan(this.agent, ...described);
    });
  }

  /** The connection itself, from when it was opened until the server takes commands. */
  connect(libraries: readonly string[], system: string, config: object): Span | undefined {
    const { host, port, sinceUs } = this;
    const span = this.call(libraries, ({ waitFor }) => waitFor("connect", system, { host, port, ...config }));
    // One that was opened before the invocation has been waited for since that began.
    if (span !== undefined) span.startUs = Math.max(sinceUs, span.invocation?.startUs ?? 0);
    return span;
  }

  /** The same for messages. */
  send(library: string, describe: (messaging: typeof import("../libraries/data/messaging")) => [name: string, Attributes]): Span | undefined {
    return this.begin([library], chunk("messaging"), (messaging) => messaging.sendSpan(this.agent, ...describe(messaging)));
  }

  private begin<P extends { isTold: (library: string) => boolean }>(libraries: readonly string[], part: P, make: (part: P) => Span | undefined): Span | undefined {
    if (this.over || this.inAnswer || this.agent.root === undefined) return undefined;
    if (libraries.some(part.isTold) || this.open.size >= MAX_WAITING) {
      this.over = true;
      return undefined;
    }
    const span = make(part);
    if (span !== undefined) this.open.add(span);
    return span;
  }

  /** Runs later what belongs to the context of now. */
  here(): <T>(run: () => T) => T {
    const { recorder } = this.agent;
    const held = recorder.held();
    return (run) => recorder.run(held, run);
  }

  now(): number {
    return this.agent.now();
  }

  /** The answer has come. */
  finish(span: Span | undefined, refusal?: Refusal): void {
    if (span === undefined || !this.open.delete(span)) return;
    if (refusal !== undefined && "db.system.name" in span.attributes) span.attributes["db.response.status_code"] = refusal.code;
    this.agent.recorder.finish(span, refusal && { name: refusal.code, message: refusal.message });
  }

  /** No answer will come, or nobody waits for one. */
  close(error?: unknown): void {
    this.over = true;
    for (const span of this.open) this.agent.recorder.finish(span, error);
    this.open.clear();
  }
}
