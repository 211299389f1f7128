// Makes calls under the OpenTelemetry SDK for Node.js, and prints one line of OTLP/JSON for each scenario.
'use strict'

const { context, trace, SpanKind } = require('@opentelemetry/api')
const { registerInstrumentations } = require('@opentelemetry/instrumentation')
const { AwsInstrumentation } = require('@opentelemetry/instrumentation-aws-sdk')
const { ExpressInstrumentation } = require('@opentelemetry/instrumentation-express')
const { HttpInstrumentation } = require('@opentelemetry/instrumentation-http')
const { IORedisInstrumentation } = require('@opentelemetry/instrumentation-ioredis')
const { MySQL2Instrumentation } = require('@opentelemetry/instrumentation-mysql2')
const { PgInstrumentation } = require('@opentelemetry/instrumentation-pg')
const { RedisInstrumentation } = require('@opentelemetry/instrumentation-redis')
const { UndiciInstrumentation } = require('@opentelemetry/instrumentation-undici')
const { resourceFromAttributes, defaultResource } = require('@opentelemetry/resources')
const { JsonTraceSerializer } = require('@opentelemetry/otlp-transformer')
const { NodeTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } = require('@opentelemetry/sdk-trace-node')

const PORTS = JSON.parse(process.env.ORACLE_PORTS)
const WEB = `http://localhost:${PORTS.aws}`
const REFUSED = `http://localhost:${PORTS.refused}`

const recorded = new InMemorySpanExporter()
const provider = new NodeTracerProvider({
  resource: defaultResource().merge(resourceFromAttributes({ 'service.name': 'shop', 'cloud.provider': 'aws' })),
  spanProcessors: [new SimpleSpanProcessor(recorded)]
})
provider.register()
registerInstrumentations({
  instrumentations: [
    new AwsInstrumentation({ suppressInternalInstrumentation: true }),
    new ExpressInstrumentation(),
    new HttpInstrumentation(),
    new IORedisInstrumentation(),
    new MySQL2Instrumentation(),
    new PgInstrumentation(),
    new RedisInstrumentation(),
    new UndiciInstrumentation()
  ]
})

// After the instrumentations, which replace what is required from here on.
const express = require('express')
const http = require('node:http')
const mysql = require('mysql2')
const pg = require('pg')
const redis = require('redis')
const Redis = require('ioredis')
const dynamodb = require('@aws-sdk/client-dynamodb')
const lambda = require('@aws-sdk/client-lambda')
const s3 = require('@aws-sdk/client-s3')
const secrets = require('@aws-sdk/client-secrets-manager')
const sfn = require('@aws-sdk/client-sfn')
const sns = require('@aws-sdk/client-sns')
const sqs = require('@aws-sdk/client-sqs')

function aws (Client, Command, input) {
  const client = new Client({
    endpoint: WEB,
    region: 'eu-west-1',
    credentials: { accessKeyId: 'nobody', secretAccessKey: 'nothing' },
    maxAttempts: 1,
    forcePathStyle: true,
    userAgentAppId: 'oracle'
  })
  return client.send(new Command(input)).finally(() => client.destroy())
}

async function postgres (text, values) {
  const client = new pg.Client({ host: 'localhost', port: PORTS.postgres, user: 'app', password: 's', database: 'shop' })
  await client.connect()
  await client.query(text, values).finally(() => client.end())
}

/** mysql2 brings a server's side of its protocol: one row for each query, but for those that name `absent`. */
function mysqlServer () {
  const server = mysql.createServer()
  let connections = 0
  server.on('connection', connection => {
    connection.serverHandshake({
      protocolVersion: 10,
      serverVersion: '8.0.0',
      connectionId: ++connections,
      statusFlags: 2,
      characterSet: 8,
      capabilityFlags: 0xffffff
    })
    connection.on('error', () => {})
    connection.on('query', sql => {
      if (sql.includes('absent')) return connection.writeError({ code: 1146, message: 'no table absent' })
      const column = { catalog: 'def', schema: 'shop', table: 'cart', orgTable: 'cart', name: 'id', orgName: 'id', characterSet: 63, columnLength: 11, columnType: 8, flags: 0, decimals: 0 }
      connection.writeTextResult([{ id: 7 }], [column])
    })
  })
  return new Promise(resolve => server.listen(PORTS.mysql, () => resolve(server)))
}

