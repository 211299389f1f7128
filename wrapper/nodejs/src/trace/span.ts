/** Spans as plain data, and the numbers that OTLP uses for them. */

export const Kind = { Internal: 1, Server: 2, Client: 3, Producer: 4, Consumer: 5 } as const;
export type Kind = (typeof Kind)[keyof typeof Kind];

export const Status = { Unset: 0, Ok: 1, Error: 2 } as const;
export type Status = (typeof Status)[keyof typeof Status];

export const Flag = { Sampled: 0x1, RemoteKnown: 0x100, Remote: 0x200 } as const;

export const MAX_ATTRIBUTES = 128;
export const MAX_EVENTS = 128;
/** Characters of one attribute's text that are sent. */
export const MAX_TEXT = 16_384;

/** What has no counterpart in OTLP is sent as its text; `undefined` and `null` are left out. */
export type Attributes = Record<string, unknown>;

export interface SpanEvent {
  name: string;
  timeUs: number;
  attributes: Attributes;
}

export interface SpanLink {
  traceId: string;
  spanId: string;
  attributes: Attributes;
}

/** Like calls that one span stands for. */
export interface Fold {
  readonly span: Span;
  add: (call: Span, isFailed: boolean, noteError: (span: Span) => void) => boolean;
}

/** One span. Ids are lowercase hexadecimal, times are epoch microseconds. */
export interface Span {
  name: string;
  kind: Kind;
  traceId: string;
  spanId: string;
  parentId: string;
  flags: number;
  startUs: number;
  endUs: number;
  attributes: Attributes;
  events: SpanEvent[] | undefined;
  links: SpanLink[] | undefined;
  status: Status;
  statusMessage: string;
  traceState: string;
  /** A library's call: libraries below it do not speak for themselves. */
  isCall: boolean;
  /** Which calls like it it is folded with, false where it stands for itself; of a library's call not there until that is known. */
  fold: Fold | false | undefined;
  /** It stands for one of another process: what hangs on it begins something there. */
  isRemote: boolean;
  /** The context of the OpenTelemetry API that was active when the span began. */
  outer: unknown;
  /** The handler's span of the invocation that it was begun in. */
  invocation: Span | undefined;
}

export function makeSpan(
  name: string,
  kind: Kind,
  traceId: string,
  spanId: string,
  parentId: string,
  flags: number,
  startUs: number,
): Span {
  return {
    name,
    kind,
    traceId,
    spanId,
    parentId,
    flags,
    startUs,
    endUs: 0,
    attributes: {},
    events: undefined,
    links: undefined,
    status: Status.Unset,
    statusMessage: "",
    traceState: "",
    isCall: false,
    fold: false,
    isRemote: false,
    outer: undefined,
    invocation: undefined,
  };
}

/** In front of the library's name in that of a tracer of OpenTelemetry's. */
export const INSTRUMENTATION = "@opentelemetry/instrumentation-";

/** Whether it is a library's call, recorded by the agent or by an instrumentation of OpenTelemetry: nothing in it is another one. */
export const isLibrarysCall = ({ isCall, kind, attributes }: Span): boolean =>
  isCall || ((kind === Kind.Client || kind === Kind.Producer) && String(attributes["otel.scope.name"]).startsWith(INSTRUMENTATION));
