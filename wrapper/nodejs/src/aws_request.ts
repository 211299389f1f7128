/** What a signed HTTP request tells of the AWS call it is. For SDKs inside a bundle, where no module can be patched. */

import type { Span } from "./span";

type Get = (name: string) => string;

/** Service in the signature's scope -> the name that SDKs give it, where upper case would not do. */
const SERVICES: Record<string, string> = {
  dynamodb: "DynamoDB",
  events: "EventBridge",
  execute_api: "API Gateway",
  firehose: "Firehose",
  kinesis: "Kinesis",
  lambda: "Lambda",
  monitoring: "CloudWatch",
  logs: "CloudWatch Logs",
  secretsmanager: "Secrets Manager",
  ses: "SES",
  states: "SFN",
};

const SCOPE = /Credential=[^/]+\/\d{8}\/([^/]*)\/([^/]+)\/aws4_request/;

export function isSigned(authorization: string): boolean {
  return authorization.startsWith("AWS4-");
}

/** Whether a signature stands for the request as it is, in its headers or in its URL. */
export function isSignedAnyhow(path: string, get: Get): boolean {
  const query = path.indexOf("?");
  return (
    /^aws|signature|signedheaders/i.test(get("authorization")) ||
    get("signature") !== "" ||
    get("signature-input") !== "" ||
    (query >= 0 && /signature=/i.test(path.slice(query)))
  );
}

/** Whether the signature is for this header as well. */
export function covers(authorization: string, header: string): boolean {
  const [, listed = ""] = /SignedHeaders=([^,\s]*)/i.exec(authorization) ?? [];
  return listed === "" || listed.toLowerCase().split(";").includes(header);
}

export const defaultPort = (protocol = ""): number => (protocol.startsWith("https") ? 443 : 80);

export function describeAwsRequest(span: Span, path: string, get: Get): void {
  const [, region = "", scope = ""] = SCOPE.exec(get("authorization")) ?? [];
  if (scope === "") return;
  const service = SERVICES[scope.replace("-", "_")] ?? scope.toUpperCase();
  const { attributes } = span;
  const query = new URLSearchParams(path.split("?")[1] ?? "");
  // JSON protocols name the operation in a header, REST ones of the JavaScript SDK in the query, Lambda's in its path.
  const operation =
    get("x-amz-target").split(".").pop() ||
    query.get("x-id") ||
    query.get("Action") ||
    (service === "Lambda" && path.includes("/invocations") ? "Invoke" : "");
  attributes["rpc.system"] = "aws-api";
  attributes["rpc.service"] = service;
  attributes["rpc.method"] = operation || undefined;
  attributes["cloud.region"] = region || undefined;
  span.name = operation === "" ? service : `${service}.${operation}`;
  const host = String(attributes["server.address"] ?? "");
  if (service === "S3") describeS3(span, host, path.split("?")[0] ?? "");
  if (service === "Lambda") {
    const name = /\/functions\/([^/]+)\/invocations/.exec(path)?.[1];
    if (name !== undefined) attributes["aws.lambda.function.name"] = decodeURIComponent(name);
  }
}

function describeS3(span: Span, host: string, path: string): void {
  const virtual = /^(.+)\.s3[.-]/.exec(host)?.[1];
  const parts = path.split("/").slice(1);
  const bucket = virtual ?? parts.shift();
  if (bucket) span.attributes["aws.s3.bucket"] = bucket;
  const key = parts.join("/");
  if (key !== "") span.attributes["aws.s3.key"] = decodeURIComponent(key);
}

export function describeAwsResponse(span: Span, headers: Record<string, string | string[] | undefined>): void {
  const { attributes } = span;
  attributes["aws.request_id"] = headers["x-amzn-requestid"] ?? headers["x-amzn-request-id"] ?? headers["x-amz-request-id"];
  attributes["aws.extended_request_id"] = headers["x-amz-id-2"];
  const type = headers["x-amzn-errortype"];
  if (typeof type === "string") {
    const code = type.split(":")[0] ?? type;
    attributes["aws.error.code"] = code;
    attributes["error.type"] = code;
  }
}