async function mysqlQuery (text, values, port = PORTS.mysql) {
  const connection = mysql.createConnection({ host: 'localhost', port, user: 'app', database: 'shop' })
  connection.on('error', () => {})
  await connection.promise().query(text, values).finally(() => connection.destroy())
}

async function nodeRedis (run, port = PORTS.redis) {
  const client = redis.createClient({ socket: { host: 'localhost', port, reconnectStrategy: false }, RESP: 2 })
  client.on('error', () => {})
  await client.connect()
  await run(client).finally(() => client.destroy())
}

async function ioRedis (run, port = PORTS.redis) {
  const client = new Redis({ host: 'localhost', port, retryStrategy: null, maxRetriesPerRequest: 0, enableReadyCheck: false })
  client.on('error', () => {})
  await run(client).finally(() => client.disconnect())
}

/** Express behind a real socket, asked by a client that is not recorded. */
async function web (path, headers = {}) {
  const app = express()
  app.get('/cart/:number', async (request, response) => {
    if (request.params.number === '0') throw new TypeError('no cart')
    if (request.params.number === '429') return response.status(429).send('later')
    await fetch(`${WEB}/200`).then(response => response.text())
    response.json({ id: request.params.number })
  })
  app.use((error, request, response, next) => {
    trace.getActiveSpan()?.recordException(error)
    response.status(500).send('broken')
  })
  const server = await new Promise(resolve => { const s = app.listen(PORTS.express, () => resolve(s)) })
  await new Promise((resolve, reject) => {
    const options = { host: 'localhost', port: PORTS.express, path, headers, agent: false }
    context.with(require('@opentelemetry/core').suppressTracing(context.active()), () =>
      http.get(options, response => response.resume().on('end', resolve)).on('error', reject))
  })
  await new Promise(resolve => server.close(resolve))
}

async function handled () {
  await trace.getTracer('shop').startActiveSpan('load', { attributes: { tags: ['a', 'b'], n: 7, share: 0.5 } }, async span => {
    span.addEvent('cache miss', { key: 'cart:7' })
    const error = new Error('outer', { cause: new TypeError('inner') })
    span.recordException(error)
    span.setStatus({ code: 2, message: error.message })
    span.end()
  })
}

function plainHttp (path) {
  return new Promise((resolve, reject) => {
    http.get(`${WEB}${path}`, response => response.resume().on('end', resolve)).on('error', reject)
  })
}

