"""AWS calls through botocore: one span each, and the right trace header on the way out.

Called by the import hook with botocore's modules, and by what is on top of those. What its clients are asked comes in,
spans go to the recorder.
"""

from __future__ import annotations

import os

from _otel_xray_agent.libraries.calls import Calls
from _otel_xray_agent.libraries.http.propagation import may_tell
from _otel_xray_agent.record.trace import TraceHeader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.libraries.calls import Call
    from _otel_xray_agent.record import Recorder
    from _otel_xray_agent.record.trace import Span

    Follow = Callable[[Recorder, Span, dict[str, Any]], bool]

BEDROCK = "Bedrock Runtime"

# Parameter -> attribute, by service id.
_PARAMETERS = {
    "S3": (("Bucket", "aws.s3.bucket"), ("Key", "aws.s3.key")),
    "SQS": (("QueueUrl", "aws.sqs.queue.url"),),
    "SNS": (("TopicArn", "aws.sns.topic.arn"), ("TargetArn", "aws.sns.topic.arn")),
    "DynamoDB": (("TableName", "aws.dynamodb.table_names"),),
    "Lambda": (("FunctionName", "aws.lambda.function.name"),),
    "SFN": (("stateMachineArn", "aws.stepfunctions.state_machine.arn"),),
    "Secrets Manager": (("SecretId", "aws.secretsmanager.secret.arn"),),
    "Kinesis": (("StreamARN", "aws.kinesis.stream.arn"), ("StreamName", "aws.kinesis.stream_name")),
    "EventBridge": (("EventBusName", "messaging.destination.name"),),
    BEDROCK: (("modelId", "gen_ai.request.model"),),
}


def patch_client(module: ModuleType, recorder: Recorder) -> None:
    record(Calls(recorder, "botocore", "an AWS call"), module.BaseClient, _below)


def patch_endpoint(module: ModuleType, recorder: Recorder) -> None:
    carry(Calls(recorder, "botocore", "an AWS call"), module.Endpoint)


def record(calls: Calls, client: Any, follow: Follow) -> None:
    """``follow`` has the call go on until the body that it finds in an answer has been read."""

    def tell(call: Call, result: Any, error: BaseException | None) -> bool:
        return _tell(calls, call, result, error, follow)

    calls.record(client, "_make_api_call", describe, tell)


def carry(calls: Calls, endpoint: Any) -> None:
    """In front of the signature, which leaves X-Ray's header out. Any other would have to be signed: a ``traceparent``
    that something on the way then writes anew would cost the call."""

    def put(call: Call) -> None:
        params = call.given(1, "params")
        if may_tell(str(params["url"])):
            _put_header(params["headers"], calls.recorder, call.span)

    calls.stand_in(endpoint, "create_request", calls.carries(put, calls.recorder.current), calls.ends(None))


def _put_header(headers: Any, recorder: Recorder, span: Span) -> None:
    """In place of botocore's own, which names the wrong parent, and of that of an attempt before; the user's stays."""
    for key in [key for key in headers if str(key).lower() == "x-amzn-trace-id"]:
        if not (_is_lambdas(str(headers[key])) or f"Parent={span.span_id.hex()}" in str(headers[key])):
            return
        del headers[key]
    traced = recorder.headers(span)
    if traced:
        headers["X-Amzn-Trace-Id"] = traced["X-Amzn-Trace-Id"]


def _is_lambdas(value: str) -> bool:
    """Whether botocore has copied it from the environment, where Lambda's own header is."""
    copied = os.environ.get("_X_AMZN_TRACE_ID", "")
    one, other = TraceHeader(value), TraceHeader(copied)
    same = one.trace_id == other.trace_id and one.parent_id == other.parent_id
    return value == copied or (same and one.trace_id != b"")


def describe(call: Call) -> str:
    client, operation, parameters = call.arguments[0], call.given(1, "operation_name"), call.given(2, "api_params")
    service = str(client._service_model.service_id)
    attributes = call.span.attributes
    attributes["rpc.system"] = "aws-api"
    attributes["rpc.service"] = service
    attributes["rpc.method"] = operation
    attributes["cloud.region"] = client.meta.region_name
    if isinstance(parameters, dict):
        _describe_parameters(attributes, service, parameters)
    if service == BEDROCK:
        attributes["gen_ai.provider.name"] = "aws.bedrock"
        if operation in ("Converse", "ConverseStream"):
            attributes["gen_ai.operation.name"] = "chat"
    return f"{service}.{operation}"


def _describe_parameters(attributes: dict[str, Any], service: str, parameters: dict[str, Any]) -> None:
    for parameter, attribute in _PARAMETERS.get(service, ()):
        value = parameters.get(parameter)
        if isinstance(value, str) and attribute not in attributes:
            attributes[attribute] = [value] if attribute == "aws.dynamodb.table_names" else value
    if service == "DynamoDB" and isinstance(parameters.get("RequestItems"), dict):
        attributes["aws.dynamodb.table_names"] = list(parameters["RequestItems"])


def _tell(calls: Calls, call: Call, response: Any, error: BaseException | None, follow: Follow) -> bool:
    if error is not None:
        response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return False
    _describe_response(call.span, response)
    if error is not None:
        return False
    if call.span.attributes.get("rpc.service") == BEDROCK:
        from _otel_xray_agent.libraries.aws import bedrock

        if bedrock.answered(calls, call.span, response):
            return True
    return follow(calls.recorder, call.span, response)


def _below(recorder: Recorder, span: Span, response: dict[str, Any]) -> bool:
    """The function reads the answer's body from what ``http.client`` has it in."""
    for value in response.values():
        raw = getattr(value, "_raw_stream", None)
        if raw is not None:
            from _otel_xray_agent.libraries.http import answered

            below = getattr(raw, "_original_response", None)
            return answered(recorder, span, below, span.attributes["http.response.status_code"])
    return False


def _describe_response(span: Span, response: dict[str, Any]) -> None:
    attributes = span.attributes
    metadata = response.get("ResponseMetadata") or {}
    attributes["aws.request_id"] = metadata.get("RequestId")
    attributes["aws.extended_request_id"] = metadata.get("HostId")
    attributes["http.response.status_code"] = metadata.get("HTTPStatusCode")
    retries = metadata.get("RetryAttempts")
    if retries:
        attributes["http.request.resend_count"] = retries
    code = (response.get("Error") or {}).get("Code")
    if code:
        attributes["aws.error.code"] = str(code)
        attributes["error.type"] = str(code)
