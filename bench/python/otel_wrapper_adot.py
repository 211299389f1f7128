"""What ADOT puts where the runtime looks for the handler: fast start if asked for, Lambda's trace as the parent."""

import os
from importlib import import_module
from typing import Any

from opentelemetry.context import Context
from opentelemetry.instrumentation.aws_lambda import AwsLambdaInstrumentor
from opentelemetry.propagate import get_global_textmap

if os.environ["AWS_LAMBDA_LITE_MODE"] == "true":
    from amazon.opentelemetry.distro.opentelemetry_lite_sdk import configure_lite_mode

    configure_lite_mode()


def lambda_context(event: Any) -> Context:
    return get_global_textmap().extract({"X-Amzn-Trace-Id": os.environ.get("_X_AMZN_TRACE_ID", "")})


AwsLambdaInstrumentor().instrument(event_context_extractor=lambda_context)
module, name = os.environ["ORIG_HANDLER"].rsplit(".", 1)
lambda_handler = getattr(import_module(module.replace("/", ".")), name)
