"""AWS calls on top of botocore: aiobotocore, aioboto3, s3fs and the CRT transfer, the oldest and the newest in use."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Daemon, Stalling, Start, Website, wait_until
from stage import HEADER, attributes, bundled

START, END, DONE, ANSWERED = 3, 4, 5, 6

AIOBOTOCORE = """
import asyncio
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
def client(url):
    config = AioConfig(s3={"addressing_style": "path"}, retries={"max_attempts": 1}, read_timeout=600)
    return get_session().create_client("s3", endpoint_url=url, config=config)
"""
AIOBOTO3 = """
import asyncio, aioboto3
from aiobotocore.config import AioConfig
def client(url):
    config = AioConfig(s3={"addressing_style": "path"}, retries={"max_attempts": 1}, read_timeout=600)
    return aioboto3.Session().client("s3", endpoint_url=url, config=config)
"""
OVER_HTTPX = "from aiobotocore.httpxsession import HttpxSession\n" + AIOBOTOCORE.replace(
    "AioConfig(", "AioConfig(http_session_cls=HttpxSession, "
)
CLIENTS = {
    "aiobotocore": ("aiobotocore", AIOBOTOCORE),
    "aiobotocore, httpx": ("aiobotocore/httpxsession.py", OVER_HTTPX),
    "aioboto3": ("aioboto3", AIOBOTO3),
}
"""Each beside a file that only packages with it have: aioboto3 wants an aiobotocore that is not the newest."""
CALL = """
from botocore.exceptions import ClientError
async def run(url, bucket):
    async with client(url) as s3:
        try:
            answer = await s3.get_object(Bucket=bucket, Key="o-1")
            return (await answer["Body"].read()).decode()
        except ClientError as error:
            return error.response["Error"]["Code"]
def handler(event, context):
    return asyncio.run(run(*event))
"""


def with_packages(packages: Path, source: str) -> str:
    return f"import sys\nsys.path.insert(1, {str(packages)!r})\n{source}"


@pytest.fixture(scope="session", params=["newest", "oldest"])
def packages(request: pytest.FixtureRequest) -> Path:
    return bundled(f"http-{request.param}")


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest, packages: Path) -> str:
    needed, source = CLIENTS[request.param]
    if not (packages / needed).exists():
        pytest.skip("these packages do not have it")
    return with_packages(packages, source)


@pytest.mark.parametrize(("bucket", "status"), [("orders", 200), ("missing", 404)])
def test_pl_12_an_aws_call_that_is_awaited(
    start: Start, website: Website, client: str, bucket: str, status: int
) -> None:
    with start(client + CALL) as function:
        assert function.invoke([website.url, bucket]).json == ("{}" if status == 200 else "404")
        function.frames.wait_for(DONE, 1)
        call, handler = function.frames.ended()
        assert function.output() == ""
    assert (call.name, call.kind, call.parent_span_id) == ("S3.GetObject", 3, handler.span_id)
    expected = {
        "rpc.system": "aws-api",
        "rpc.service": "S3",
        "rpc.method": "GetObject",
        "cloud.region": "eu-west-1",
        "aws.s3.bucket": bucket,
        "aws.s3.key": "o-1",
        "http.response.status_code": status,
    }
    assert expected.items() <= attributes(call).items()
    assert call.status.code == (0 if status == 200 else 2)
    assert [span.name for span in function.frames.started()] == ["app.handler", "S3.GetObject"]
    _, _, headers = website.requests[0]
    assert headers["x-amzn-trace-id"] == HEADER.replace("53995c3f42cd8ad8", call.span_id.hex())
    assert "traceparent" not in headers
    assert "x-amzn-trace-id" not in headers["authorization"].split("SignedHeaders=")[1].split(",")[0]


def test_pl_81_a_stream_that_stalls_is_waited_for(start: Start, stalling: Stalling, client: str) -> None:
    with start(client + CALL) as function:
        function.invoke([stalling.url, "b"], answered=False)
        wait_until(lambda: len(function.frames.of(ANSWERED)) == 2)
        kinds = [kind for kind, _ in function.frames.frames]
        assert kinds[-3:] == [START, ANSWERED, ANSWERED]
        assert END not in kinds
        assert function.frames.of(ANSWERED)[0][16:24] == function.frames.started()[-1].span_id
        stalling.go_on.set()
        assert function.answer().json == "halfhalf"
        function.frames.wait_for(DONE, 1)
        call, _ = function.frames.ended()
    assert (call.name, call.status.code, attributes(call)["http.response.status_code"]) == ("S3.GetObject", 0, 200)


def test_pl_71_two_at_once_have_their_own_spans(start: Start, website: Website, client: str) -> None:
    both = CALL.replace("asyncio.run(run(*event))", "asyncio.run(both(event))") + (
        "async def both(url):\n    return await asyncio.gather(run(url, 'one'), run(url, 'other'))\n"
    )
    with start(client + both) as function:
        assert function.invoke(website.url).json == ["{}", "{}"]
        function.frames.wait_for(DONE, 1)
        *calls, handler = function.frames.ended()
    assert {call.parent_span_id for call in calls} == {handler.span_id}
    by_bucket = {attributes(call)["aws.s3.bucket"]: call.span_id.hex() for call in calls}
    told = {path.split("/")[1]: h["x-amzn-trace-id"].split(";")[1][7:] for _, path, h in website.requests}
    assert told == by_bucket
    assert set(told) == {"one", "other"}


def test_pl_90_a_refused_connection_reads_as_without_the_layer(start: Start, client: str) -> None:
    answers = []
    for layer in (False, True):
        with start(client + CALL, layer=layer) as function:
            answer = function.invoke(["http://127.0.0.1:9", "b"])
            answers.append((answer.comparable[0], answer.json["errorType"], answer.json["stackTrace"]))
            if layer:
                function.frames.wait_for(DONE, 1)
                call, _ = function.frames.ended()
                assert (call.name, call.status.code) == ("S3.GetObject", 2)
                assert "EndpointConnectionError" in attributes(call)["error.type"]
    assert answers[0] == answers[1]


@pytest.mark.parametrize(("setting", "is_told"), [("none", False), ("127.0.0.1", True)])
def test_pl_63_otel_xray_propagate_is_heeded(
    start: Start, website: Website, client: str, setting: str, is_told: bool
) -> None:
    variables = {"OTEL_XRAY_PROPAGATE": setting}
    with start(client + CALL, variables=variables) as function:
        function.invoke([website.url, "b"])
        function.frames.wait_for(DONE, 1)
        call, _ = function.frames.ended()
    told = website.requests[0][2].get("x-amzn-trace-id", "")
    assert (f"Parent={call.span_id.hex()}" in told) == is_told


def test_disabled_by_name_it_is_left_alone(start: Start, website: Website, client: str) -> None:
    variables = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "aiobotocore, aiohttp-client, httpx, httpx2"}
    with start(client + CALL, variables=variables) as function:
        function.invoke([website.url, "b"])
        function.frames.wait_for(DONE, 1)
        assert [span.name for span in function.frames.ended()] == ["app.handler"]


S3FS = """
import s3fs
def handler(event, context):
    files = s3fs.S3FileSystem(client_kwargs={"region_name": "eu-west-1", "endpoint_url": event})
    return files.cat_file("orders/o-1").decode()
