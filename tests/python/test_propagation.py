"""Who is told of the trace, and what is left as it is: the cases of tests/propagation.json, through every library."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from conftest import Start, Website
from servers import Handler, serving
from stage import HEADER, PARENT, ROOT, attributes
from test_libraries import BOTO

CASES = json.loads((ROOT / "tests" / "propagation.json").read_text())
OURS = {"traceparent", "x-amzn-trace-id"}

# Every name leads to the one server, whatever the port.
CALLS = """
import socket, sys
from urllib.parse import urlsplit
server = {port}
socket.getaddrinfo = lambda *a, **k: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server))]
def by_requests(url, headers):
    import requests
    return requests.get(url, headers=headers).status_code
def by_urllib3(url, headers):
    import urllib3
    return urllib3.PoolManager().request("GET", url, headers=headers).status
def by_urllib(url, headers):
    from urllib.request import Request, urlopen
    return urlopen(Request(url, headers=headers)).status
def by_http_client(url, headers):
    import http.client
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc.rpartition("@")[2])
    connection.request("GET", parts.path + ("?" + parts.query if parts.query else ""), headers=headers)
    return connection.getresponse().status
def handler(event, context):
    call = globals()[event["by"]]
    return [call(url, headers) for url, headers in event["calls"]]
"""
LIBRARIES = ["by_requests", "by_urllib3", "by_urllib", "by_http_client"]


def run(start: Start, website: Website, by: str, calls: list[Any], setting: str | None = None) -> tuple[list[Any], str]:
    """The headers of the requests that arrive, and what the function has logged."""
    variables = {} if setting is None else {"OTEL_XRAY_PROPAGATE": setting}
    source = CALLS.replace("{port}", str(urlsplit(website.url).port))
    with start(source, variables=variables) as function:
        answer = function.invoke({"by": by, "calls": calls})
        assert answer.json == [200] * len(calls), function.output()
        function.frames.wait_for(5, 1)
        # What is told does not change what is recorded.
        assert [span.name for span in function.frames.ended()] == ["GET"] * len(calls) + ["app.handler"]
        return [headers for _, _, headers in website.requests], function.output()


@pytest.mark.parametrize("by", LIBRARIES)
@pytest.mark.parametrize("case", CASES["destinations"], ids=lambda case: str(case["setting"]))
def test_the_hosts_that_are_told(start: Start, website: Website, by: str, case: dict[str, Any]) -> None:
    urls = {url: kind == "told" for kind in ("told", "not_told") for url in case[kind] if url.startswith("http:")}
    sent, output = run(start, website, by, [[url, {}] for url in urls], case["setting"])
    assert {url: OURS & headers.keys() for url, headers in zip(urls, sent)} == {
        url: OURS if told else set() for url, told in urls.items()
    }
    assert output == ""


@pytest.mark.parametrize("case", CASES["nonsense"], ids=lambda case: case["setting"])
def test_nonsense_is_one_line_and_the_default(start: Start, website: Website, case: dict[str, Any]) -> None:
    calls = [["http://evil.test/", {}], ["http://api.example.com/", {}]]
    sent, output = run(start, website, "by_requests", calls, case["setting"])
    assert [OURS & headers.keys() for headers in sent] == [OURS, OURS]
    assert output == (
        f'[otel-xray] WARN: OTEL_XRAY_PROPAGATE: "{case["names"]}" is not understood: set it to `all`, `none`, '
        "or hosts such as `*.example.com`, comma separated; using the default (all)\n"
    )


@pytest.mark.parametrize("by", LIBRARIES)
def test_what_the_user_has_set_or_signed_stays(start: Start, website: Website, by: str) -> None:
    cases = CASES["requests"]
    calls = [["http://api.example.com" + case["path"], case["headers"]] for case in cases]
    sent, _ = run(start, website, by, calls)
    for case, headers in zip(cases, sent):
        own = {name.lower(): value for name, value in case["headers"].items()}
        assert own.items() <= headers.items(), case["about"]
        assert OURS & headers.keys() - own.keys() == set(case["added"]), case["about"]


def test_a_call_behind_a_proxy_is_told_of_by_its_own_host(start: Start, website: Website) -> None:
    """And so it is named: the proxy is nobody's business."""
    source = """
import http.client
def handler(event, context):
    connection = http.client.HTTPConnection(event)
    connection.set_tunnel("api.internal", 8443)
    connection._tunnel = lambda: None
    connection.request("GET", "/x")
    return connection.getresponse().status
"""
    with start(source, variables={"OTEL_XRAY_PROPAGATE": "api.internal"}) as function:
        assert function.invoke(urlsplit(website.url).netloc).json == 200
        function.frames.wait_for(5, 1)
        call = attributes(function.frames.named("GET"))
    assert (call["server.address"], call["url.full"]) == ("api.internal", "http://api.internal:8443/x")
    assert website.requests[0][2].keys() >= OURS


