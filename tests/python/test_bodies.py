"""How long a call lasts: to the end of what is read of its answer. What nobody waits for, nobody is blamed for."""

from __future__ import annotations

import struct

import pytest
from conftest import Stalling, Start, Website, wait_until
from stage import attributes

START, END, ANSWERED = 3, 4, 6


FORGET = """
import boto3, http.client, requests
def handler(event, context):
    host = event.rpartition("/")[2]
    one = http.client.HTTPConnection(host)
    one.request("POST", "/forgotten", body=b"x")
    requests.get(event + "/ok")
    boto3.client("s3", endpoint_url=event).get_object(Bucket="b", Key="k")
"""


def test_pl_79_a_request_whose_answer_nobody_asks_for_hides_nothing(start: Start, website: Website) -> None:
    with start(FORGET) as function:
        function.invoke(website.url)
        function.frames.wait_for(5, 1)
        *calls, handler = function.frames.ended()
    assert sorted(call.name for call in calls) == ["GET", "POST", "S3.GetObject"]
    assert {call.parent_span_id for call in calls} == {handler.span_id}
    assert {call.status.code for call in calls} == {0}
    post, get, s3 = (next(call for call in calls if name in call.name) for name in ("POST", "GET", "S3"))
    # It was over when it was sent, not when the handler ended.
    assert post.end_time_unix_nano < get.start_time_unix_nano
    parents = {path: headers["x-amzn-trace-id"].split(";")[1] for _, path, headers in website.requests}
    assert parents["/ok"] == f"Parent={get.span_id.hex()}"
    assert parents["/b/k"] == f"Parent={s3.span_id.hex()}"


def test_pl_79_several_connections_at_once(start: Start, website: Website) -> None:
    source = """
import http.client
def handler(event, context):
    connections = [http.client.HTTPConnection(event.rpartition("/")[2]) for _ in range(3)]
    for number, connection in enumerate(connections):
        connection.request("GET", f"/{number}")
    return [connection.getresponse().read().decode() for connection in reversed(connections)]
"""
    with start(source) as function:
        assert function.invoke(website.url).json == ["{}"] * 3
        function.frames.wait_for(5, 1)
        *calls, handler = function.frames.ended()
    assert [attributes(call)["url.full"].rpartition("/")[2] for call in calls] == ["2", "1", "0"]
    assert {call.parent_span_id for call in calls} == {handler.span_id}
    parents = {headers["x-amzn-trace-id"].split(";")[1][7:] for _, _, headers in website.requests}
    assert parents == {call.span_id.hex() for call in calls}


READ = {
    "requests": "import requests\ndef read(url):\n    return requests.get(url).text\n",
    "requests, streamed": (
        "import requests\ndef read(url):\n"
        "    return b''.join(requests.get(url, stream=True).iter_content(1)).decode()\n"
    ),
    "urllib": "from urllib.request import urlopen\ndef read(url):\n    return urlopen(url).read().decode()\n",
    "urllib, by line": "from urllib.request import urlopen\ndef read(url):\n    return [*urlopen(url)][0].decode()\n",
    "urllib, in pieces": (
        "from urllib.request import urlopen\ndef read(url):\n"
        "    with urlopen(url) as answer:\n        return b''.join(iter(lambda: answer.read(3), b'')).decode()\n"
    ),
    "s3": (
        "import boto3\ndef read(url):\n    base, _, key = url.rpartition('/')\n"
        "    return boto3.client('s3', endpoint_url=base).get_object(Bucket='b', Key='k')['Body'].read().decode()\n"
    ),
    "urllib3": (
        "import urllib3\ndef read(url):\n"
        "    return urllib3.PoolManager().request('GET', url, preload_content=False).data.decode()\n"
    ),
}
HANDLER = "\ndef handler(event, context):\n    return read(event)\n"