"""


def test_s3fs_is_seen_by_what_it_calls(start: Start, website: Website, packages: Path) -> None:
    with start(with_packages(packages, S3FS)) as function:
        assert function.invoke(website.url).json == "{}"
        function.frames.wait_for(DONE, 1)
        *calls, handler = function.frames.ended()
    assert {call.parent_span_id for call in calls} == {handler.span_id}
    assert "S3.GetObject" in {call.name for call in calls}
    assert {attributes(call)["rpc.system"] for call in calls} == {"aws-api"}


CRT = """
import botocore.session, io
from s3transfer.crt import BotocoreCRTCredentialsWrapper, BotocoreCRTRequestSerializer, CRTTransferManager
from s3transfer.crt import create_s3_crt_client
session = botocore.session.get_session()
def handler(event, context):
    url, bucket = event
    arguments = {"region_name": "eu-west-1", "endpoint_url": url}
    serializer = BotocoreCRTRequestSerializer(session, arguments)
    credentials = BotocoreCRTCredentialsWrapper(session.get_credentials()).to_crt_credentials_provider()
    crt = create_s3_crt_client("eu-west-1", credentials, num_threads=1, use_ssl=False)
    try:
        with CRTTransferManager(crt, serializer) as manager:
            manager.upload(io.BytesIO(b"x"), bucket, "o-1").result()
    except Exception as error:
        return type(error).__name__
"""


@pytest.fixture(scope="session")
def crt() -> Path:
    packages = bundled("http-newest")
    assert (packages / "awscrt").exists()
    return packages


@pytest.mark.parametrize(("bucket", "status"), [("orders", None), ("missing", 404)])
def test_pl_67_a_crt_transfer_lasts_until_its_future_is_done(
    start: Start, website: Website, crt: Path, bucket: str, status: int | None
) -> None:
    with start(with_packages(crt, CRT)) as function:
        assert function.invoke([website.url, bucket]).json == (None if status is None else "ClientError")
        function.frames.wait_for(DONE, 1)
        call, handler = function.frames.ended()
        assert function.output() == ""
    assert (call.name, call.kind, call.parent_span_id) == ("S3.PutObject", 3, handler.span_id)
    seen = attributes(call)
    assert (seen["aws.s3.bucket"], seen["aws.s3.key"], seen["cloud.region"]) == (bucket, "o-1", "eu-west-1")
    assert (call.status.code, seen.get("http.response.status_code")) == (0 if status is None else 2, status)
    assert [span.name for span in function.frames.started()] == ["app.handler", "S3.PutObject"]
    put = next(headers for method, _, headers in website.requests if method == "PUT")
    assert f"Parent={call.span_id.hex()}" in put["x-amzn-trace-id"]


PATCHED = """
import sys
sys.path[1:1] = {paths!r}
from aws_xray_sdk.core import patch
patch(["aiobotocore"])
"""


def test_pl_66_what_the_x_ray_sdk_records_comes_once(start: Start, website: Website, daemon: Daemon) -> None:
    paths = [str(bundled("http-newest")), str(bundled("aws-xray-sdk-2.15.0"))]
    with start(PATCHED.format(paths=paths) + AIOBOTOCORE + CALL, variables=daemon.variables()) as function:
        assert function.invoke([website.url, "orders"]).json == "{}"
        function.frames.wait_for(DONE, 1)
        assert [span.name for span in function.frames.ended()] == ["app.handler"]
        document = daemon.take(1)["s3"]
    assert document["namespace"] == "aws"
    assert f"Parent={document['id']}" in website.requests[0][2]["x-amzn-trace-id"]
