// AWS calls inside of a bundle say what they say outside of one: services, operations, and what they are called with.

import assert from "node:assert/strict";
import test from "node:test";
import { bundle } from "./stage/bundle.mjs";
import { listen, major, withFunction } from "./stage/function.mjs";

const skip = major < 20 && "the AWS SDK does not start on this version";

const CLIENTS = `
  const options = { region: "eu-west-1", endpoint: process.env.AWS_URL, maxAttempts: 1, forcePathStyle: true };
  const large = "x".repeat(100_000);
  const mine = { MessageBody: '{"QueueUrl":"http://wrong/1/wrong","TopicArn":"arn:wrong"}' };`;

/** Clients, and calls as (client, command, parameters). */
const CASES = {
  S3: ["@aws-sdk/client-s3", "S3Client", {
    CreateBucket: '{ Bucket: "orders" }', HeadBucket: '{ Bucket: "orders" }', ListBuckets: "{}", ListObjectsV2: '{ Bucket: "orders", Prefix: "a", MaxKeys: 2 }',
    ListObjects: '{ Bucket: "orders" }', DeleteBucket: '{ Bucket: "orders" }', GetBucketTagging: '{ Bucket: "orders" }', GetBucketPolicy: '{ Bucket: "orders" }',
    PutObject: '{ Bucket: "orders", Key: "a b/ü+%.txt", Body: "content" }', GetObject: '{ Bucket: "orders", Key: "a b/ü+%.txt", VersionId: "v" }',
    HeadObject: '{ Bucket: "orders", Key: "a" }', DeleteObject: '{ Bucket: "orders", Key: "a" }', GetObjectTagging: '{ Bucket: "orders", Key: "a" }',
    PutObjectAcl: '{ Bucket: "orders", Key: "a", ACL: "private" }', GetObjectAttributes: '{ Bucket: "orders", Key: "a", ObjectAttributes: ["ETag"] }',
    CopyObject: '{ Bucket: "orders", Key: "b", CopySource: "orders/a" }', DeleteObjects: '{ Bucket: "orders", Delete: { Objects: [{ Key: "a" }] } }',
    CreateMultipartUpload: '{ Bucket: "orders", Key: "big" }', UploadPart: '{ Bucket: "orders", Key: "big", UploadId: "u", PartNumber: 1, Body: "x" }',
    ListParts: '{ Bucket: "orders", Key: "big", UploadId: "u" }', AbortMultipartUpload: '{ Bucket: "orders", Key: "big", UploadId: "u" }',
    CompleteMultipartUpload: '{ Bucket: "orders", Key: "big", UploadId: "u", MultipartUpload: { Parts: [{ ETag: "e", PartNumber: 1 }] } }',
    ListMultipartUploads: '{ Bucket: "orders" }', ListObjectVersions: '{ Bucket: "orders" }', RestoreObject: '{ Bucket: "orders", Key: "a", RestoreRequest: { Days: 1 } }',
  }],
  DynamoDB: ["@aws-sdk/client-dynamodb", "DynamoDBClient", {
    GetItem: '{ TableName: "stock", Key: { id: { S: "TableName" } } }', Query: '{ ExpressionAttributeNames: { "#TableName": "other" }, TableName: "stock" }',
    PutItem: '{ Item: { TableName: { S: "wrong\\\\\\",\\"TableName\\":\\"wrong" } }, TableName: "stock" }', ListTables: "{}",
    BatchGetItem: '{ RequestItems: { stock: { Keys: [{ id: { S: "1" } }] }, "a\\"b": { Keys: [{ id: { S: "}" } }] } } }',
    TransactWriteItems: '{ TransactItems: [{ Put: { TableName: "inner", Item: {} } }] }',
  }],
  SQS: ["@aws-sdk/client-sqs", "SQSClient", {
    SendMessage: '{ ...mine, QueueUrl: process.env.AWS_URL + "/1/orders" }', ReceiveMessage: '{ QueueUrl: process.env.AWS_URL + "/1/orders" }', CreateQueue: '{ QueueName: "q" }',
    SendMessageBatch: '{ QueueUrl: process.env.AWS_URL + "/1/orders", Entries: [{ Id: "a", MessageBody: large }] }', ListQueues: "{}",
  }],
  SNS: ["@aws-sdk/client-sns", "SNSClient", {
    Publish: '{ TopicArn: "arn:aws:sns:eu-west-1:1:a&b", Message: "Action=Wrong&TopicArn=wrong" }', CreateTopic: '{ Name: "t" }', ListTopics: "{}",
  }],
  STS: ["@aws-sdk/client-sts", "STSClient", { GetCallerIdentity: "{}", AssumeRole: '{ RoleArn: "arn:aws:iam::123456789012:role/x", RoleSessionName: "s" }' }],
  Lambda: ["@aws-sdk/client-lambda", "LambdaClient", {
    Invoke: '{ FunctionName: "arn:aws:lambda:eu-west-1:123456789012:function:pay", Payload: "{}" }', GetFunction: '{ FunctionName: "pay" }',
    GetFunctionConfiguration: '{ FunctionName: "pay" }', InvokeWithResponseStream: '{ FunctionName: "pay" }',
  }],
  SFN: ["@aws-sdk/client-sfn", "SFNClient", {
    StartExecution: '{ stateMachineArn: "arn:aws:states:eu-west-1:1:stateMachine:m", input: "{}" }', ListStateMachines: "{}",
  }],
  CloudWatch: ["@aws-sdk/client-cloudwatch", "CloudWatchClient", { PutMetricData: '{ Namespace: "n", MetricData: [] }' }],
  "SQS over CBOR": ["@aws-sdk/client-sqs", "SQSClient", {
    SendMessage: '{ ...mine, QueueUrl: process.env.AWS_URL + "/1/orders" }', ListQueues: "{}",
    SendMessageBatch: '{ Entries: [{ Id: "a", MessageBody: "b" }], QueueUrl: process.env.AWS_URL + "/1/orders" }',
  }, `import { AwsSmithyRpcV2CborProtocol } from "@aws-sdk/core/protocols"; options.protocol = AwsSmithyRpcV2CborProtocol;`],
};

