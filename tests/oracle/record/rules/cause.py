"""Flags, exceptions and stack texts: MAP-22 to MAP-33."""

from __future__ import annotations

from otlp import Json, event, exception, span

from . import stacks

SHOP = {"service.name": "shop", "cloud.provider": "aws"}


def codes(kind: str, *, name: str = "http.status_code") -> list[Json]:
    """Every class of HTTP code with every status."""
    made = []
    for code in (200, 302, 399, 400, 404, 429, 499, 500, 503, 599, 600):
        statuses: tuple[str | None, ...] = (None, "ok", "error") if code in (200, 404, 429, 500) else (None,)
        for status in statuses:
            made.append(span(f"{code} {status}", kind, {"http.method": "GET", name: code}, status=status))
    return made


def thrown(language: str, kind: str, message: str, stack: str) -> tuple[list[Json], dict[str, str]]:
    """A server and a client span that ended with the exception."""
    spans = [
        span(of, of, status="error", message=f"{kind}: {message}", events=[exception(kind, message, stack)])
        for of in ("internal", "client")
    ]
    return spans, {**SHOP, "telemetry.sdk.language": language}


CASES = {
    "map-22-codes-of-a-client": (codes("client"), SHOP),
    "map-22-codes-of-a-server": (codes("server", name="http.response.status_code"), SHOP),
    "map-22-status-without-code": (
        [span(status, "internal", status=status) for status in ("unset", "ok", "error")],
        SHOP,
    ),
    "map-23-exception-and-status-ok": (
        [span("handled", "internal", status="ok", events=[exception("KeyError", "'x'")])],
        SHOP,
    ),
    "map-22-grpc-codes": (
        [
            span(f"code {code}", "client", {"rpc.system": "grpc", "rpc.grpc.status_code": code}, status="error")
            for code in (2, 3, 5, 8, 13, 14, 16)
        ],
        SHOP,
    ),
    "map-22-aws-throttling": (
        [
            span(
                "DynamoDB.PutItem",
                "client",
                {"rpc.system": "aws-api", "rpc.service": "DynamoDB", "rpc.method": "PutItem"},
                status="error",
                events=[exception("ProvisionedThroughputExceededException", "slow down")],
            )
        ],
        SHOP,
    ),
    "map-24-exceptions": (
        [
            span("two", "internal", status="error", events=[exception("A", "first"), exception("B", "second")]),
            span("no type", "internal", status="error", events=[exception(message="only a message")]),
            span("no message", "internal", status="error", events=[exception("OnlyAType")]),
            span("nothing", "internal", status="error", events=[exception()]),
            span("producer", "producer", status="error", events=[exception("A", "remote")]),
            span("consumer", "consumer", status="error", events=[exception("A", "local")]),
            span(
                "status message too",
                "internal",
                status="error",
                message="told otherwise",
                events=[exception("A", "told")],
            ),
            span(
                "escaped",
                "internal",
                status="error",
                events=[event("exception", attrs={"exception.type": "A", "exception.escaped": "True", "own": 1})],
            ),
        ],
        SHOP,
    ),
    "map-24-exception-of-child-and-parent": (
        [
            span("outer", "server", parent=None, status="error", events=[exception("ValueError", "bad")]),
            span("inner", "internal", parent="outer", status="error", events=[exception("ValueError", "bad")]),
        ],
        SHOP,
    ),
    "map-25-failed-aws-requests": (
        [
            span(
                "S3.GetObject",
                "client",
                {"rpc.system": "aws-api", "rpc.service": "S3", "http.status_code": 503},
                status="error",
                events=[
                    event(
                        "HTTP request failure",
                        attrs={"http.response.status_code": 503, "aws.http.error_message": "slow down"},
                    ),
                    event("HTTP request failure", attrs={"http.response.status_code": 503}),
                    event(
                        "HTTP request failure",
                        2_000_000,
                        attrs={"http.response.status_code": 500, "aws.http.error_message": "again"},
                    ),
                ],
            ),
            span(
                "not AWS",
                "client",
                events=[
                    event(
                        "HTTP request failure",
                        attrs={"http.response.status_code": 503, "aws.http.error_message": "slow down"},
                    )
                ],
            ),
        ],
        SHOP,
    ),
    "map-26-status-message": (
        [
            span("message", "internal", status="error", message="it broke"),
            span("status text", "client", {"http.status_text": "Teapot", "http.status_code": 418}, status="error"),
            span("neither", "internal", status="error"),
            span("message but ok", "internal", status="ok", message="fine"),
        ],
        SHOP,
    ),
    "map-27-deep-stack": thrown(
        "python",
        "RecursionError",
        "maximum recursion depth exceeded",
        "Traceback (most recent call last):\n"
        + "".join(f'  File "/var/task/app.py", line {n}, in down\n    down()\n' for n in range(1, 121))
        + "RecursionError: maximum recursion depth exceeded",
    ),
    "map-28-java": thrown("java", "java.lang.IllegalStateException", "no cart", stacks.JAVA),
    "map-28-java-causes": thrown("java", "java.lang.RuntimeException", "outer", stacks.JAVA_CAUSES),
    "map-28-java-multi-line": thrown("java", "java.lang.Exception", "two\nlines", stacks.JAVA_MULTI_LINE),
    "map-28-php-as-java": thrown("php", "RuntimeException", "no cart", stacks.PHP_AS_JAVA),
    "map-28-php-own-format": thrown("php", "RuntimeException", "no cart", stacks.PHP),
    "map-29-python": thrown("python", "ValueError", "no cart", stacks.PYTHON),
    "map-29-python-during-handling": thrown("python", "RuntimeError", "outer", stacks.PYTHON_DURING),
    "map-29-python-direct-cause": thrown("python", "RuntimeError", "outer", stacks.PYTHON_DIRECT),
    "map-29-python-carets": thrown("python", "ZeroDivisionError", "division by zero", stacks.PYTHON_CARETS),
    "map-29-python-comma-in-path": thrown("python", "ValueError", "x", stacks.PYTHON_COMMA),
    "map-29-python-group": thrown("python", "ExceptionGroup", "two (2 sub-exceptions)", stacks.PYTHON_GROUP),
    "map-30-javascript": thrown("javascript", "TypeError", "no cart", stacks.NODE),
    "map-30-node": thrown("nodejs", "TypeError", "no cart", stacks.NODE),
    "map-30-node-file-urls": thrown("nodejs", "TypeError", "no cart", stacks.NODE_FILE_URLS),
    "map-30-javascript-windows": thrown("javascript", "Error", "x", stacks.NODE_WINDOWS),
    "map-31-dotnet": thrown("dotnet", "System.InvalidOperationException", "no cart", stacks.DOTNET),
    "map-31-dotnet-inner": thrown("dotnet", "System.Exception", "outer", stacks.DOTNET_INNER),
    "map-32-go": thrown("go", "*errors.errorString", "no cart", stacks.GO),
    "map-33-ruby": thrown("ruby", "RuntimeError", "no cart", stacks.RUBY),
    "map-33-rust": thrown("rust", "panic", "no cart", stacks.RUST),
    "map-33-no-language": (
        [span("x", "internal", status="error", events=[exception("ValueError", "no cart", stacks.PYTHON)])],
        SHOP,
    ),
    "map-33-unreadable-stack": thrown("python", "ValueError", "x", "this is\nno stack text\nat all"),
}
