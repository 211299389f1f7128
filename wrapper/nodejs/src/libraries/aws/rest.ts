/**
 * Operations and parameters that the method, the path and the query of a request say, where a service's protocol has them there. Read by
 * request.ts.
 */

import type { Attributes } from "../../trace/span";
import { BEDROCK } from "./calls";

/** A request, and where it goes. */
export interface Target {
  method: string;
  host: string;
  path: string;
  query: URLSearchParams;
  attributes: Attributes;
}

/** Service -> what its requests say. The result is the operation, undefined where they do not tell. */
export const RESTS: Record<string, ((target: Target) => string | undefined) | undefined> = {
  S3: s3,
  Lambda: lambda,
  [BEDROCK]: bedrock,
};

/** Parts of the query that say nothing of the operation. */
const PLAIN = /^(?:x-id|list-type|prefix|delimiter|max-|marker|key-marker|version-id-marker|continuation-token|start-after|encoding-type|fetch-owner|versionId|response-|x-amz-|partNumber$|part-number-marker|upload-id-marker|bucket-region)/i;

/** One query key names a part of the bucket or object; GET, PUT and DELETE stand in front of the part's name. */
const BUCKET_PARTS: Record<string, string> = {
  accelerate: "BucketAccelerateConfiguration",
  acl: "BucketAcl",
  cors: "BucketCors",
  encryption: "BucketEncryption",
  lifecycle: "BucketLifecycleConfiguration",
  location: "BucketLocation",
  logging: "BucketLogging",
  notification: "BucketNotificationConfiguration",
  "object-lock": "ObjectLockConfiguration",
  ownershipControls: "BucketOwnershipControls",
  policy: "BucketPolicy",
  policyStatus: "BucketPolicyStatus",
  publicAccessBlock: "PublicAccessBlock",
  replication: "BucketReplication",
  requestPayment: "BucketRequestPayment",
  tagging: "BucketTagging",
  versioning: "BucketVersioning",
  website: "BucketWebsite",
};
const OBJECT_PARTS: Record<string, string> = {
  acl: "ObjectAcl",
  attributes: "ObjectAttributes",
  "legal-hold": "ObjectLegalHold",
  retention: "ObjectRetention",
  tagging: "ObjectTagging",
  torrent: "ObjectTorrent",
};
const VERBS: Record<string, string | undefined> = { GET: "Get", PUT: "Put", DELETE: "Delete", HEAD: "Head" };

const SERVICE: Record<string, string> = { "GET ": "ListBuckets" };
const BUCKET: Record<string, string> = {
  "DELETE ": "DeleteBucket",
  "DELETE lifecycle": "DeleteBucketLifecycle",
  "GET ": "ListObjects",
  "GET uploads": "ListMultipartUploads",
  "GET versions": "ListObjectVersions",
  "HEAD ": "HeadBucket",
  "POST delete": "DeleteObjects",
  "PUT ": "CreateBucket",
};
const OBJECT: Record<string, string> = {
  "DELETE ": "DeleteObject",
  "DELETE uploadId": "AbortMultipartUpload",
  "GET ": "GetObject",
  "GET uploadId": "ListParts",
  "HEAD ": "HeadObject",
  "POST restore": "RestoreObject",
  "POST uploadId": "CompleteMultipartUpload",
  "POST uploads": "CreateMultipartUpload",
  "PUT ": "PutObject",
  "PUT uploadId": "UploadPart",
};

function s3({ method, host, path, query, attributes }: Target): string | undefined {
  const inHost = /^(.+)\.s3(?:express)?[.-]/.exec(host)?.[1];
  const isPoint = host.includes(".s3-accesspoint.") || host.includes(".s3-object-lambda.");
  const parts = path.split("/").slice(1);
  const bucket = inHost ?? (isPoint ? host : parts.shift());
  const key = parts.join("/");
  // An access point is called by its ARN, which is not there.
  if (bucket && !isPoint) attributes["aws.s3.bucket"] = bucket;
  if (key !== "") attributes["aws.s3.key"] = decoded(key);
  const named = [...query.keys()].filter((name) => !PLAIN.test(name));
  if (named.length > 1) return undefined;
  const [part = ""] = named;
  const level = !bucket ? SERVICE : key === "" ? BUCKET : OBJECT;
  if (level === BUCKET && method === "GET" && part === "" && query.get("list-type") === "2") return "ListObjectsV2";
  const known = level[`${method} ${part}`];
  const noun = (level === BUCKET ? BUCKET_PARTS : level === OBJECT ? OBJECT_PARTS : {})[part];
  const verb = VERBS[method];
  return known ?? (noun !== undefined && verb !== undefined && verb !== "Head" ? verb + noun : undefined);
}

const LAMBDA: Record<string, string> = {
  "GET ": "GetFunction",
  "GET configuration": "GetFunctionConfiguration",
  "POST invocations": "Invoke",
  "POST invoke-async": "InvokeAsync",
  "POST response-streaming-invocations": "InvokeWithResponseStream",
};

function lambda({ method, path, attributes }: Target): string | undefined {
  const [, name, part = ""] = /^\/[\d-]+\/functions\/([^/]+)(?:\/([^/]*)\/?)?$/.exec(path) ?? [];
  if (name === undefined) return undefined;
  attributes["aws.lambda.function.name"] = decoded(name);
  return LAMBDA[`${method} ${part}`];
}

const MODELS: Record<string, string> = {
  converse: "Converse",
  "converse-stream": "ConverseStream",
  "count-tokens": "CountTokens",
  invoke: "InvokeModel",
  "invoke-with-response-stream": "InvokeModelWithResponseStream",
};

function bedrock({ path, attributes }: Target): string | undefined {
  const [, model, what = ""] = /^\/model\/([^/]+)\/([^/]+)$/.exec(path) ?? [];
  if (model !== undefined) attributes["gen_ai.request.model"] = decoded(model);
  return MODELS[what];
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
