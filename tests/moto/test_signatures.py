"""An independent X-Ray takes the extension's documents, in the mode in which it verifies SigV4 signatures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import layer_zip
import local_lambda
import pytest
import stand_ins
from botocore.exceptions import ClientError
from plan import MACHINES
from stand_ins import Credentials, client

ARCH = {"x86_64": "x86_64", "aarch64": "arm64"}[__import__("platform").machine()]
assert ARCH in MACHINES
ALL = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})
# The calls that make the role: everything after them needs a valid signature.
SET_UP_CALLS = 3


@pytest.fixture
def guarded() -> Iterator[tuple[str, Credentials]]:
    """moto's URL and the keys of the one role that it accepts."""
    with stand_ins.moto(INITIAL_NO_AUTH_ACTION_COUNT=str(SET_UP_CALLS)) as url:
        iam = client("iam", url)
        trust = json.dumps({"Version": "2012-10-17", "Statement": []})
        role = iam.create_role(RoleName="function", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
        iam.put_role_policy(RoleName="function", PolicyName="all", PolicyDocument=ALL)
        keys = client("sts", url).assume_role(RoleArn=role, RoleSessionName="function")["Credentials"]
        yield url, Credentials(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])


def run(url: str, keys: Credentials, extension_keys: Credentials, events: list[Path]) -> dict[str, Any]:
    """Runs the sample, which calls S3 and SQS with the same keys as the extension calls X-Ray."""
    with stand_ins.sample_world(url, keys) as variables:
        variables = {**variables, **extension_keys.variables(), "AWS_ENDPOINT_URL_XRAY": url}
        layer = layer_zip.zip_for(ARCH)
        return local_lambda.invoke_json(local_lambda.command(layer, variables, events))