const QUEUE = `${WEB}/123456789012/orders`
const SCENARIOS = {
  'aws-sdk-dynamodb-get-item': () => aws(dynamodb.DynamoDBClient, dynamodb.GetItemCommand, { TableName: 'cart', Key: { id: { S: '7' } } }),
  'aws-sdk-dynamodb-throttled': () => aws(dynamodb.DynamoDBClient, dynamodb.PutItemCommand, { TableName: 'cart', Item: { id: { S: '7' } } }),
  'aws-sdk-dynamodb-query': () => aws(dynamodb.DynamoDBClient, dynamodb.QueryCommand, { TableName: 'cart', KeyConditionExpression: 'id = :i', ExpressionAttributeValues: { ':i': { S: '7' } } }),
  'aws-sdk-s3-get-object': () => aws(s3.S3Client, s3.GetObjectCommand, { Bucket: 'bucket', Key: 'key' }),
  'aws-sdk-s3-no-such-key': () => aws(s3.S3Client, s3.GetObjectCommand, { Bucket: 'bucket', Key: 'absent' }),
  'aws-sdk-sqs-send': () => aws(sqs.SQSClient, sqs.SendMessageCommand, { QueueUrl: QUEUE, MessageBody: 'b' }),
  'aws-sdk-sqs-receive': () => aws(sqs.SQSClient, sqs.ReceiveMessageCommand, { QueueUrl: QUEUE }),
  'aws-sdk-sns-publish': () => aws(sns.SNSClient, sns.PublishCommand, { TopicArn: 'arn:aws:sns:eu-west-1:123456789012:t', Message: 'm' }),
  'aws-sdk-lambda-invoke': () => aws(lambda.LambdaClient, lambda.InvokeCommand, { FunctionName: 'tax', Payload: '{}' }),
  'aws-sdk-secret': () => aws(secrets.SecretsManagerClient, secrets.GetSecretValueCommand, { SecretId: 'db' }),
  'aws-sdk-state-machine': () => aws(sfn.SFNClient, sfn.StartExecutionCommand, { stateMachineArn: 'arn:aws:states:eu-west-1:123456789012:stateMachine:m', input: '{}' }),
  'fetch-get': () => fetch(`${WEB}/200?k=1`).then(response => response.text()),
  'fetch-404': () => fetch(`${WEB}/404`).then(response => response.text()),
  'fetch-503': () => fetch(`${WEB}/503`, { method: 'POST', body: 'x' }).then(response => response.text()),
  'fetch-refused': () => fetch(`${REFUSED}/200`),
  'http-get': () => plainHttp('/200?k=1'),
  'http-404': () => plainHttp('/404'),
  'pg-select': () => postgres('SELECT id FROM cart WHERE id = $1 AND name = \'x\'', [7]),
  'pg-error': () => postgres('SELECT id FROM absent'),
  'mysql2-select': () => mysqlQuery('SELECT id FROM cart WHERE id = ? AND name = \'x\'', [7]),
  'mysql2-error': () => mysqlQuery('SELECT id FROM absent'),
  'mysql2-refused': () => mysqlQuery('SELECT 1', [], PORTS.refused),
  'redis-get': () => nodeRedis(client => client.get('cart:7')),
  'redis-multi': () => nodeRedis(client => client.multi().set('cart:7', 'secret value').get('cart:7').execAsPipeline()),
  'redis-error': () => nodeRedis(client => client.incr('cart:7')),
  'redis-refused': () => nodeRedis(client => client.get('cart:7'), PORTS.refused),
  'ioredis-get': () => ioRedis(client => client.get('cart:7')),
  'ioredis-error': () => ioRedis(client => client.incr('cart:7')),
  'ioredis-refused': () => ioRedis(client => client.get('cart:7'), PORTS.refused),
  'express-get': () => web('/cart/7?page=1', { 'X-Forwarded-For': '203.0.113.9' }),
  'express-error': () => web('/cart/0'),
  'express-429': () => web('/cart/429'),
  'express-404': () => web('/nowhere'),
  'sdk-exception': handled
}

async function record (name, run) {
  recorded.reset()
  if (name.startsWith('express-') || name === 'fetch-get') {
    // As roots: a server has no caller here, and one client span should be a root too.
    await Promise.resolve(run()).catch(() => {})
  } else {
    await trace.getTracer('shop').startActiveSpan('handler', { kind: SpanKind.SERVER }, async span => {
      await Promise.resolve(run()).catch(() => {})
      span.end()
    })
  }
  // Spans that end after the answer was read.
  await new Promise(resolve => setTimeout(resolve, 50))
  const request = Buffer.from(JsonTraceSerializer.serializeRequest(recorded.getFinishedSpans())).toString()
  process.stdout.write(`{"scenario":${JSON.stringify(name)},"request":${request}}\n`)
}

async function main () {
  const server = await mysqlServer()
  for (const [name, run] of Object.entries(SCENARIOS)) await record(name, run)
  server.close()
}

main().then(() => process.exit(0), error => { console.error(error); process.exit(1) })
