/** Patches libraries when, and only when, the function itself loads them. */

import { type Agent, guarded } from "./agent";
import { type Chunks, chunk } from "./chunks";

interface Patch {
  /** The name in OTEL_NODE_DISABLED_INSTRUMENTATIONS. */
  instrumentation: string;
  apply: (agent: Agent, exports: unknown) => void;
}

function of<N extends keyof Chunks>(
  instrumentation: string,
  name: N,
  run: (patches: Chunks[N], agent: Agent, exports: unknown) => void,
): Patch {
  return { instrumentation, apply: (agent, exports) => run(chunk(name), agent, exports) };
}

const awsSdk3 = of("aws-sdk", "aws_sdk_v3", (patches, agent, exports) => patches.patch(agent, exports));

const pg = of("pg", "databases", (patches, agent, exports) => patches.patchPg(agent, exports));
const mysql = (name: string): Patch => of(name, "databases", (patches, agent, exports) => patches.patchMysql(agent, exports));
const ioredis = of("ioredis", "databases", (patches, agent, exports) => patches.patchIoredis(agent, exports));

const expressRoute = of("express", "web", (patches, agent, exports) => patches.patchExpressRoute(agent, exports));
const expressRouter = of("express", "web", (patches, agent, exports) => patches.patchExpressRouter(agent, exports));
const amqpChannels = of("amqplib", "messaging", (patches, agent, exports) => patches.patchAmqpChannels(agent, exports));

/** A file below node_modules -> patch. */
const TABLE: Record<string, Patch> = {
  "@smithy/core/dist-cjs/submodules/client/index.js": awsSdk3,
  "@smithy/smithy-client/dist-cjs/index.js": awsSdk3,
  "@aws-sdk/smithy-client/dist-cjs/index.js": awsSdk3,
  "aws-sdk/lib/core.js": of("aws-sdk", "aws_sdk_v2", (patches, agent, exports) => patches.patch(agent, exports)),
  "pg/lib/client.js": pg,
  "pg/lib/native/client.js": pg,
  "mysql/lib/Connection.js": mysql("mysql"),
  "mysql2/lib/connection.js": mysql("mysql2"),
  "mysql2/lib/base/connection.js": mysql("mysql2"),
  "ioredis/built/Redis.js": ioredis,
  "ioredis/built/redis/index.js": ioredis,
  "@redis/client/dist/lib/client/index.js": of("redis", "databases", (patches, agent, exports) => patches.patchRedis(agent, exports)),
  "mongodb/lib/cmap/connection.js": of("mongodb", "databases", (patches, agent, exports) => patches.patchMongodb(agent, exports)),
  "express/lib/router/route.js": expressRoute,
  "router/lib/route.js": expressRoute,
  "express/lib/router/index.js": expressRouter,
  "router/index.js": expressRouter,
  "fastify/lib/context.js": of("fastify", "web", (patches, agent, exports) => patches.patchFastify(agent, exports)),
  "koa/lib/application.js": of("koa", "web", (patches, agent, exports) => patches.patchKoa(agent, exports)),
  "graphql/execution/execute.js": of("graphql", "graphql", (patches, agent, exports) => patches.patch(agent, exports)),
  "kafkajs/src/index.js": of("kafkajs", "messaging", (patches, agent, exports) => patches.patchKafkajs(agent, exports)),
  "amqplib/lib/connect.js": of("amqplib", "messaging", (patches, agent, exports) => patches.patchAmqpConnect(agent, exports)),
  "amqplib/lib/channel_model.js": amqpChannels,
  "amqplib/lib/callback_model.js": amqpChannels,
};

const PACKAGES = "/node_modules/";

interface ModuleClass {
  _cache: Record<string, NodeJS.Module>;
}

/**
 * Watches the cache that every CommonJS module is put into before it runs, also one that an ES module imports. A
 * wrapper around `require` would be seen in the stack of every error that is raised while the function loads.
 */
export function watchModules(agent: Agent): void {
  const modules = require("node:module") as ModuleClass;
  modules._cache = new Proxy(modules._cache, {
    set(cache, filename, module: NodeJS.Module) {
      (cache as Record<string | symbol, NodeJS.Module>)[filename] = module;
      if (typeof filename === "string") {
        const start = filename.lastIndexOf(PACKAGES);
        const patch = start < 0 ? undefined : TABLE[filename.slice(start + PACKAGES.length)];
        if (patch !== undefined && !agent.disabled(patch.instrumentation))
          guarded(agent, filename, () => whenLoaded(module, () => guarded(agent, filename, () => patch.apply(agent, module.exports))));
      }
      return true;
    },
  });
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