AWS_CALL = """
import boto3
from botocore.config import Config
s3 = boto3.client("s3", config=Config(retries={"max_attempts": 2}))
def own(request, **more):
    request.headers["X-Amzn-Trace-Id"] = "mine"
def handler(event, context):
    if event == "own":
        s3.meta.events.register("before-sign", own)
    s3.get_object(Bucket="orders", Key="o-1")
"""


@pytest.mark.parametrize(
    ("setting", "event", "expected"),
    [
        ("all", "", "Parent={span}"),
        ("127.0.0.1", "", "Parent={span}"),
        ("all", "own", "mine"),
        # What botocore itself has copied of Lambda's header is not ours to take away.
        ("none", "", f"Parent={PARENT}"),
        ("*.amazonaws.com", "", f"Parent={PARENT}"),
    ],
)
def test_a_20_an_aws_call_is_told_of_in_front_of_its_signature(
    start: Start, website: Website, setting: str, event: str, expected: str
) -> None:
    variables = {"AWS_ENDPOINT_URL": website.url, "OTEL_XRAY_PROPAGATE": setting}
    with start(AWS_CALL, variables=variables) as function:
        function.invoke(event)
        function.frames.wait_for(5, 1)
        span = function.frames.named("S3.GetObject")
    [(_, _, headers)] = website.requests
    assert expected.replace("{span}", span.span_id.hex()) in headers["x-amzn-trace-id"]
    assert "traceparent" not in headers


def test_nothing_is_changed_behind_the_signature(start: Start, website: Website) -> None:
    """The agent leaves a call as botocore has signed it, also where botocore itself is not instrumented."""
    source = BOTO.replace('Key="missing"', 'Key="x"') + (
        "signed = []\n"
        "def keep(request, **more):\n"
        "    signed.append(dict(request.headers.items()))\n"
        "for client in (s3, sqs):\n"
        "    client.meta.events.register_last('request-created', keep)\n"
        "def main(event, context):\n"
        "    handler(event, context)\n"
        "    text = lambda value: value.decode() if isinstance(value, bytes) else str(value)\n"
        "    return [{name: text(value) for name, value in one.items()} for one in signed]\n"
    )
    for disabled in ("", "botocore"):
        website.requests.clear()
        variables = {"AWS_ENDPOINT_URL": website.url, "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": disabled}
        with start(source, handler="app.main", variables=variables) as function:
            signed = function.invoke().json
        assert len(signed) == len(website.requests) == 2
        for before, (_, _, sent) in zip(signed, website.requests):
            before = {name.lower(): value for name, value in before.items()}
            assert "authorization" in before
            added_by_the_connection = {"host", "accept-encoding", "connection", "content-length"}
            assert {k: v for k, v in sent.items() if k in before} == before
            assert sent.keys() - before.keys() <= added_by_the_connection


def test_hdr_the_header_is_as_before(start: Start, website: Website) -> None:
    sent, _ = run(start, website, "by_requests", [["http://api.example.com/", {}]])
    root, parent, sampled = sent[0]["x-amzn-trace-id"].split(";")
    assert [root, sampled] == [HEADER.split(";")[0], "Sampled=1"]
    assert parent != f"Parent={PARENT}"


TWICE = """
import http.client, urllib.parse
def handler(event, context):
    forwarded = http.client.HTTPMessage()
    for name, value in event["headers"]:
        forwarded[name] = value
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(event["url"]).netloc)
    connection.request("GET", "/forwarded", headers=forwarded)
    connection.getresponse().read()
    return forwarded.items()
"""


@pytest.mark.parametrize("values", [["a"], ["a", "b"]], ids=len)
def test_headers_that_are_there_more_than_once_all_go_on(start: Start, values: list[str]) -> None:
    seen: list[tuple[str, str]] = []

    class Pages(Handler):
        def do_GET(self) -> None:
            seen.extend(self.headers.items())
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

    given = [["X-Forwarded-For", value] for value in values]
    with serving(Pages) as address, start(TWICE) as function:
        assert function.invoke({"url": f"http://{address}", "headers": given}).json == given
        function.frames.wait_for(5, 1)
        assert function.frames.named("GET").status.code == 0
    assert [value for name, value in seen if name == "X-Forwarded-For"] == values
    assert ("traceparent" in dict(seen)) == (len(values) == 1)
