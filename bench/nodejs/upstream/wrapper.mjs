// What OpenTelemetry's own Lambda layer for Node.js does when a function starts, with what it turns on by default.
// It is put together from the packages that the layer bundles; the layer itself is not on npm.

import { context, DiagConsoleLogger, diag, metrics, propagation, trace } from "@opentelemetry/api";
import { logs } from "@opentelemetry/api-logs";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import { CompositePropagator, diagLogLevelFromString, getStringFromEnv, W3CBaggagePropagator, W3CTraceContextPropagator } from "@opentelemetry/core";
import { OTLPLogExporter } from "@opentelemetry/exporter-logs-otlp-http";
import { OTLPMetricExporter } from "@opentelemetry/exporter-metrics-otlp-http";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { registerInstrumentations } from "@opentelemetry/instrumentation";
import { AwsLambdaInstrumentation } from "@opentelemetry/instrumentation-aws-lambda";
import { AwsInstrumentation } from "@opentelemetry/instrumentation-aws-sdk";
import { DnsInstrumentation } from "@opentelemetry/instrumentation-dns";
import { ExpressInstrumentation } from "@opentelemetry/instrumentation-express";
import { GraphQLInstrumentation } from "@opentelemetry/instrumentation-graphql";
import { GrpcInstrumentation } from "@opentelemetry/instrumentation-grpc";
import { HapiInstrumentation } from "@opentelemetry/instrumentation-hapi";
import { HttpInstrumentation } from "@opentelemetry/instrumentation-http";
import { IORedisInstrumentation } from "@opentelemetry/instrumentation-ioredis";
import { KoaInstrumentation } from "@opentelemetry/instrumentation-koa";
import { MongoDBInstrumentation } from "@opentelemetry/instrumentation-mongodb";
import { MySQLInstrumentation } from "@opentelemetry/instrumentation-mysql";
import { NetInstrumentation } from "@opentelemetry/instrumentation-net";
import { PgInstrumentation } from "@opentelemetry/instrumentation-pg";
import { RedisInstrumentation } from "@opentelemetry/instrumentation-redis";
import { AWSXRayPropagator } from "@opentelemetry/propagator-aws-xray";
import { AWSXRayLambdaPropagator } from "@opentelemetry/propagator-aws-xray-lambda";
import { awsLambdaDetector } from "@opentelemetry/resource-detector-aws";
import { detectResources, envDetector, processDetector } from "@opentelemetry/resources";
import { LoggerProvider, SimpleLogRecordProcessor } from "@opentelemetry/sdk-logs";
import { MeterProvider, PeriodicExportingMetricReader } from "@opentelemetry/sdk-metrics";
import { BasicTracerProvider, BatchSpanProcessor } from "@opentelemetry/sdk-trace-base";

diag.setLogger(new DiagConsoleLogger(), diagLogLevelFromString(getStringFromEnv("OTEL_LOG_LEVEL")));

const PROPAGATORS = {
  tracecontext: W3CTraceContextPropagator,
  baggage: W3CBaggagePropagator,
  xray: AWSXRayPropagator,
  "xray-lambda": AWSXRayLambdaPropagator,
};

const instrumentations = [
  new AwsInstrumentation({ suppressInternalInstrumentation: true }),
  new AwsLambdaInstrumentation({}),
  ...[
    DnsInstrumentation,
    ExpressInstrumentation,
    GraphQLInstrumentation,
    GrpcInstrumentation,
    HapiInstrumentation,
    HttpInstrumentation,
    IORedisInstrumentation,
    KoaInstrumentation,
    MongoDBInstrumentation,
    MySQLInstrumentation,
    NetInstrumentation,
    PgInstrumentation,
    RedisInstrumentation,
  ].map((Instrumentation) => new Instrumentation()),
];
registerInstrumentations({ instrumentations });

const resource = detectResources({ detectors: [awsLambdaDetector, envDetector, processDetector] });
const tracerProvider = new BasicTracerProvider({ resource, spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())] });
context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
propagation.setGlobalPropagator(
  new CompositePropagator({ propagators: process.env.OTEL_PROPAGATORS.split(",").map((name) => new PROPAGATORS[name]()) }),
);
trace.setGlobalTracerProvider(tracerProvider);
const meterProvider = new MeterProvider({ resource, readers: [new PeriodicExportingMetricReader({ exporter: new OTLPMetricExporter() })] });
metrics.setGlobalMeterProvider(meterProvider);
const loggerProvider = new LoggerProvider({ resource, processors: [new SimpleLogRecordProcessor(new OTLPLogExporter())] });
logs.setGlobalLoggerProvider(loggerProvider);
registerInstrumentations({ instrumentations, tracerProvider, meterProvider, loggerProvider });
