/**
 * What a signed HTTP request tells of the AWS call it is. For SDKs inside a bundle, where no module can be patched. The HTTP rooms hand
 * over method, path and headers, and later the body and the response.
 */

import type { Span } from "../../trace/span";
import { parametersIn } from "../body";
import { BEDROCK, describeParameters, describeTokens, parametersOf } from "./calls";
import { RESTS } from "./rest";

type Get = (name: string) => string;

/** Service in the signature's scope -> the name that SDKs give it, where upper case would not do. */
const SERVICES: Record<string, string | undefined> = {
  apigateway: "API Gateway",
  athena: "Athena",
  batch: "Batch",
  bedrock: "Bedrock",
  cloudformation: "CloudFormation",
  "cognito-idp": "Cognito Identity Provider",
  dynamodb: "DynamoDB",
  events: "EventBridge",
  "execute-api": "API Gateway",
  firehose: "Firehose",
  glue: "Glue",
  kinesis: "Kinesis",
  lambda: "Lambda",
  logs: "CloudWatch Logs",
  monitoring: "CloudWatch",
  "rds-data": "RDS Data",
  "redshift-data": "Redshift Data",
  s3express: "S3",
  scheduler: "Scheduler",
  secretsmanager: "Secrets Manager",
  ses: "SES",
  states: "SFN",
  xray: "XRay",
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

export function describeAwsRequest(span: Span, method: string, path: string, get: Get): void {
  const [, region = "", scope = ""] = SCOPE.exec(get("authorization")) ?? [];
  if (scope === "") return;
  const { attributes } = span;
  const host = String(attributes["server.address"] ?? "");
  const service = scope === "bedrock" && (host.includes("runtime") || path.startsWith("/model/")) ? BEDROCK : (SERVICES[scope] ?? scope.toUpperCase());
  const [bare = "", search = ""] = path.split("?");
  const query = new URLSearchParams(search);
  const told = RESTS[service]?.({ method, host, path: bare, query, attributes });
  // JSON protocols name the operation in a header, CBOR in the path, REST ones of the JavaScript SDK in the query.
  const operation =
    get("x-amz-target").split(".").pop() ||
    (get("smithy-protocol") === "" ? "" : /\/operation\/(\w+)$/.exec(bare)?.[1]) ||
    query.get("x-id") ||
    query.get("Action") ||
    told ||
    "";
  attributes["cloud.region"] = region || undefined;
  nameCall(span, service, operation);
}

function nameCall(span: Span, service: string, operation: string): void {
  const { attributes } = span;
  attributes["rpc.system"] = "aws-api";
  attributes["rpc.service"] = service;
  attributes["rpc.method"] = operation || undefined;
  span.name = operation === "" ? service : `${service}.${operation}`;
}

/** Whether the body would say more. */
export function wantsBody({ attributes }: Span): boolean {
  return attributes["rpc.method"] === undefined || parametersOf(String(attributes["rpc.service"])).length > 0;
}

/** What the body says, as far as it is there. */
export function describeAwsBody(span: Span, type: string, body: Buffer): void {
  const service = String(span.attributes["rpc.service"]);
  const { Action: action, ...parameters } = parametersIn(type, body, [...parametersOf(service), "Action"]);
  if (span.attributes["rpc.method"] === undefined && typeof action === "string") nameCall(span, service, action);
  describeParameters(span, service, parameters);
}

export function describeAwsResponse(span: Span, headers: Record<string, string | string[] | undefined>): void {
  const { attributes } = span;
  attributes["aws.request_id"] = headers["x-amzn-requestid"] ?? headers["x-amzn-request-id"] ?? headers["x-amz-request-id"];
  attributes["aws.extended_request_id"] = headers["x-amz-id-2"];
  if (attributes["rpc.service"] === BEDROCK) describeTokens(span, undefined, headers);
  const type = headers["x-amzn-errortype"];
  if (typeof type === "string") {
    const code = type.split(":")[0] ?? type;
    attributes["aws.error.code"] = code;
    attributes["error.type"] = code;
  }
}
