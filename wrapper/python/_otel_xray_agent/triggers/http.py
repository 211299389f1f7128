"""Events of requests: API Gateway's three kinds, function URLs, and load balancers.

The room's door gives an event and gets a trigger, which later looks at what the handler has answered.
"""

from __future__ import annotations

from _otel_xray_agent.record.trace import ERROR, TraceHeader
from _otel_xray_agent.triggers.trigger import Trigger, part, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from _otel_xray_agent.record.trace import Attributes, Span

MAX_QUERY = 4096
"""Characters of a query that are looked at."""
MAX_PARAMETERS = 64

_ENCODED = str.maketrans({sign: f"%{ord(sign):02X}" for sign in " %&+#="})


def read(event: dict[str, Any]) -> Trigger | None:
    context = event["requestContext"]
    if type(context) is not dict:
        return None
    if type(context.get("http")) is dict:
        trigger = _version_2(event, context)
    elif type(context.get("elb")) is dict:
        trigger = _load_balancer(event, context)
    elif "connectionId" in context:
        trigger = _websocket(event, context)
    elif "httpMethod" in event:
        trigger = _rest(event, context)
    else:
        return None
    # An authorizer is asked with the request, but its answer is not the request's.
    if "methodArn" in event or "routeArn" in event:
        trigger.answered = None
    trigger.decides = False
    _note_caller(trigger, TraceHeader(_header(event, "x-amzn-trace-id", "X-Amzn-Trace-Id") or ""))
    _note_caller(trigger, TraceHeader.of_traceparent(_header(event, "traceparent", "Traceparent") or ""))
    return trigger


def _note_caller(trigger: Trigger, caller: TraceHeader) -> None:
    if caller.trace_id and caller.parent_id:
        trigger.producers.append((caller, {}))


def _header(event: dict[str, Any], lower: str, title: str) -> str | None:
    for key in ("headers", "multiValueHeaders"):
        held = part(event, key)
        value = held.get(lower) or held.get(title)
        if type(value) is list:
            value = value[0] if value else None
        if type(value) is str and value:
            return value
    return None


def _rest(event: dict[str, Any], context: dict[str, Any]) -> Trigger:
    identity = part(context, "identity")
    attributes = _gateway(context)
    attributes.update(
        {
            "http.request.method": text(event, "httpMethod"),
            "http.route": text(event, "resource"),
            "url.scheme": _header(event, "x-forwarded-proto", "X-Forwarded-Proto") or "https",
            "server.address": text(context, "domainName") or _header(event, "host", "Host"),
            # What the caller asked for, the stage included.
            "url.path": text(context, "path") or text(event, "path"),
            "url.query": _query(event, decoded=True),
            "user_agent.original": text(identity, "userAgent") or _header(event, "user-agent", "User-Agent"),
            "client.address": text(identity, "sourceIp"),
        }
    )
    trigger = Trigger(attributes)
    trigger.answered = _answered
    return trigger


def _version_2(event: dict[str, Any], context: dict[str, Any]) -> Trigger:
    http = part(context, "http")
    domain = text(context, "domainName")
    is_url = domain is not None and ".lambda-url." in domain
    attributes: Attributes = {"faas.trigger": "http"} if is_url else _gateway(context)
    route = text(event, "routeKey")
    query = text(event, "rawQueryString")
    attributes.update(
        {
            "http.request.method": text(http, "method"),
            "http.route": route.rpartition(" ")[2] if route and route != "$default" else None,
            "url.scheme": _header(event, "x-forwarded-proto", "X-Forwarded-Proto") or "https",
            "server.address": domain or _header(event, "host", "Host"),
            "url.path": text(event, "rawPath") or text(http, "path"),
            "url.query": query[:MAX_QUERY] if query else None,
            "user_agent.original": text(http, "userAgent"),
            "client.address": text(http, "sourceIp"),
        }
    )
    trigger = Trigger(attributes)
    trigger.answered = _answered_or_inferred
    return trigger


def _websocket(event: dict[str, Any], context: dict[str, Any]) -> Trigger:
    identity = part(context, "identity")
    attributes = _gateway(context)
    attributes.update(
        {
            "http.route": text(context, "routeKey"),
            "url.scheme": "wss",
            "server.address": text(context, "domainName"),
            "user_agent.original": text(identity, "userAgent"),
            "client.address": text(identity, "sourceIp"),
            "aws.apigateway.websocket.event_type": text(context, "eventType"),
            "aws.apigateway.websocket.connection_id": text(context, "connectionId"),
        }
    )
    trigger = Trigger(attributes)
    trigger.answered = _answered
    return trigger


def _load_balancer(event: dict[str, Any], context: dict[str, Any]) -> Trigger:
    forwarded = _header(event, "x-forwarded-for", "X-Forwarded-For")
    trigger = Trigger(
        {
            "faas.trigger": "http",
            "http.request.method": text(event, "httpMethod"),
            "url.scheme": _header(event, "x-forwarded-proto", "X-Forwarded-Proto"),
            "server.address": _header(event, "host", "Host"),
            "url.path": text(event, "path"),
            # A load balancer hands names and values on as they were sent.
            "url.query": _query(event, decoded=False),
            "user_agent.original": _header(event, "user-agent", "User-Agent"),
            "client.address": forwarded.partition(",")[0].strip() if forwarded else None,
            "aws.elb.target_group.arn": text(context["elb"], "targetGroupArn"),
        }
    )
    trigger.answered = _answered
    return trigger


def _gateway(context: dict[str, Any]) -> Attributes:
    return {
        "faas.trigger": "http",
        "aws.apigateway.api.id": text(context, "apiId"),
        "aws.apigateway.stage": text(context, "stage"),
        "aws.apigateway.request.id": text(context, "requestId"),
    }


def _query(event: dict[str, Any], *, decoded: bool) -> str | None:
    """The query put together again from what the service has taken apart. The extension masks what is secret in it."""
    several = part(event, "multiValueQueryStringParameters")
    held = several or part(event, "queryStringParameters")
    pairs: list[str] = []
    length = 0
    for name, values in held.items():
        for value in values if type(values) is list else (values,):
            if type(value) is not str:
                continue
            value = value[:MAX_QUERY]
            length += len(name) + len(value)
            if len(pairs) == MAX_PARAMETERS or length > MAX_QUERY:
                return "&".join(pairs) or None
            pairs.append(f"{name.translate(_ENCODED)}={value.translate(_ENCODED)}" if decoded else f"{name}={value}")
    return "&".join(pairs) or None


def _answered(span: Span, result: Any) -> None:
    if isinstance(result, dict):
        _note_status(span, result.get("statusCode"))


def _answered_or_inferred(span: Span, result: Any) -> None:
    """With payload 2.0 and function URLs, an answer that names no status is the body of a 200."""
    if isinstance(result, str) or (isinstance(result, dict) and "statusCode" not in result):
        _note_status(span, 200)
    else:
        _answered(span, result)


def _note_status(span: Span, status: Any) -> None:
    if (type(status) is str and len(status) == 3 and status.isdecimal()) or type(status) is float:
        status = int(status) if status == status and abs(float(status)) < 1000 else None
    if type(status) is int and 100 <= status < 600:
        span.attributes["http.response.status_code"] = status
        if status >= 500:
            span.status = ERROR
