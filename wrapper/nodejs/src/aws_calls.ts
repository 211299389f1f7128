/** What an AWS SDK's call says of itself: the same for version 2 and 3, and for the Python agent. */

import type { Span } from "./span";

/** Service id -> parameter -> attribute. */
const PARAMETERS: Record<string, [string, string][]> = {
  S3: [["Bucket", "aws.s3.bucket"], ["Key", "aws.s3.key"]],
  SQS: [["QueueUrl", "aws.sqs.queue.url"]],
  SNS: [["TopicArn", "aws.sns.topic.arn"], ["TargetArn", "aws.sns.topic.arn"]],
  DynamoDB: [["TableName", "aws.dynamodb.table_names"]],
  Lambda: [["FunctionName", "aws.lambda.function.name"]],
  SFN: [["stateMachineArn", "aws.stepfunctions.state_machine.arn"]],
  "Secrets Manager": [["SecretId", "aws.secretsmanager.secret.arn"]],
  Kinesis: [["StreamARN", "aws.kinesis.stream.arn"], ["StreamName", "aws.kinesis.stream.name"]],
  EventBridge: [["EventBusName", "messaging.destination.name"]],
};

export function describeCall(span: Span, service: string, operation: string, input: unknown): void {
  const { attributes } = span;
  span.name = `${service}.${operation}`;
  attributes["rpc.system"] = "aws-api";
  attributes["rpc.service"] = service;
  attributes["rpc.method"] = operation;
  if (typeof input !== "object" || input === null) return;
  const parameters = input as Record<string, unknown>;
  for (const [parameter, attribute] of PARAMETERS[service] ?? []) {
    const value = parameters[parameter];
    if (typeof value === "string") attributes[attribute] ??= attribute === "aws.dynamodb.table_names" ? [value] : value;
  }
  const items = parameters.RequestItems;
  if (service === "DynamoDB" && typeof items === "object" && items !== null)
    attributes["aws.dynamodb.table_names"] = Object.keys(items);
}

export interface Outcome {
  requestId?: unknown;
  extendedRequestId?: unknown;
  statusCode?: unknown;
  attempts?: unknown;
}

export function describeOutcome(span: Span, outcome: Outcome, error: unknown): void {
  const { attributes } = span;
  attributes["aws.request_id"] = outcome.requestId;
  attributes["aws.extended_request_id"] = outcome.extendedRequestId;
  attributes["http.response.status_code"] = outcome.statusCode;
  if (typeof outcome.attempts === "number" && outcome.attempts > 1)
    attributes["http.request.resend_count"] = outcome.attempts - 1;
  const { name, code } = (error ?? {}) as { name?: unknown; code?: unknown };
  const known = typeof code === "string" ? code : name;
  if (typeof known === "string" && outcome.statusCode !== undefined) {
    attributes["aws.error.code"] = known;
    attributes["error.type"] = known;
  }
}
