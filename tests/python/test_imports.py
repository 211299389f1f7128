"""Imports: looking for a module is not importing it, and whatever is imported again is patched again (A-31)."""

from __future__ import annotations

import pytest
from _otel_xray_agent import unseen
from conftest import Daemon, Start, Website
from stage import bundled

FIND = """
import importlib.machinery, importlib.util, sys
LOADER = importlib.util.find_spec("botocore.client").loader
assert "botocore.client" not in sys.modules
import boto3
s3 = boto3.client("s3")
def handler(event, context):
    s3.get_object(Bucket="orders", Key="o-1")
    source = LOADER.get_source("botocore.client")
    is_file = isinstance(LOADER, importlib.machinery.SourceFileLoader)
    return ["class BaseClient" in source, is_file, LOADER.is_package("botocore.client")]
"""


def test_looking_for_a_module_is_not_its_import(start: Start, website: Website) -> None:
    with start(FIND, variables={"AWS_ENDPOINT_URL": website.url}) as function:
        assert function.invoke().json == [True, True, False]
        function.frames.wait_for(5, 1)
        assert [span.name for span in function.frames.ended()] == ["S3.GetObject", "app.handler"]


def test_looking_for_the_sdks_is_not_their_import(start: Start, daemon: Daemon) -> None:
    paths = [str(bundled("aws-xray-sdk-2.15.0")), str(bundled("opentelemetry-api-newest"))]
    source = f"""
import sys
sys.path[1:1] = {paths!r}
import importlib.util, os
assert importlib.util.find_spec("aws_xray_sdk") and importlib.util.find_spec("opentelemetry.trace")
from aws_xray_sdk.core import xray_recorder
from opentelemetry import trace
tracer = trace.get_tracer("shop")
def handler(event, context):
    with xray_recorder.in_subsegment("sub"), tracer.start_as_current_span("span"):
        pass
    return os.environ["AWS_XRAY_DAEMON_ADDRESS"]
"""
    with start(source, variables=daemon.variables()) as function:
        assert function.invoke().json == daemon.address
        function.frames.wait_for(5, 1)
        assert [span.name for span in function.frames.ended()] == ["span", "app.handler"]
        assert function.frames.named("span").parent_span_id.hex() == daemon.take(1)["sub"]["id"]


AGAIN = {
    "deleted": """
import sys, boto3
# A newer boto3 than the runtime's: a common recipe.
for name in [n for n in sys.modules if n.split(".")[0] in ("boto3", "botocore", "urllib3")]:
    del sys.modules[name]
import boto3
""",
    "reloaded": """
import importlib, boto3, botocore.client, botocore.endpoint
importlib.reload(botocore.endpoint)
importlib.reload(botocore.client)
""",
}
CALLS = """
s3 = boto3.client("s3")
def handler(event, context):
    s3.get_object(Bucket="orders", Key="o-1")
"""


@pytest.mark.parametrize("how", AGAIN)
def test_a_library_imported_again_is_patched_again(start: Start, website: Website, how: str) -> None:
    with start(AGAIN[how] + CALLS, variables={"AWS_ENDPOINT_URL": website.url}) as function:
        function.invoke()
        function.frames.wait_for(5, 1)
        assert [span.name for span in function.frames.ended()] == ["S3.GetObject", "app.handler"]
        assert "[otel-xray]" not in function.output()
    _, _, headers = website.requests[0]
    call = function.frames.named("S3.GetObject")
    assert f"Parent={call.span_id.hex()}" in headers["x-amzn-trace-id"]


def test_the_standard_librarys_client_reloaded(start: Start, website: Website) -> None:
    source = """
import importlib, http.client, urllib.request
for _ in range(2):
    importlib.reload(http.client)
importlib.reload(urllib.request)
def handler(event, context):
    return urllib.request.urlopen(event).read().decode()
"""
    with start(source) as function:
        assert function.invoke(website.url).json == "{}"
        function.frames.wait_for(5, 1)
        assert [span.name for span in function.frames.ended()] == ["GET", "app.handler"]


class Meta(type):
    """Refuses one name."""

    def __setattr__(cls, name: str, value: object) -> None:
        if name == cls.refused:
            raise TypeError(f"cannot set {name}")
        super().__setattr__(name, value)


@pytest.mark.parametrize("name", ["request", "getresponse"])
def test_a_class_that_refuses_a_part_of_its_patch_keeps_all_of_its_own(name: str) -> None:
    class Connection(metaclass=Meta):
        refused = name

        def request(self) -> str:
            return "own"

        def getresponse(self) -> str:
            return "own"

    with pytest.raises(TypeError):
        unseen.replace(Connection, request=lambda self: "ours", getresponse=lambda self: "ours")
    assert (Connection().request(), Connection().getresponse()) == ("own", "own")


REFUSED = """
class Meta(type):
    def __setattr__(cls, name, value):
        raise TypeError("cannot set " + name)
class HTTPConnectionPool(metaclass=Meta):
    def urlopen(self):
        return "own"
"""


def test_a_class_that_refuses_costs_its_patch_and_not_the_import(start: Start) -> None:
    sources = {
        "urllib3/__init__.py": "",
        "urllib3/connectionpool.py": REFUSED,
        "app.py": (
            "from urllib3.connectionpool import HTTPConnectionPool\n"
            "def handler(event, context):\n    return HTTPConnectionPool().urlopen()\n"
        ),
    }
    with start(sources) as function:
        assert function.invoke().json == "own"
        function.frames.wait_for(5, 1)
        lines = [line for line in function.output().splitlines() if line]
    assert len(lines) == 1
    assert "urllib3.connectionpool is not traced" in lines[0]


CONNECTION = """
import http.client
class Connection(http.client.HTTPConnection):
    def __setattr__(self, name, value):
        if name.startswith("_otel"):
            raise AttributeError(name)
        super().__setattr__(name, value)
def handler(event, context):
    connection = Connection(event)
    connection.request("GET", "/x")
    return connection.getresponse().status
"""


def test_a_connection_that_takes_no_attributes_is_traced(start: Start, website: Website) -> None:
    with start(CONNECTION) as function:
        assert function.invoke(website.url.rpartition("/")[2]).json == 200
        function.frames.wait_for(5, 1)
        assert [span.name for span in function.frames.ended()] == ["GET", "app.handler"]
        assert function.output() == ""
