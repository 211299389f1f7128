"""A stand-in for the AWS services and for a plain web server: just enough for an SDK to call the call a success."""

from __future__ import annotations

import hashlib
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

REQUEST_ID = "7f8a7e1b-0000-4000-8000-000000000001"
ARN = "arn:aws:{}:eu-west-1:123456789012:{}"

# By operation: the code, and the answer of a service that speaks JSON.
JSON_ANSWERS: dict[str, tuple[int, dict[str, Any]]] = {
    "GetItem": (200, {"Item": {"id": {"S": "7"}}, "ConsumedCapacity": {"TableName": "cart", "CapacityUnits": 0.5}}),
    "PutItem": (400, {"__type": "com.amazonaws#ProvisionedThroughputExceededException", "message": "slow down"}),
    "Query": (200, {"Items": [], "Count": 0, "ScannedCount": 0}),
    "BatchGetItem": (200, {"Responses": {"cart": [], "user": []}, "UnprocessedKeys": {}}),
    "ListTables": (200, {"TableNames": ["cart"]}),
    "ReceiveMessage": (200, {"Messages": []}),
    "GetSecretValue": (200, {"ARN": ARN.format("secretsmanager", "secret:db-x1"), "Name": "db", "SecretString": "s"}),
    "StartExecution": (200, {"executionArn": ARN.format("states", "execution:m:1"), "startDate": 1.0}),
    "DescribeStateMachine": (400, {"__type": "StateMachineDoesNotExist", "message": "no such machine"}),
}
PUBLISHED = f"""\
<PublishResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><PublishResult><MessageId>m-1</MessageId>\
</PublishResult><ResponseMetadata><RequestId>{REQUEST_ID}</RequestId></ResponseMetadata></PublishResponse>"""
NO_SUCH_KEY = f"""\
<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message><Key>absent</Key>\
<RequestId>{REQUEST_ID}</RequestId></Error>"""


class Answer(BaseHTTPRequestHandler):
    """Answers by the operation in the headers, the form or the path."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        operation = self.headers.get("x-amz-target", "").rpartition(".")[2]
        path = urlsplit(self.path).path
        if operation == "SendMessage":
            digest = hashlib.md5(json.loads(body)["MessageBody"].encode()).hexdigest()
            self.send_json(200, {"MessageId": "m-1", "MD5OfMessageBody": digest})
        elif operation:
            self.send_json(*JSON_ANSWERS[operation])
        elif parse_qs(body.decode("utf-8", "replace")).get("Action") == ["Publish"]:
            self.send(200, PUBLISHED.encode(), "text/xml")
        elif path.startswith("/2015-03-31/functions/"):
            self.send_json(200, {"tax": 7})
        elif path.startswith("/model/"):
            self.send_json(200, CONVERSE)
        elif path == "/bucket/absent":
            self.send(404, NO_SUCH_KEY.encode(), "application/xml")
        elif path.startswith("/bucket/"):
            self.send(200, b"" if self.command == "PUT" else b"hello", "text/plain", {"ETag": '"e"'})
        else:
            code = int(path.strip("/")) if path.strip("/").isdigit() else 200
            self.send(code, b"hello", "text/plain")

    do_GET = do_POST = do_PUT = do_HEAD = answer

    def send_json(self, code: int, content: dict[str, Any]) -> None:
        self.send(code, json.dumps(content).encode(), "application/x-amz-json-1.0")

    def send(self, code: int, body: bytes, kind: str, more: dict[str, str] | None = None) -> None:
        self.send_response_only(code)
        fixed = {"content-type": kind, "content-length": str(len(body))}
        ids = {"x-amzn-requestid": REQUEST_ID, "x-amz-request-id": REQUEST_ID, "x-amz-id-2": "extended/1="}
        for name, value in {**fixed, **ids, **(more or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: the recording's own output is what matters."""


CONVERSE = {
    "output": {"message": {"role": "assistant", "content": [{"text": "hello"}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 12, "outputTokens": 34, "totalTokens": 46},
    "metrics": {"latencyMs": 5},
}


class Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of a client that hangs up on its idle connection."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def server() -> Server:
    return Server(("127.0.0.1", 0), Answer)
