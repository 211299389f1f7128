/**
 * Methods of a library as calls to something outside: one span for each, ended as the library tells of its end. Shared by the patches of
 * all libraries.
 */

import { type Agent, guarded } from "../record/agent";
import { leave, messageOf } from "../record/errors";
import { type Attributes, type Span, Status } from "../trace/span";

export type Method = (this: object, ...given: unknown[]) => unknown;
export type Prototype = Record<string, Method | undefined>;
/** Begins a call from the driver's object and the arguments; none where there is nothing to record. */
export type Begin = (self: object, given: unknown[]) => Span | undefined;

export function callSpan(agent: Agent, name: string, attributes: Attributes): Span | undefined {
  const span = agent.recorder.call(name);
  if (span === undefined) return undefined;
  span.attributes = attributes;
  agent.recorder.announce(span);
  return span;
}

/** What of a call's arguments, other than a callback at their end, tells of its end. */
export type Follow = (given: unknown[], asCallback: (callback: Method) => Method, finish: (error?: unknown) => void) => void;

/** How the calls of a method are followed, where it is not as those of most. */
interface Way {
  isCallback?: (value: unknown) => value is Method;
  followGiven?: Follow;
  /** Whether what the method does is the call's own, and no call of its own. */
  isCurrent?: boolean;
}

/**
 * Makes the method a call: it ends when the callback among its arguments is called, when the promise it returns settles, or when
 * the emitter it returns has emitted `end`, `close` or `error`.
 */
export function wrap(
  agent: Agent,
  prototype: Prototype,
  method: string,
  begin: Begin,
  { isCallback = (value: unknown): value is Method => typeof value === "function", followGiven, isCurrent = true }: Way = {},
): void {
  const original = prototype[method];
  if (original === undefined) return;
  const { recorder } = agent;
  prototype[method] = function (...given) {
    const span = guarded(agent, "a call", () => begin(this, given));
    if (span === undefined) return bare(() => original.apply(this, given));
    const finish = (error?: unknown): void => void guarded(agent, "a call", () => recorder.finish(span, error));
    const last = given.length - 1;
    const outer = recorder.held();
    const asCallback = (callback: Method): Method =>
      function (...answer) {
        // Some drivers add to it where the call was made.
        leave(answer[0]);
        finish(answer[0]);
        return recorder.run(outer, () => callback.apply(this, answer));
      };
    const callback = given[last];
    if (isCallback(callback)) given[last] = asCallback(callback);
    if (followGiven !== undefined) guarded(agent, "a call", () => followGiven(given, asCallback, finish));
    let result: unknown;
    try {
      result = isCurrent ? recorder.run(span, () => original.apply(this, given)) : original.apply(this, given);
    } catch (error) {
      leave(error);
      finish(error);
      throw error;
    }
    return follow(result, finish);
  };
}

/** Begins nothing where an instrumentation of the function's own has put itself around that method. */
export const unlessTheirs = (agent: Agent, library: string, method: string, begin: Begin): Begin => (self, given) =>
  agent.recorder.records(library, (self as Prototype)[method]) ? undefined : begin(self, given);

/** Runs what is not recorded. What it throws passes through the agent as well. */
export function bare<T>(run: () => T): T {
  try {
    return run();
  } catch (error) {
    leave(error);
    throw error;
  }
}

/** A method that hands out what it may have to wait for: whoever is called back later is called in the context of the caller. */
export function wrapQueue(agent: Agent, prototype: Prototype, method: string): void {
  const original = prototype[method];
  if (original === undefined) return;
  prototype[method] = function (...given) {
    const last = given.length - 1;
    const callback = given[last];
    if (agent.root !== undefined && typeof callback === "function")
      given[last] = guarded(agent, "a call", () => agent.recorder.bind(callback as () => unknown)) ?? callback;
    return original.apply(this, given);
  };
}

/** Of whatever library, but no lazy query and nothing that has a `then` to say that it is none. */
function isPromise(value: unknown): value is Promise<unknown> {
  if (value instanceof Promise) return true;
  const like = value as { then?: unknown; catch?: unknown; emit?: unknown } | null | undefined;
  return typeof like?.then === "function" && typeof like.catch === "function" && like.emit === undefined;
}

/**
 * What the function gets is a promise of ours, of the same class, so that a failure that it does not handle is still one that nobody
 * handles.
 */
export function whenSettled(promise: Promise<unknown>, finish: (error?: unknown, value?: unknown) => void): Promise<unknown> {
  return promise.then(
    (value) => {
      finish(undefined, value);
      return value;
    },
    (error: unknown) => {
      leave(error);
      finish(error);
      throw error;
    },
  );
}

/** Runs work inside of the function below its span, which ends with it. */
export function runInner(agent: Agent, span: Span, run: () => unknown, failureOf = (_value: unknown): unknown => undefined): unknown {
  const finish = (error?: unknown, value?: unknown): void => endInner(agent, span, error ?? failureOf(value));
  let result: unknown;
  try {
    result = agent.recorder.run(span, run);
  } catch (error) {
    leave(error);
    finish(error);
    throw error;
  }
  if (isPromise(result)) return whenSettled(result, finish);
  finish(undefined, result);
  return result;
}

function follow(result: unknown, finish: (error?: unknown) => void): unknown {
  if (isPromise(result)) return whenSettled(result, finish);
  const emitter = result as { emit?: Method } | null | undefined;
  const emit = emitter?.emit;
  if (typeof emit === "function" && emitter) {
    // Not a listener: one for errors would hide them from the function.
    emitter.emit = function (...given) {
      if (given[0] === "error") {
        leave(given[1]);
        finish(given[1]);
      }
      if (given[0] === "end" || given[0] === "close") finish();
      return emit.apply(this, given);
    };
  }
  return result;
}

export const text = (value: unknown): string | undefined => (typeof value === "string" && value !== "" ? value : undefined);

/** Ends a span of work inside of the function, which is not a call. Later ends of the same span change nothing. */
export function endInner(agent: Agent, span: Span, error?: unknown): void {
  if (span.endUs !== 0) return;
  guarded(agent, "a span", () => {
    const { recorder } = agent;
    if (error !== undefined && error !== null) {
      recorder.recordException(span, error);
      span.status = Status.Error;
      span.statusMessage = messageOf(error);
    }
    span.endUs = agent.now();
    recorder.endLocal(span);
  });
}