@pytest.mark.parametrize("path", ["/whole", "/chunks"])
@pytest.mark.parametrize("library", READ)
def test_pl_81_a_body_that_stalls_is_waited_for(start: Start, stalling: Stalling, library: str, path: str) -> None:
    if library == "s3" and path == "/chunks":
        pytest.skip("S3 says the length of an object")
    with start(READ[library] + HANDLER) as function:
        answer = function.invoke(stalling.url + path, answered=False)
        wait_until(lambda: len(function.frames.of(ANSWERED)) == 2)
        # Announced, answered, awaited; and not ended.
        kinds = [kind for kind, _ in function.frames.frames]
        assert kinds[-3:] == [START, ANSWERED, ANSWERED]
        assert END not in kinds
        _, _, at, status = struct.unpack("<16s8sQH", function.frames.of(ANSWERED)[0])
        _, span_id, awaited, _ = struct.unpack("<16s8sQH", function.frames.of(ANSWERED)[1])
        assert (at > 0, status, awaited) == (True, 200, 0)
        assert span_id == function.frames.started()[-1].span_id
        stalling.go_on.set()
        assert function.answer().json == "halfhalf"
        function.frames.wait_for(5, 1)
        call, handler = function.frames.ended()
    assert answer.body == b""
    assert (call.status.code, attributes(call)["http.response.status_code"]) == (0, 200)
    # The call's time is that of its whole answer.
    assert at < call.end_time_unix_nano <= handler.end_time_unix_nano


UNREAD = {
    "kept": "import requests\nkept = []\ndef read(url):\n    kept.append(requests.get(url, stream=True))\n",
    "kept by urllib": (
        "from urllib.request import urlopen\nkept = []\ndef read(url):\n    kept.append(urlopen(url))\n"
    ),
    "closed": "import requests\ndef read(url):\n    requests.get(url, stream=True).close()\n",
    "closed by with": "from urllib.request import urlopen\ndef read(url):\n    with urlopen(url):\n        pass\n",
    "dropped": "from urllib.request import urlopen\ndef read(url):\n    urlopen(url).status\n",
    "dropped in a ring": (
        "from urllib.request import urlopen\ndef read(url):\n    answer = urlopen(url)\n    answer.ring = answer\n"
    ),
    "s3": (
        "import boto3\nkept = []\ndef read(url):\n"
        "    kept.append(boto3.client('s3', endpoint_url=url).get_object(Bucket='b', Key='k'))\n"
    ),
}


@pytest.mark.parametrize("how", UNREAD)
def test_an_answer_that_is_not_read_was_answered_when_its_head_came(start: Start, stalling: Stalling, how: str) -> None:
    source = UNREAD[how] + (
        "import time\ndef handler(event, context):\n    read(event)\n    after = time.time_ns()\n"
        "    time.sleep(0.02)\n    return after\n"
    )
    with start(source) as function:
        after = function.invoke(stalling.url + "/whole").json
        function.frames.wait_for(5, 1)
        call, handler = function.frames.ended()
    assert (call.status.code, attributes(call)["http.response.status_code"]) == (0, 200)
    assert call.end_time_unix_nano <= after < handler.end_time_unix_nano
    assert len(function.frames.of(ANSWERED)) == 1


def test_a_body_that_breaks_off_is_the_calls_fault(start: Start, stalling: Stalling) -> None:
    source = """
import urllib.request
def handler(event, context):
    try:
        urllib.request.urlopen(event, timeout=0.05).read()
    except OSError as error:
        return type(error).__name__
"""
    with start(source) as function:
        assert function.invoke(stalling.url + "/whole").json
        function.frames.wait_for(5, 1)
        call, handler = function.frames.ended()
    assert (call.status.code, handler.status.code) == (2, 0)
    assert "timed out" in attributes(call.events[0])["exception.message"]


def test_redirects_are_no_error(start: Start, website: Website) -> None:
    source = "import urllib.request\ndef handler(event, context):\n    urllib.request.urlopen(event).read()\n"
    with start(source) as function:
        function.invoke(website.url + "/moved")
        function.frames.wait_for(5, 1)
        first, second, _ = function.frames.ended()
    assert [attributes(call)["http.response.status_code"] for call in (first, second)] == [302, 200]
    assert {first.status.code, second.status.code} == {0}


RING = """
import gc, socket, urllib.request
from urllib.request import urlopen
def handler(event, context):
    # Garbage is collected in the middle of anything: also while the agent writes.
    gc.set_threshold(1)
    for _ in range(30):
        answer = urlopen(event)
        answer.ring = answer
        del answer
    gc.set_threshold(700)
"""


def test_answers_that_the_collector_ends_stop_nothing(start: Start, website: Website) -> None:
    with start(RING) as function:
        assert function.invoke(website.url + "/here").json is None
        function.frames.wait_for(5, 1)
        assert len(function.frames.ended()) == 31
