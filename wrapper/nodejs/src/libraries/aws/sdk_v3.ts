/**
 * The AWS SDK for JavaScript 3: one span for each command that a client sends. Called with what the file that holds the class of all
 * clients exports, when it has been loaded.
 */

import { type Agent, guarded } from "../../record/agent";
import { chunk } from "../../record/chunk";
import { leave } from "../../record/errors";
import type { Span } from "../../trace/span";
import { BEDROCK, describeCall, describeOutcome, describeTokens } from "./calls";
import { defaultPort } from "./request";

interface Client {
  send: Send;
  config: { serviceId?: unknown; region?: unknown; cacheMiddleware?: unknown };
}

/** What a middleware is given, whatever protocol the client speaks. */
interface Arguments {
  request?: { headers?: Record<string, string>; hostname?: string; port?: number; protocol?: string };
}

type Next = (args: Arguments) => unknown;

interface Command {
  input?: unknown;
  /** The service's own command, which one of the DocumentClient stands for. */
  clientCommand?: object;
  middlewareStack?: { add: (middleware: (next: Next) => Next, options: object) => void };
}

type Callback = (error: unknown, data?: unknown) => void;
type Send = (this: Client, command: Command, ...rest: unknown[]) => Promise<unknown> | undefined;

interface Metadata {
  requestId?: unknown;
  extendedRequestId?: unknown;
  httpStatusCode?: unknown;
  attempts?: unknown;
}

/** One package hands on what another one exports. */
const patched = new WeakSet<object>();

export function patch(agent: Agent, exports: unknown): void {
  const { Client: client } = exports as { Client: { prototype: { send: Send } } };
  if (patched.has(client.prototype)) return;
  patched.add(client.prototype);
  const original = client.prototype.send;
  client.prototype.send = function (command, ...rest) {
    const span = guarded(agent, "an AWS call", () => begin(agent, this, command));
    if (span === undefined) return original.call(this, command, ...rest);
    const { recorder } = agent;
    const isCached = this.config.cacheMiddleware === true;
    guarded(agent, "a trace header", () => addHeader(agent, span, command, isCached));
    const send = (): Promise<unknown> | undefined => original.call(this, command, ...rest);
    const last = rest.length - 1;
    const callback = rest[last];
    if (typeof callback === "function") {
      const outer = recorder.held();
      rest[last] = (error: unknown, data: unknown) => {
        finish(agent, span, error, data);
        if (recorder.needsContexts) recorder.run(outer, () => (callback as Callback)(error, data));
        else (callback as Callback)(error, data);
      };
      return isCached ? recorder.run(span, send) : recorder.within(span, send);
    }
    const sent = isCached ? recorder.run(span, send) : recorder.within(span, send);
    if (typeof sent?.then !== "function") return sent;
    return sent.then(
      (data) => {
        finish(agent, span, undefined, data);
        return data;
      },
      (error: unknown) => {
        leave(error);
        finish(agent, span, error, undefined);
        throw error;
      },
    );
  };
}

/**
 * Names the call in its requests, in front of the signature: that alone makes them known as this call's, and spares a function that
 * calls nothing else the cost of contexts, which some versions of Node.js put on every promise. Where it may not be named, its context tells;
 * so it does where the client keeps the middleware of the first call for those that follow.
 */
function addHeader(agent: Agent, called: Span, command: Command, isCached: boolean): void {
  const { recorder } = agent;
  if (command.middlewareStack === undefined) return;
  const middleware = (next: Next): Next => (args) => {
    const { headers, hostname = "", port, protocol } = args.request ?? {};
    const span = isCached ? recorder.own() : called;
    if (headers === undefined || span === undefined || !span.isCall || span.endUs !== 0) return next(args);
    const named = guarded(agent, "a trace header", () => recorder.putHeader(span, headers, hostname, port ?? defaultPort(protocol)));
    const sent = named === true ? next(args) : recorder.run(span, () => next(args));
    return span.attributes["rpc.service"] === BEDROCK ? withTokens(agent, span, sent) : sent;
  };
  // Behind the SDK's own header, which it puts there for the whole call as well.
  command.middlewareStack.add(middleware, { step: "build", priority: "low", name: "otelXrayTraceHeader", override: true });
  recorder.name(called);
}