const TOLD = /^(?:rpc\.|cloud\.region|aws\.(?!request_id|extended|error))/;

async function callsOf(sources, packages, url) {
  return withFunction(sources, { packages, variables: { AWS_URL: url } }, async (run) => {
    assert.equal((await run.invoke()).body, '"done"');
    await run.frames.done(1);
    return run.frames.ended
      .filter(({ name }) => name !== "app.handler")
      .map(({ name, attributes }) => ({ name, ...Object.fromEntries(Object.entries(attributes).filter(([key]) => TOLD.test(key)).sort()) }));
  });
}

for (const [name, [library, client, commands, more = ""]] of Object.entries(CASES))
  test(`${name}: the same inside of a bundle as outside`, { skip }, async () => {
    const server = await listen((request, response) => request.resume().on("end", () => response.writeHead(200).end()));
    const calls = Object.entries(commands).map(([command, input]) => `await client.send(new sdk.${command}Command(${input})).then(({ Body }) => Body?.transformToString?.()).catch(() => undefined);`);
    const source = `import * as sdk from "${library}"; ${CLIENTS} ${more}
      const client = new sdk.${client}(options);
      export const handler = async () => { ${calls.join("\n")} return "done"; };`;
    try {
      const url = `http://${server.address}`;
      const outside = await callsOf({ "app.mjs": source }, undefined, url);
      assert.deepEqual(outside.map((span) => span["rpc.method"]), Object.keys(commands));
      const inside = await callsOf(await bundle(source, {}), false, url);
      assert.deepEqual(inside, outside);
    } finally {
      server.close();
    }
  });

const MODEL = `import { BedrockRuntimeClient, ConverseCommand, InvokeModelCommand } from "@aws-sdk/client-bedrock-runtime";
  const client = new BedrockRuntimeClient({ region: "eu-west-1", endpoint: process.env.AWS_URL, maxAttempts: 1 });
  export const handler = async () => {
    const { output } = await client.send(new ConverseCommand({ modelId: "anthropic.claude-v2:1", messages: [{ role: "user", content: [{ text: "hello" }] }] }));
    const { body } = await client.send(new InvokeModelCommand({ modelId: "amazon.titan", contentType: "application/json", body: "{}" }));
    return output.message.content[0].text + Buffer.from(body); };`;

for (const inside of [false, true])
  test(`Bedrock${inside ? ", inside of a bundle" : ""}: the model, and the tokens that it has read and written`, { skip }, async () => {
    const server = await listen((request, response) => {
      const headers = { "content-type": "application/json" };
      const isInvoke = request.url.endsWith("/invoke");
      if (isInvoke) Object.assign(headers, { "x-amzn-bedrock-input-token-count": "3", "x-amzn-bedrock-output-token-count": "4" });
      const message = { output: { message: { role: "assistant", content: [{ text: "hi" }] } }, stopReason: "end_turn", usage: { inputTokens: 11, outputTokens: 7, totalTokens: 18 } };
      request.resume().on("end", () => response.writeHead(200, headers).end(JSON.stringify(isInvoke ? { results: [] } : message)));
    });
    // Its own handler speaks HTTP/2, which needs another server.
    const source = MODEL.replace("maxAttempts: 1", "maxAttempts: 1, requestHandler: new NodeHttpHandler()").replace(/^/, 'import { NodeHttpHandler } from "@smithy/node-http-handler";\n');
    try {
      const sources = inside ? await bundle(source, {}) : { "app.mjs": source };
      await withFunction(sources, { packages: inside ? false : undefined, variables: { AWS_URL: `http://${server.address}` } }, async (run) => {
        assert.equal((await run.invoke()).body, JSON.stringify('hi{"results":[]}'));
        await run.frames.done(1);
        const said = ["Converse", "InvokeModel"].map((name) => run.frames.named(`Bedrock Runtime.${name}`).attributes);
        assert.deepEqual(said.map((attributes) => attributes["gen_ai.request.model"]), ["anthropic.claude-v2:1", "amazon.titan"]);
        const tokens = said.map((attributes) => [attributes["gen_ai.usage.input_tokens"], attributes["gen_ai.usage.output_tokens"]]);
        assert.deepEqual(tokens, [[11, 7], [3, 4]]);
      });
    } finally {
      server.close();
    }
  });
