"""What the sample function calls, on this machine: S3 and SQS by moto's server, and one web page."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
from local_lambda import DEMO
from servers import Handler, serving

REGION = "us-east-1"
BUCKET, KEY, QUEUE = "orders", "order-42.json", "shipments"

# A process of its own, because moto reads its settings when it is imported. It ends when its standard input does.
_MOTO = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class Credentials:
    """Keys as the environment of a function has them."""

    key_id: str
    secret: str
    token: str

    def variables(self) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": self.key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_SESSION_TOKEN": self.token,
        }


ANY = Credentials("AKIDEXAMPLE", "secret", "token")
"""For a moto that looks at nobody's keys."""


@contextmanager
def moto(**settings: str) -> Iterator[str]:
    """moto's server on a free loopback port; gives its URL."""
    process = subprocess.Popen(
        [sys.executable, "-c", _MOTO],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **settings},
        text=True,
    )
    assert process.stdin and process.stdout
    try:
        port = process.stdout.readline().strip()
        if not port:
            raise RuntimeError(f"moto's server did not start under {sys.executable}; is moto[server] installed there?")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stdin.close()
        process.kill()
        process.wait()


def client(service: str, url: str, credentials: Credentials = ANY) -> Any:  # boto3 has no types
    return boto3.client(
        service,
        region_name=REGION,
        endpoint_url=url,
        aws_access_key_id=credentials.key_id,
        aws_secret_access_key=credentials.secret,
        aws_session_token=credentials.token,
    )


class Page(Handler):
    """Answers the one HTTP request of the sample."""

    def do_GET(self) -> None:
        self.answer(200, {"open": True})


@contextmanager
def sample_world(moto_url: str, credentials: Credentials = ANY) -> Iterator[dict[str, str]]:
    """Creates the object and the queue, serves the page, and gives the variables that tell the sample of them."""
    s3 = client("s3", moto_url, credentials)
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key=KEY, Body=(DEMO / KEY).read_bytes())
    queue_url = client("sqs", moto_url, credentials).create_queue(QueueName=QUEUE)["QueueUrl"]
    with serving(Page) as page:
        yield {
            "AWS_ENDPOINT_URL_S3": moto_url,
            "AWS_ENDPOINT_URL_SQS": moto_url,
            "ORDERS_BUCKET": BUCKET,
            "SHIPMENTS_QUEUE_URL": queue_url,
            "CARRIER_URL": f"http://{page}/carrier",
        }


def received_messages(moto_url: str, queue_url: str, credentials: Credentials = ANY) -> list[str]:
    """The bodies of the messages that wait in the queue."""
    queue = client("sqs", moto_url, credentials)
    answer = queue.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10)
    return [message["Body"] for message in answer.get("Messages", [])]
