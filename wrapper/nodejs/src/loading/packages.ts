/**
 * Patches libraries when, and only when, the function itself loads them. Told by watch/modules.ts of each file that is about to run; it
 * calls the patches with what the file exports.
 */

import { type Agent, guarded } from "../record/agent";
import { type Chunks, chunk } from "../record/chunk";
import { belowPackages } from "../record/paths";

/** The functions of a part that take what a library exports. */
type Patches<N extends keyof Chunks> = {
  [M in keyof Chunks[N]]: Chunks[N][M] extends (agent: Agent, exports: unknown) => void ? M : never;
}[keyof Chunks[N]] &
  string;

/** The name of the instrumentation, the part that has it, and the function there. */
type Patch = { [N in keyof Chunks]: readonly [instrumentation: string, part: N, patch: Patches<N>] }[keyof Chunks];

const awsSdk3: Patch = ["aws-sdk", "aws_sdk_v3", "patch"];
const xraySdk: Patch = ["xray-sdk", "xray_sdk", "patch"];
const pg: Patch = ["pg", "databases", "patchPg"];
const mysql2: Patch = ["mysql2", "databases", "patchMysql"];
const mysql2Pool: Patch = ["mysql2", "databases", "patchMysqlPool"];
const ioredis: Patch = ["ioredis", "databases", "patchIoredis"];
const expressRoute: Patch = ["express", "web", "patchExpressRoute"];
const expressRouter: Patch = ["express", "web", "patchExpressRouter"];
const hono: Patch = ["hono", "web_more", "patchHono"];
const trpc: Patch = ["trpc", "web_more", "patchTrpc"];
const amqpChannels: Patch = ["amqplib", "messaging", "patchAmqpChannels"];

/** A file below node_modules -> patch. */
const TABLE: Record<string, Patch> = {
  "@smithy/core/dist-cjs/submodules/client/index.js": awsSdk3,
  "@smithy/smithy-client/dist-cjs/index.js": awsSdk3,
  "@aws-sdk/smithy-client/dist-cjs/index.js": awsSdk3,
  "aws-sdk/lib/core.js": ["aws-sdk", "aws_sdk_v2", "patch"],
  "aws-xray-sdk-core/dist/lib/aws-xray.js": xraySdk,
  "aws-xray-sdk-core/lib/aws-xray.js": xraySdk,
  "pg/lib/client.js": pg,
  "pg/lib/native/client.js": pg,
  "pg-pool/index.js": ["pg", "databases", "patchPgPool"],
  "postgres/cjs/src/query.js": ["postgres", "postgres", "patch"],
  "mysql/lib/Connection.js": ["mysql", "databases", "patchMysql"],
  "mysql/lib/protocol/Protocol.js": ["mysql", "databases", "patchMysqlProtocol"],
  "mysql/lib/Pool.js": ["mysql", "databases", "patchMysqlPool"],
  "mysql2/lib/connection.js": mysql2,
  "mysql2/lib/base/connection.js": mysql2,
  "mysql2/lib/pool.js": mysql2Pool,
  "mysql2/lib/base/pool.js": mysql2Pool,
  "ioredis/built/Redis.js": ioredis,
  "ioredis/built/redis/index.js": ioredis,
  "@redis/client/dist/lib/client/index.js": ["redis", "databases", "patchRedis"],
  "mongodb/lib/cmap/connection.js": ["mongodb", "databases", "patchMongodb"],
  "mongodb/lib/cmap/connection_pool.js": ["mongodb", "databases", "patchMongodbPool"],
  "mongodb/lib/sdam/topology.js": ["mongodb", "databases", "patchMongodbTopology"],
  "express/lib/router/route.js": expressRoute,
  "router/lib/route.js": expressRoute,
  "express/lib/router/index.js": expressRouter,
  "router/index.js": expressRouter,
  "fastify/lib/context.js": ["fastify", "web", "patchFastify"],
  "@hapi/hapi/lib/handler.js": ["hapi", "web_more", "patchHapi"],
  "hono/dist/cjs/router/smart-router/router.js": hono,
  "hono/dist/cjs/router/pattern-router/router.js": hono,
  "hono/dist/cjs/router/linear-router/router.js": hono,
  "@trpc/server/dist/adapters/aws-lambda/index.cjs": trpc,
  "@trpc/server/dist/adapters/aws-lambda/index.js": trpc,
  "koa/lib/application.js": ["koa", "web", "patchKoa"],
  "@grpc/grpc-js/build/src/metadata.js": ["grpc", "grpc", "patchMetadata"],
  "@grpc/grpc-js/build/src/client.js": ["grpc", "grpc", "patchClient"],
  "graphql/execution/execute.js": ["graphql", "graphql", "patch"],
  "kafkajs/src/index.js": ["kafkajs", "messaging", "patchKafkajs"],
  "amqplib/lib/connect.js": ["amqplib", "messaging", "patchAmqpConnect"],
  "amqplib/lib/channel_model.js": amqpChannels,
  "amqplib/lib/callback_model.js": amqpChannels,
  "pino/lib/tools.js": ["pino", "log_ids", "patchPino"],
  "winston/lib/winston/logger.js": ["winston", "log_ids", "patchWinston"],
};

/** Whether the agent does it itself. Its span for the handler does what `aws-lambda` would do. */
export function isOwn(instrumentation: string): boolean {
  const others = ["aws-lambda", "console", "http", "opentelemetry", "undici"];
  return others.includes(instrumentation) || Object.values(TABLE).some(([name]) => name === instrumentation);
}

type Loaded = (filename: string, module: NodeJS.Module) => void;

/** Package -> who wants to know that one of its files is loaded. */
const others = new Map<string, Loaded>();

/** Tells of every file of the package, when it has been loaded. */
export function watchPackage(name: string, loaded: Loaded): void {
  others.set(name, loaded);
}

/** A file of a package is about to run. */
export function loading(agent: Agent, filename: string, module: NodeJS.Module): void {
  const wanted = whatToDo(agent, filename, belowPackages(filename));
  if (wanted !== undefined) whenLoaded(module, () => guarded(agent, filename, () => wanted(module)));
}

/** `file` is below its node_modules. */
function whatToDo(agent: Agent, filename: string, file: string): ((module: NodeJS.Module) => void) | undefined {
  const patch = TABLE[file];
  const told = others.size === 0 ? undefined : others.get(file.split("/", file.startsWith("@") ? 2 : 1).join("/"));
  if (patch === undefined || agent.disabled(patch[0])) return told && ((module) => told(filename, module));
  return (module) => {
    const [, part, method] = patch;
    if (isNew(module.exports, method)) (chunk(part) as unknown as Record<string, (agent: Agent, exports: unknown) => void>)[method]?.(agent, module.exports);
    told?.(filename, module);
  };
}

/** What has been patched, and how: a file that is read again makes new classes, or hands on those that it has handed on before. */
const patched = new WeakMap<object, Set<string>>();

function isNew(exports: unknown, method: string): boolean {
  if ((typeof exports !== "object" && typeof exports !== "function") || exports === null) return false;
  const known = patched.get(exports) ?? new Set();
  patched.set(exports, known);
  return known.size < known.add(method).size;
}

function whenLoaded(module: NodeJS.Module, run: () => void): void {
  Object.defineProperty(module, "loaded", {
    configurable: true,
    enumerable: true,
    get: () => false,
    set: (loaded: boolean) => {
      Object.defineProperty(module, "loaded", { configurable: true, enumerable: true, writable: true, value: loaded });
      if (loaded) run();
    },
  });
}
