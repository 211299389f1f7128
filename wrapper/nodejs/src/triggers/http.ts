/** Requests: API Gateway's three kinds, function URLs, and load balancers. The event comes in, the trigger goes out (trigger.ts). */

import { type Attributes, Kind, type Span, Status } from "../trace/span";
import { ofTraceparent, parseTraceHeader } from "../trace/trace_header";
import { type Holder, isHolder, part, text, type Trigger } from "./event";

/** Characters of a query that are looked at. */
const MAX_QUERY = 4096;
const MAX_PARAMETERS = 64;

export function readRequest(event: Holder): Trigger | undefined {
  const context = event.requestContext;
  if (!isHolder(context)) return undefined;
  let trigger: Trigger;
  if (isHolder(context.http)) trigger = version2(event, context, context.http);
  else if (isHolder(context.elb)) trigger = loadBalancer(event, context.elb);
  else if ("connectionId" in context) trigger = websocket(context);
  else if ("httpMethod" in event) trigger = rest(event, context);
  else return undefined;
  // An authorizer is asked with the request, but its answer is not the request's.
  if ("methodArn" in event || "routeArn" in event) trigger.answered = undefined;
  const callers = [
    parseTraceHeader(header(event, "x-amzn-trace-id", "X-Amzn-Trace-Id") ?? ""),
    ofTraceparent(header(event, "traceparent", "Traceparent") ?? ""),
  ];
  for (const caller of callers)
    if (caller.traceId !== "" && caller.parentId !== "") trigger.producers.push({ header: caller, attributes: {} });
  return trigger;
}

function request(attributes: Attributes, answered: (span: Span, answer: unknown) => void): Trigger {
  return { attributes, kind: Kind.Server, producers: [], decides: false, answered };
}

function header(event: Holder, lower: string, title: string): string | undefined {
  for (const key of ["headers", "multiValueHeaders"]) {
    const held = part(event, key);
    const value = held[lower] || held[title];
    const first: unknown = Array.isArray(value) ? value[0] : value;
    if (typeof first === "string" && first !== "") return first;
  }
  return undefined;
}

function rest(event: Holder, context: Holder): Trigger {
  const identity = part(context, "identity");
  return request(
    {
      ...gateway(context),
      "http.request.method": text(event, "httpMethod"),
      "http.route": text(event, "resource"),
      "url.scheme": header(event, "x-forwarded-proto", "X-Forwarded-Proto") ?? "https",
      "server.address": text(context, "domainName") ?? header(event, "host", "Host"),
      // What the caller asked for, the stage included.
      "url.path": text(context, "path") ?? text(event, "path"),
      "url.query": query(event, true),
      "user_agent.original": text(identity, "userAgent") ?? header(event, "user-agent", "User-Agent"),
      "client.address": text(identity, "sourceIp"),
    },
    answered,
  );
}

function version2(event: Holder, context: Holder, http: Holder): Trigger {
  const domain = text(context, "domainName");
  const route = text(event, "routeKey");
  const raw = text(event, "rawQueryString");
  return request(
    {
      ...(domain?.includes(".lambda-url.") ? { "faas.trigger": "http" } : gateway(context)),
      "http.request.method": text(http, "method"),
      "http.route": route === undefined || route === "$default" ? undefined : route.slice(route.lastIndexOf(" ") + 1),
      "url.scheme": header(event, "x-forwarded-proto", "X-Forwarded-Proto") ?? "https",
      "server.address": domain ?? header(event, "host", "Host"),
      "url.path": text(event, "rawPath") ?? text(http, "path"),
      "url.query": raw?.slice(0, MAX_QUERY),
      "user_agent.original": text(http, "userAgent"),
      "client.address": text(http, "sourceIp"),
    },
    answeredOrInferred,
  );
}

function websocket(context: Holder): Trigger {
  const identity = part(context, "identity");
  return request(
    {
      ...gateway(context),
      "http.route": text(context, "routeKey"),
      "url.scheme": "wss",
      "server.address": text(context, "domainName"),
      "user_agent.original": text(identity, "userAgent"),
      "client.address": text(identity, "sourceIp"),
      "aws.apigateway.websocket.event_type": text(context, "eventType"),
      "aws.apigateway.websocket.connection_id": text(context, "connectionId"),
    },
    answered,
  );
}

function loadBalancer(event: Holder, elb: Holder): Trigger {
  return request(
    {
      "faas.trigger": "http",
      "http.request.method": text(event, "httpMethod"),
      "url.scheme": header(event, "x-forwarded-proto", "X-Forwarded-Proto"),
      "server.address": header(event, "host", "Host"),
      "url.path": text(event, "path"),
      // A load balancer hands names and values on as they were sent.
      "url.query": query(event, false),
      "user_agent.original": header(event, "user-agent", "User-Agent"),
      "client.address": header(event, "x-forwarded-for", "X-Forwarded-For")?.split(",")[0]?.trim(),
      "aws.elb.target_group.arn": text(elb, "targetGroupArn"),
    },
    answered,
  );
}

function gateway(context: Holder): Attributes {
  return {
    "faas.trigger": "http",
    "aws.apigateway.api.id": text(context, "apiId"),
    "aws.apigateway.stage": text(context, "stage"),
    "aws.apigateway.request.id": text(context, "requestId"),
  };
}

/** The query put together again from what the service has taken apart. The extension masks what is secret in it. */
function query(event: Holder, decoded: boolean): string | undefined {
  const several = part(event, "multiValueQueryStringParameters");
  const held = Object.keys(several).length > 0 ? several : part(event, "queryStringParameters");
  const encoded = (value: string): string =>
    decoded ? value.replace(/[ %&+#=]/g, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`) : value;
  const pairs: string[] = [];
  let length = 0;
  for (const [name, values] of Object.entries(held)) {
    for (const value of Array.isArray(values) ? (values as unknown[]) : [values]) {
      if (typeof value !== "string") continue;
      const cut = value.slice(0, MAX_QUERY);
      length += name.length + cut.length;
      if (pairs.length === MAX_PARAMETERS || length > MAX_QUERY) return pairs.join("&") || undefined;
      pairs.push(`${encoded(name)}=${encoded(cut)}`);
    }
  }
  return pairs.join("&") || undefined;
}

function answered(span: Span, answer: unknown): void {
  if (isHolder(answer)) noteStatus(span, answer.statusCode);
}

/** With payload 2.0 and function URLs, an answer that names no status is the body of a 200. */
function answeredOrInferred(span: Span, answer: unknown): void {
  if (typeof answer === "string" || (isHolder(answer) && !("statusCode" in answer))) noteStatus(span, 200);
  else answered(span, answer);
}

function noteStatus(span: Span, status: unknown): void {
  const code = typeof status === "string" && /^\d{3}$/.test(status) ? Number(status) : status;
  if (typeof code !== "number" || !(code >= 100 && code < 600)) return;
  span.attributes["http.response.status_code"] = Math.trunc(code);
  if (code >= 500) span.status = Status.Error;
}
