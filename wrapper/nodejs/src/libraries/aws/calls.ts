/**
 * What an AWS SDK's call says of itself: the same for version 2 and 3, and for the Python agent. The SDKs' patches and signed requests hand
 * over service, operation and parameters; the attributes of the span come out.
 */

import type { Span } from "../../trace/span";

export const BEDROCK = "Bedrock Runtime";

/** Service id -> parameter -> attribute. */
const PARAMETERS: Record<string, [string, string][]> = {
  S3: [["Bucket", "aws.s3.bucket"], ["Key", "aws.s3.key"]],
  SQS: [["QueueUrl", "aws.sqs.queue.url"]],
  SNS: [["TopicArn", "aws.sns.topic.arn"], ["TargetArn", "aws.sns.topic.arn"]],
  DynamoDB: [["TableName", "aws.dynamodb.table_names"]],
  Lambda: [["FunctionName", "aws.lambda.function.name"]],
  SFN: [["stateMachineArn", "aws.stepfunctions.state_machine.arn"]],
  "Secrets Manager": [["SecretId", "aws.secretsmanager.secret.arn"]],
  Kinesis: [["StreamARN", "aws.kinesis.stream.arn"], ["StreamName", "aws.kinesis.stream_name"]],
  EventBridge: [["EventBusName", "messaging.destination.name"]],
  [BEDROCK]: [["modelId", "gen_ai.request.model"]],
};

export function describeCall(span: Span, service: string, operation: string, input: unknown): void {
  const { attributes } = span;
  span.name = `${service}.${operation}`;
  attributes["rpc.system"] = "aws-api";
  attributes["rpc.service"] = service;
  attributes["rpc.method"] = operation;
  if (typeof input === "object" && input !== null) describeParameters(span, service, input as Record<string, unknown>);
}

/** The parameters of the service's operations that say what is called. */
export function parametersOf(service: string): string[] {
  const names = (PARAMETERS[service] ?? []).map(([parameter]) => parameter);
  return service === "DynamoDB" ? [...names, "RequestItems"] : names;
}

export function describeParameters(span: Span, service: string, parameters: Record<string, unknown>): void {
  const { attributes } = span;
  for (const [parameter, attribute] of PARAMETERS[service] ?? []) {
    const value = parameters[parameter];
    if (typeof value === "string") attributes[attribute] ??= attribute === "aws.dynamodb.table_names" ? [value] : value;
  }
  const items = parameters.RequestItems;
  if (service === "DynamoDB" && typeof items === "object" && items !== null)
    attributes["aws.dynamodb.table_names"] = Object.keys(items);
}

/** Tokens that a model has read and written, by the response of Bedrock's own API or by the headers of a model's. */
export function describeTokens({ attributes }: Span, usage: unknown, headers: Record<string, unknown> = {}): void {
  const { inputTokens, outputTokens } = (usage ?? {}) as { inputTokens?: unknown; outputTokens?: unknown };
  const count = (said: unknown, header: string): unknown => said ?? (headers[header] === undefined ? undefined : Number(headers[header]));
  attributes["gen_ai.usage.input_tokens"] ??= count(inputTokens, "x-amzn-bedrock-input-token-count");
  attributes["gen_ai.usage.output_tokens"] ??= count(outputTokens, "x-amzn-bedrock-output-token-count");
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
