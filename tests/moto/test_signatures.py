"""An independent X-Ray takes the extension's documents, in the mode in which it verifies SigV4 signatures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import layer_zip
import local_lambda
import pytest
import stand_ins
from botocore.exceptions import ClientError
from stand_ins import Credentials, client

ALL = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})
NOBODY = json.dumps({"Version": "2012-10-17", "Statement": []})
# The calls that make the role: everything after them needs a valid signature.
SET_UP_CALLS = 3


@pytest.fixture
def guarded() -> Iterator[tuple[str, Credentials]]:
    """The URL of an X-Ray that verifies signatures, and the only keys that it accepts."""
    with stand_ins.moto(INITIAL_NO_AUTH_ACTION_COUNT=str(SET_UP_CALLS)) as url:
        iam = client("iam", url)
        role = iam.create_role(RoleName="function", AssumeRolePolicyDocument=NOBODY)["Role"]["Arn"]
        iam.put_role_policy(RoleName="function", PolicyName="all", PolicyDocument=ALL)
        keys = client("sts", url).assume_role(RoleArn=role, RoleSessionName="function")["Credentials"]
        yield url, Credentials(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])


def run(xray_url: str, keys: Credentials, events: list[Path]) -> dict[str, Any]:
    """Runs the sample. Its S3 and SQS are others, which accept any keys, so that only X-Ray can refuse."""
    with stand_ins.moto() as moto_url, stand_ins.sample_world(moto_url) as variables:
        variables = {**variables, **keys.variables(), "AWS_ENDPOINT_URL_XRAY": xray_url}
        layer = layer_zip.zip_for(layer_zip.HOST_ARCH)
        return local_lambda.invoke_json(local_lambda.command(layer, variables, events))


def trace_ids(result: dict[str, Any]) -> list[str]:
    headers = [invocation["traceHeader"] for invocation in result["invocations"]]
    return [header.split("Root=")[1].split(";")[0] for header in headers]


def stored_documents(url: str, keys: Credentials, ids: list[str]) -> dict[str, list[dict[str, Any]]]:
    traces = client("xray", url, keys).batch_get_traces(TraceIds=ids)["Traces"]
    return {trace["Id"]: [json.loads(segment["Document"]) for segment in trace["Segments"]] for trace in traces}


def test_signed_documents_are_stored(guarded: tuple[str, Credentials]) -> None:
    url, keys = guarded
    result = run(url, keys, [local_lambda.EVENT, local_lambda.EVENT_ERROR])
    ids = trace_ids(result)
    assert [invocation["status"] for invocation in result["invocations"]] == ["success", "error"]

    stored = stored_documents(url, keys, ids)
    assert set(stored) == set(ids)
    by_name = [{document["name"]: document for document in stored[trace]} for trace in ids]
    assert {"app.handler", "S3", "SQS", "pack"} <= set(by_name[0])
    assert by_name[0]["pack"]["annotations"]["order_id"] == 42
    assert "fault" not in by_name[0]["app.handler"]
    assert by_name[1]["app.handler"]["fault"] is True
    assert "OutOfStock" in by_name[1]["pack"]["cause"]["exceptions"][0]["type"]

    now = datetime.now(timezone.utc)
    window = {"StartTime": now - timedelta(minutes=10), "EndTime": now + timedelta(minutes=10)}
    summaries = client("xray", url, keys).get_trace_summaries(**window)["TraceSummaries"]
    assert {summary["Id"] for summary in summaries} == set(ids)

    [account] = result["accounting"]
    assert account["received"] == account["sent"] == sum(len(documents) for documents in stored.values())


def test_a_wrong_secret_is_refused_and_the_function_does_not_notice(guarded: tuple[str, Credentials]) -> None:
    url, keys = guarded
    wrong = Credentials(keys.key_id, "not" + keys.secret[3:], keys.token)
    result = run(url, wrong, [local_lambda.EVENT])
    [invocation] = result["invocations"]
    assert (invocation["status"], invocation["payload"]) == ("success", {"order": 42, "packed": 3})

    assert stored_documents(url, keys, trace_ids(result)) == {}
    [account] = result["accounting"]
    assert account["sent"] == 0
    assert account["received"] > 0
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        client("xray", url, wrong).batch_get_traces(TraceIds=trace_ids(result))
