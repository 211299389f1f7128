"""Whatever the environment and other sides hold: no line of the log says it."""

from __future__ import annotations

import json
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import layer_zip
import pytest
from lone_extension import extension
from servers import serving

SECRET = "S3cret-Sesame"
LONG = "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567"


@pytest.fixture(scope="module")
def opt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return layer_zip.unpack(layer_zip.zip_for(layer_zip.HOST_ARCH), tmp_path_factory.mktemp("layer"))


def echo(status: int) -> type[BaseHTTPRequestHandler]:
    """Answers with what it was sent."""

    class Echo(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            told = json.dumps({"message": f"bad {SECRET}", "sent": body.decode("utf-8", "replace")}).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("location", f"https://user:{SECRET}@elsewhere/{LONG}?{SECRET}")
            self.send_header("content-length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        def log_message(self, *_: object) -> None:
            pass

    return Echo


MALFORMED = {
    "AWS_ENDPOINT_URL_XRAY": f"https//{SECRET}",
    "OTEL_EXPORTER_OTLP_ENDPOINT": f"user:{SECRET}@host",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": SECRET,
    "OTEL_EXPORTER_OTLP_HEADERS": f"{SECRET},api key={SECRET}",
    "OTEL_EXPORTER_OTLP_TIMEOUT": SECRET,
    "OTEL_EXPORTER_OTLP_CERTIFICATE": "",
    "AWS_ACCESS_KEY_ID": "",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://user:{SECRET}@host:x/",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN": SECRET,
    "OTEL_XRAY_DAEMON": SECRET,
    "OTEL_XRAY_OTLP_GRPC": f"http://{SECRET}@host",
    "OTEL_XRAY_SPOOL": SECRET,
    "HTTPS_PROXY": f"http://user:{SECRET}@proxy",
}


def wellformed(at: str) -> dict[str, str]:
    """Endpoints with secrets in every part."""
    endpoint = f"http://user:{SECRET}@{at}/{LONG}"
    return {
        "AWS_ENDPOINT_URL_XRAY": f"{endpoint}/xray",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{endpoint}/v1/traces?key={SECRET}",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{endpoint}/v1/metrics?key={SECRET}",
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer {SECRET}",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_SESSION_TOKEN": SECRET,
    }


def said_with(opt: Path, variables: dict[str, str]) -> str:
    """What is said at the level debug around an invocation with a span of secrets and a request of metrics."""
    port = 20_000 + threading.get_native_id() % 20_000
    names = {"OTEL_XRAY_LOG_LEVEL": "debug", "OTEL_XRAY_OUTLETS": "xray,otlp", "OTEL_XRAY_FLUSH_TIMEOUT_MS": "3000"}
    with extension(opt, **{**names, **variables, "OTEL_XRAY_OTLP_HTTP": f"127.0.0.1:{port}"}) as running:
        running.next()
        metrics = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/metrics",
            json.dumps({"resourceMetrics": [{"schemaUrl": SECRET}]}).encode(),
            {"content-type": "application/json"},
        )
        urllib.request.urlopen(metrics).close()
        with running.agent() as agent:
            running.invocation(agent, "one")
            running.invocation(agent, "two")
        return running.end()


def test_a_malformed_value_is_named_and_not_said(opt: Path) -> None:
    said = said_with(opt, MALFORMED)
    assert SECRET not in said, said
    for name in ("AWS_ENDPOINT_URL_XRAY", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"):
        assert f"{name} is not a URL" in said, said
    for name in ("OTEL_XRAY_DAEMON", "OTEL_XRAY_OTLP_GRPC", "OTEL_XRAY_SPOOL"):
        assert f"{name} is not understood" in said, said


@pytest.mark.parametrize("status", [200, 302, 400, 403, 404, 407, 500])
def test_endpoints_are_shown_without_their_secrets_and_answers_not_at_all(opt: Path, status: int) -> None:
    with serving(echo(status)) as at:
        said = said_with(opt, wellformed(at))
    assert SECRET not in said, said
    assert LONG not in said, said
    assert "app.handler" not in said, said
    assert f"http://{at}" in said, said


def test_malformed_headers_are_named_where_the_endpoint_is_not(opt: Path) -> None:
    with serving(echo(404)) as at:
        headers = {"OTEL_EXPORTER_OTLP_HEADERS": f"{SECRET},api key={SECRET}", "OTEL_EXPORTER_OTLP_TIMEOUT": SECRET}
        said = said_with(opt, {**wellformed(at), **headers})
    assert SECRET not in said, said
    assert "OTEL_EXPORTER_OTLP_HEADERS has 2 parts" in said, said
    assert "OTEL_EXPORTER_OTLP_TIMEOUT is no number" in said, said
