/** Parts of the agent that are read when the function needs them, and not before. */

import type * as answers from "./answers";
import type * as awsSdk2 from "./aws_sdk_v2";
import type * as awsSdk3 from "./aws_sdk_v3";
import type * as contrib from "./contrib";
import type * as databases from "./databases";
import type * as esModules from "./es_modules";
import type * as errors from "./errors";
import type * as graphql from "./graphql";
import type * as grpc from "./grpc";
import type * as http from "./http";
import type * as http2 from "./http2";
import type * as instrumentations from "./instrumentations";
import type * as listeners from "./listeners";
import type * as logIds from "./log_ids";
import type * as managed from "./managed";
import type * as messaging from "./messaging";
import type * as models from "./models";
import type * as otelBridge from "./otel_bridge";
import type * as packages from "./packages";
import type * as postgres from "./postgres";
import type * as propagation from "./propagation";
import type * as recorder from "./recorder";
import type * as runtimeHttp from "./runtime_http";
import type * as runtimeSocket from "./runtime_socket";
import type * as sampler from "./sampler";
import type * as sockets from "./sockets";
import type * as socketsAmqp from "./sockets_amqp";
import type * as socketsKafka from "./sockets_kafka";
import type * as socketsMongodb from "./sockets_mongodb";
import type * as socketsMysql from "./sockets_mysql";
import type * as socketsPostgres from "./sockets_postgres";
import type * as socketsRedis from "./sockets_redis";
import type * as trigger from "./trigger";
import type * as uncaught from "./uncaught";
import type * as undici from "./undici";
import type * as web from "./web";
import type * as webMore from "./web_more";
import type * as xraySdk from "./xray_sdk";

/** Each is a file of its own beside this one. */
export interface Chunks {
  answers: typeof answers;
  aws_sdk_v2: typeof awsSdk2;
  aws_sdk_v3: typeof awsSdk3;
  contrib: typeof contrib;
  databases: typeof databases;
  es_modules: typeof esModules;
  errors: typeof errors;
  graphql: typeof graphql;
  grpc: typeof grpc;
  http: typeof http;
  http2: typeof http2;
  instrumentations: typeof instrumentations;
  listeners: typeof listeners;
  log_ids: typeof logIds;
  managed: typeof managed;
  messaging: typeof messaging;
  models: typeof models;
  otel_bridge: typeof otelBridge;
  packages: typeof packages;
  postgres: typeof postgres;
  propagation: typeof propagation;
  recorder: typeof recorder;
  runtime_http: typeof runtimeHttp;
  runtime_socket: typeof runtimeSocket;
  sampler: typeof sampler;
  sockets: typeof sockets;
  sockets_amqp: typeof socketsAmqp;
  sockets_kafka: typeof socketsKafka;
  sockets_mongodb: typeof socketsMongodb;
  sockets_mysql: typeof socketsMysql;
  sockets_postgres: typeof socketsPostgres;
  sockets_redis: typeof socketsRedis;
  trigger: typeof trigger;
  uncaught: typeof uncaught;
  undici: typeof undici;
  web: typeof web;
  web_more: typeof webMore;
  xray_sdk: typeof xraySdk;
}

const loaded: Partial<Chunks> = {};

export function chunk<N extends keyof Chunks>(name: N): Chunks[N] {
  return (loaded[name] ??= require(`${__dirname}/${name}.js`) as Chunks[N]) as Chunks[N];
}
