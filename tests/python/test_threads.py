"""Invocations in threads of one process, as AWS's experimental images run them on Managed Instances: L-8.26."""

from __future__ import annotations

from conftest import Start, Website
from stage import BOOTSTRAP, HEADER, PARENT, TRACE, attributes

COUNT = 6
# Waits for the others with its answer, and in the middle.
HANDLER = f"""
import threading, urllib.request
together = threading.Barrier({COUNT})
def handler(event, context):
    together.wait(20)
    urllib.request.urlopen(event["url"] + "/first?" + str(event["n"])).read()
    together.wait(20)
    urllib.request.urlopen(event["url"] + "/second?" + str(event["n"])).read()
    together.wait(20)
    return event["n"]
"""
IN_THREADS = (
    BOOTSTRAP.rpartition("\n")[0].rpartition("\n")[0]
    + f"""
import http.client, threading
class Client(LambdaRuntimeClient):
    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
        connection.request(method, "/2018-06-01/runtime/invocation/" + path, body)
        answer = connection.getresponse()
        return answer.headers, answer.read()
    def post_invocation_result(self, invoke_id, body, *more):
        self.ask("POST", invoke_id + "/response", body)
    def post_invocation_error(self, invoke_id, body, *more):
        self.ask("POST", invoke_id + "/error", body)
handler = bootstrap._get_handler(os.environ["_HANDLER"])
noted = threading.Barrier({COUNT})
def work():
    client = Client(os.environ["AWS_LAMBDA_RUNTIME_API"], False)
    while True:
        head, body = client.ask("GET", "next")
        bootstrap.update_xray_env_variable(head["Lambda-Runtime-Trace-Id"])
        # The variable is now that of whichever thread came last.
        noted.wait(20)
        bootstrap.handle_event_request(
            client, handler, head["Lambda-Runtime-Aws-Request-Id"], body, "application/json", None, None,
            head["Lambda-Runtime-Invoked-Function-Arn"], int(head["Lambda-Runtime-Deadline-Ms"]), None,
            bootstrap.StandardLogSink(),
        )
threads = [threading.Thread(target=work) for _ in range({COUNT})]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""
)


def test_root_and_header_belong_to_the_invocation(start: Start, website: Website) -> None:
    variables = {"AWS_LAMBDA_MAX_CONCURRENCY": str(COUNT)}
    traces = [f"{number:032x}" for number in range(int(TRACE, 16), int(TRACE, 16) + COUNT)]
    headers = [HEADER.replace(TRACE[8:], trace[8:]) for trace in traces]
    with start(HANDLER, variables=variables, bootstrap=IN_THREADS) as function:
        for round_ in (0, 1):
            for number, header in enumerate(headers):
                function.invoke({"n": number, "url": website.url}, header=header, answered=False)
            answers = [function.answer() for _ in headers]
            assert {answer.path.rsplit("/", 1)[1] for answer in answers} == {"response"}
            assert sorted(answer.json for answer in answers) == list(range(COUNT))
            function.frames.wait_for(5, COUNT * (round_ + 1))
        assert "[otel-xray]" not in function.output()
    ended = function.frames.ended()
    handlers = {span.span_id: span for span in ended if span.name == "app.handler"}
    calls = [span for span in ended if span.name == "GET"]
    assert (len(handlers), len(calls)) == (2 * COUNT, 4 * COUNT)
    assert sorted(span.trace_id.hex() for span in handlers.values()) == sorted(2 * traces)
    for call in calls:
        path, _, number = attributes(call)["url.full"].rpartition("?")
        parent = handlers[call.parent_span_id]
        assert (call.trace_id.hex(), parent.trace_id.hex()) == (traces[int(number)],) * 2, path
    for _, path, sent in website.requests:
        number = int(path.rpartition("?")[2])
        fields = dict(field.split("=") for field in sent["x-amzn-trace-id"].split(";"))
        assert fields["Root"] == headers[number].split(";")[0][5:]
        assert bytes.fromhex(fields["Parent"]) in {call.span_id for call in calls}
    assert {span.parent_span_id.hex() for span in handlers.values()} == {PARENT}
