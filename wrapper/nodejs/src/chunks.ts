/**
 * The parts that are read when the function needs them, and not before: each becomes a file of that name beside main.js. The rooms below
 * ask for one by its name (record/chunk.ts) and know nothing of this table, which nothing imports; layer-build/bundle_nodejs.sh reads it.
 */

declare module "./record/chunk" {
  interface Chunks {
    answers: typeof import("./libraries/http/answers");
    aws_sdk_v2: typeof import("./libraries/aws/sdk_v2");
    aws_sdk_v3: typeof import("./libraries/aws/sdk_v3");
    contrib: typeof import("./loading/contrib");
    databases: typeof import("./libraries/data/databases");
    es_modules: typeof import("./loading/es_modules");
    errors: typeof import("./record/errors");
    folding: typeof import("./record/folding");
    graphql: typeof import("./libraries/web/graphql");
    grpc: typeof import("./libraries/http/grpc");
    http: typeof import("./libraries/http/http");
    http2: typeof import("./libraries/http/http2");
    instrumentations: typeof import("./loading/instrumentations");
    listeners: typeof import("./loading/listeners");
    log_ids: typeof import("./libraries/log_ids");
    managed: typeof import("./runtime/managed");
    messaging: typeof import("./libraries/data/messaging");
    models: typeof import("./libraries/models");
    otel_bridge: typeof import("./otel/bridge");
    packages: typeof import("./loading/packages");
    postgres: typeof import("./libraries/data/postgres");
    propagation: typeof import("./record/propagation");
    recorder: typeof import("./record/recorder");
    runtime_http: typeof import("./runtime/http_client");
    runtime_socket: typeof import("./runtime/socket_client");
    sampler: typeof import("./runtime/sampler");
    sockets: typeof import("./sockets/socket");
    sockets_amqp: typeof import("./sockets/amqp");
    sockets_kafka: typeof import("./sockets/kafka");
    sockets_mongodb: typeof import("./sockets/mongodb");
    sockets_mysql: typeof import("./sockets/mysql");
    sockets_postgres: typeof import("./sockets/postgres");
    sockets_redis: typeof import("./sockets/redis");
    trigger: typeof import("./triggers/trigger");
    uncaught: typeof import("./runtime/uncaught");
    undici: typeof import("./libraries/http/undici");
    web: typeof import("./libraries/web/express_fastify_koa");
    web_more: typeof import("./libraries/web/hapi_hono_trpc");
    xray_sdk: typeof import("./xray/sdk");
  }
}

export {};
