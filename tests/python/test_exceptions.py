"""Exceptions go on unchanged, and no traceback shows the agent: neither the function's own nor what the caller sees."""

from __future__ import annotations

import pytest
from conftest import Start

FROZEN = """
import dataclasses
@dataclasses.dataclass(frozen=True)
class OutOfStock(Exception):
    item: str
def handler(event, context):
    raise OutOfStock("lamp")
"""
# Whatever an exception's class makes of an assignment, or of being asked.
STUBBORN = """
class Stubborn(Exception):
    def __setattr__(self, name, value):
        raise RuntimeError(name)
    def with_traceback(self, trace):
        raise RuntimeError("with_traceback")
    def __str__(self):
        return "as it is"
def work():
    raise Stubborn()
def handler(event, context):
    work()
"""
CHAIN = """
def load(): raise KeyError("first")
def handler(event, context):
    try:
        load()
    except KeyError as error:
        raise ValueError("second") from error
"""
SEEN_BY_CALLERS = {
    "a frozen dataclass": FROZEN,
    "a class that refuses": STUBBORN,
    "a chain": CHAIN,
    "no argument": "def handler():\n    return 1\n",
    "too many arguments": "def handler(event, context, more):\n    return 1\n",
    "no function": "handler = 5\n",
    "an exit": "import sys\ndef handler(event, context):\n    raise TimeoutError from None\n",
    "an object": "class A:\n    def __call__(self, event, context):\n        raise ValueError\nhandler = A()\n",
}


@pytest.mark.parametrize("listening", [True, False])
@pytest.mark.parametrize("kind", SEEN_BY_CALLERS)
def test_a_26_the_caller_sees_the_error_as_without_the_layer(start: Start, kind: str, listening: bool) -> None:
    answers, outputs = [], []
    for layer in (False, True):
        with start(SEEN_BY_CALLERS[kind], layer=layer, listening=listening) as function:
            answer = function.invoke()
            answers.append((answer.comparable, answer.headers.get("Lambda-Runtime-Function-Error-Type")))
            assert answer.comparable[0] == "error"
            outputs.append(function.output())
    assert answers[0] == answers[1]
    assert outputs[0] == outputs[1]


# Each sets `trouble` to what a failing call's traceback is.
CALLS = {
    "requests": "import requests\ndef call():\n    requests.get('http://127.0.0.1:9/')\n",
    "urllib3": (
        "import urllib3\ndef call():\n"
        "    urllib3.PoolManager().request('GET', 'http://127.0.0.1:9/', retries=urllib3.Retry(2, backoff_factor=0))\n"
    ),
    "urllib": "import urllib.request\ndef call():\n    urllib.request.urlopen('http://127.0.0.1:9/')\n",
    "http.client": (
        "import http.client\ndef call():\n"
        "    connection = http.client.HTTPConnection('127.0.0.1', 9)\n    connection.request('GET', '/')\n"
    ),
    "no answer": (
        "import http.client\ndef call():\n"
        "    connection = http.client.HTTPConnection('127.0.0.1', 9)\n    connection.getresponse()\n"
    ),
    "boto3": (
        "import boto3\nfrom botocore.config import Config\n"
        "s3 = boto3.client('s3', endpoint_url='http://127.0.0.1:9', config=Config(retries={'max_attempts': 1}))\n"
        "def call():\n    s3.list_buckets()\n"
    ),
    "boto3, wrong parameters": (
        "import boto3\ns3 = boto3.client('s3', endpoint_url='http://127.0.0.1:9')\n"
        "def call():\n    s3.get_object(Bucket='b', Nothing=1)\n"
    ),
    "an import": "def call():\n    import urllib3.connectionpool\n",
    "an import by name": "import importlib\ndef call():\n    importlib.import_module('urllib3.connectionpool')\n",
}
HANDLER = """
import traceback
def handler(event, context):
    try:
        call()
    except BaseException as error:
        shown = []
        while error is not None:
            frames = traceback.extract_tb(error.__traceback__)
            shown.append([type(error).__name__, *([frame.filename, frame.lineno, frame.name] for frame in frames)])
            error = error.__cause__ or error.__context__
        return shown
"""
BROKEN = {"urllib3/__init__.py": "", "urllib3/connectionpool.py": "def work():\n    import nothing_like_it\nwork()\n"}


@pytest.mark.parametrize("kind", CALLS)
def test_a_32_no_frame_of_the_agents_is_in_a_traceback(start: Start, kind: str) -> None:
    seen = []
    for layer in (False, True):
        sources = {"app.py": CALLS[kind] + HANDLER, **(BROKEN if "import" in kind else {})}
        with start(sources, layer=layer) as function:
            seen.append(function.invoke().json)
    assert seen[0] == seen[1]
    assert len(seen[0][0]) > 2


def test_a_32_nor_where_a_call_is_nested_in_anothers(start: Start) -> None:
    nested = CALLS["requests"].replace("def call", "def inner") + (
        "import urllib3\n"
        "class Pool(urllib3.HTTPConnectionPool):\n"
        "    def _make_request(self, *arguments, **options):\n        inner()\n"
        "def call():\n    Pool('127.0.0.1', 9).request('GET', '/', retries=False)\n"
    )
    seen = []
    for layer in (False, True):
        with start(nested + HANDLER, layer=layer) as function:
            seen.append(function.invoke().json)
    assert seen[0] == seen[1]