/** The response is there, but for what streams in it. */
async function withTokens(agent: Agent, span: Span, sent: unknown): Promise<unknown> {
  const answer = await sent;
  guarded(agent, "an AWS call", () => {
    const { response, output } = answer as { response?: { headers?: Record<string, unknown> }; output?: { usage?: unknown } };
    describeTokens(span, output?.usage, response?.headers);
  });
  return answer;
}

/** Asked for once: it is a promise, and a client keeps its region. */
const regions = new WeakMap<Client, unknown>();

function begin(agent: Agent, client: Client, command: Command): Span | undefined {
  if (agent.recorder.records("aws-sdk", client.send)) return undefined;
  const span = agent.recorder.call("");
  if (span === undefined) return undefined;
  const operation = (command.clientCommand ?? command).constructor.name.replace(/Command$/, "");
  const service = typeof client.config.serviceId === "string" ? client.config.serviceId : "AWS";
  describeCall(span, service, operation, command.input);
  const { region } = client.config;
  const known = regions.get(client);
  if (known !== undefined) span.attributes["cloud.region"] = known;
  agent.recorder.announce(span);
  // The region is found out on the way, as the SDK does itself; it is there long before the answer.
  if (known === undefined && typeof region === "function")
    void Promise.resolve((region as () => unknown)()).then(
      (found) => {
        span.attributes["cloud.region"] = found;
        regions.set(client, found);
      },
      () => undefined,
    );
  return span;
}

function finish(agent: Agent, span: Span, error: unknown, data: unknown): void {
  guarded(agent, "an AWS call", () => {
    const source = (error ?? data ?? {}) as { $metadata?: Metadata };
    const metadata = source.$metadata ?? {};
    describeOutcome(span, { ...metadata, statusCode: metadata.httpStatusCode }, error);
    const events = span.attributes["rpc.service"] === BEDROCK ? eventsOf(data) : undefined;
    if (events === undefined) agent.recorder.finish(span, error);
    else followEvents(agent, span, events, Number(metadata.httpStatusCode ?? 0));
  });
}

/** What a model answers with piece by piece. */
interface Events {
  [Symbol.asyncIterator]: () => AsyncIterator<ModelEvent>;
}

interface ModelEvent {
  metadata?: { usage?: unknown };
  chunk?: { bytes?: unknown };
}

function eventsOf(data: unknown): Events | undefined {
  const { stream, body } = (data ?? {}) as { stream?: Partial<Events>; body?: Partial<Events> };
  return [stream, body].find((one): one is Events => typeof one?.[Symbol.asyncIterator] === "function" && !(one instanceof Uint8Array));
}

/** The call lasts to the end of what is read of its answer, and tells there of its tokens. */
function followEvents(agent: Agent, span: Span, events: Events, status: number): void {
  const { recorder } = agent;
  recorder.answered(span, status);
  const original = events[Symbol.asyncIterator];
  const end = (error?: unknown): void => void guarded(agent, "an AWS call", () => recorder.finish(span, error));
  const read = (result: IteratorResult<ModelEvent>): IteratorResult<ModelEvent> => {
    guarded(agent, "an AWS call", () => (result.done === true ? recorder.finish(span) : describeEvent(span, result.value)));
    return result;
  };
  const failed = (error: unknown): never => {
    leave(error);
    end(error);
    throw error;
  };
  events[Symbol.asyncIterator] = function () {
    const iterator = original.call(this);
    guarded(agent, "an AWS call", () => recorder.awaited(span));
    const watched: AsyncIterableIterator<ModelEvent> = {
      [Symbol.asyncIterator]: () => watched,
      next: (...given) => iterator.next(...given).then(read, failed),
      return: (value) => {
        end();
        return iterator.return?.(value) ?? Promise.resolve({ done: true, value });
      },
      throw: (error) => {
        end();
        return iterator.throw?.(error) ?? Promise.reject(error as Error);
      },
    };
    return watched;
  };
}

function describeEvent(span: Span, { metadata, chunk: piece }: ModelEvent): void {
  if (metadata?.usage !== undefined) describeTokens(span, metadata.usage);
  if (!(piece?.bytes instanceof Uint8Array)) return;
  const { input, output } = chunk("models").tokensIn(Buffer.from(piece.bytes).toString("latin1"));
  if (input !== undefined) span.attributes["gen_ai.usage.input_tokens"] = input;
  if (output !== undefined) span.attributes["gen_ai.usage.output_tokens"] = output;
}
