//! Every setting, declared once: the README's table is generated from here.

/// Who reads a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    Extension,
    Agent,
    Both,
}

/// One environment variable the layer understands.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    pub name: &'static str,
    pub values: &'static str,
    pub default: &'static str,
    pub reader: Reader,
    pub help: &'static str,
}

pub(super) const ENABLED: &str = "OTEL_XRAY_ENABLED";
pub(super) const TRACING_MODE: &str = "OTEL_XRAY_TRACING_MODE";
pub(super) const SAMPLING: &str = "OTEL_XRAY_SAMPLING";
pub(super) const KEEP: &str = "OTEL_XRAY_KEEP";
pub(super) const ADOPT: &str = "OTEL_XRAY_ADOPT_TRACES";
pub(super) const ANNOTATIONS: &str = "OTEL_XRAY_ANNOTATIONS";
pub(super) const LOG_LEVEL: &str = "OTEL_XRAY_LOG_LEVEL";
pub(super) const FLUSH_TIMEOUT_MS: &str = "OTEL_XRAY_FLUSH_TIMEOUT_MS";
pub(super) const DEADLINE_MARGIN_MS: &str = "OTEL_XRAY_DEADLINE_MARGIN_MS";
pub(super) const BUFFER_KB: &str = "OTEL_XRAY_BUFFER_KB";
pub(super) const TELEMETRY_RECORDS: &str = "OTEL_XRAY_TELEMETRY_RECORDS";
pub(super) const OUTLETS: &str = "OTEL_XRAY_OUTLETS";
pub(super) const OTLP_TARGET: &str = "OTEL_XRAY_OTLP_TARGET";
pub(super) const OTLP_HTTP: &str = "OTEL_XRAY_OTLP_HTTP";
pub(super) const OTLP_GRPC: &str = "OTEL_XRAY_OTLP_GRPC";
pub(super) const DAEMON: &str = "OTEL_XRAY_DAEMON";
pub(super) const FLUSH: &str = "OTEL_XRAY_FLUSH";
pub(super) const PROGRESS_MS: &str = "OTEL_XRAY_PROGRESS_MS";
pub(super) const SPOOL: &str = "OTEL_XRAY_SPOOL";
pub(super) const SPOOL_KB: &str = "OTEL_XRAY_SPOOL_KB";
pub(super) const SPOOL_AGE_S: &str = "OTEL_XRAY_SPOOL_AGE_S";
pub(super) const PLATFORM_EVENTS: &str = "OTEL_XRAY_PLATFORM_EVENTS";
pub(super) const AGENT_SOCKET: &str = "OTEL_XRAY_AGENT_SOCKET";

/// What the extension itself says of a setting. The help is the README's, and stays out of the program.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) name: &'static str,
    pub(super) values: &'static str,
    pub(super) default: &'static str,
}

static KNOWN: [Known; SETTINGS.len()] = {
    let mut known = [Known { name: "", values: "", default: "" }; SETTINGS.len()];
    let mut at = 0;
    while at < known.len() {
        let Setting { name, values, default, .. } = SETTINGS[at];
        known[at] = Known { name, values, default };
        at += 1;
    }
    known
};

pub(super) fn known(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.name == name)
}

/// The settings in the order in which the README lists them.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: ENABLED,
        values: "`true`, `false`",
        default: "true",
        reader: Reader::Both,
        help: "`false` turns everything off: the function runs as if the layer were not there.",
    },
    Setting {
        name: TRACING_MODE,
        values: "`auto`, `active`, `passthrough`",
        default: "auto",
        reader: Reader::Both,
        help: "The function's tracing mode in Lambda. `auto` finds it out from the trace headers; set it where that \
               leaves a doubt and the function would appear twice.",
    },
    Setting {
        name: ANNOTATIONS,
        values: "attribute names, comma separated; `*` for all",
        default: "",
        reader: Reader::Extension,
        help: "Span or resource attributes that become searchable annotations, besides those a span names itself in \
               `aws.xray.annotations`.",
    },
    Setting {
        name: SAMPLING,
        values: "`auto`, `respect`, `rules`",
        default: "auto",
        reader: Reader::Both,
        help: "Who decides which invocations are traced where neither Lambda nor a caller does, as without active tracing. \
               `auto`: the function, one a second and 5 % of the others. `rules`: the function, by the account's X-Ray \
               sampling rules (needs `xray:GetSamplingRules` and `xray:GetSamplingTargets`; calls go out undecided). \
               `respect`: nobody, `Sampled=0` always means no. Once a caller has said `Sampled=1`, its `Sampled=0` is \
               respected by all three.",
    },
    Setting {
        name: KEEP,
        values: "`none`, or any of `errors`, `slow:<ms>`, `cold`, `all`, comma separated",
        default: "none",
        reader: Reader::Extension,
        help: "Invocations that are sent though they are not sampled, decided when they are over. `errors`: something \
               failed, timed out or answered 5xx. `slow:<ms>`: they took that long. `cold`: the first of an \
               environment. What they called has been told `Sampled=0`.",
    },
    Setting {
        name: ADOPT,
        values: "`true`, `false`",
        default: "false",
        reader: Reader::Extension,
        help: "`true` makes a new trace that the function's own OpenTelemetry SDK begins a part of Lambda's trace. Its \
               id in the function's logs is then another one than in X-Ray.",
    },
    Setting {
        name: LOG_LEVEL,
        values: "`off`, `error`, `warn`, `info`, `debug`",
        default: "warn",
        reader: Reader::Extension,
        help: "What the extension writes to the function's log. At `info`, the accounts of spans received and sent at \
               shutdown.",
    },
    Setting {
        name: FLUSH,
        values: "`end`, `periodic:<ms>` (10 to 900000), `adaptive`",
        default: "end",
        reader: Reader::Extension,
        help: "When traces leave. `end`: after each invocation's response, before Lambda may freeze the environment. \
               `periodic`: every so many milliseconds while invocations run, and at the shutdown; nothing is added to an \
               invocation, and the last traces before a pause arrive late. `adaptive`: as `end`, but as `periodic:5000` \
               while ten invocations come in ten seconds. On Managed Instances, every second unless `periodic` says \
               otherwise.",
    },
    Setting {
        name: PROGRESS_MS,
        values: "100 to 900000, or `off`",
        default: "10000",
        reader: Reader::Extension,
        help: "An invocation that runs longer than this, in milliseconds, is shown in X-Ray while it runs.",
    },
    Setting {
        name: FLUSH_TIMEOUT_MS,
        values: "10 to 60000",
        default: "1000",
        reader: Reader::Extension,
        help: "The longest that one flush may hold the environment after the response, in milliseconds. What does not \
               fit is sent later.",
    },
    Setting {
        name: DEADLINE_MARGIN_MS,
        values: "10 to 10000",
        default: "100",
        reader: Reader::Extension,
        help: "How long before the function's timeout the extension lets go, in milliseconds.",
    },
    Setting {
        name: BUFFER_KB,
        values: "64 to 65536",
        default: "4096",
        reader: Reader::Extension,
        help: "How much is held in memory, in kB: the spans of an invocation until they leave, and what waits while X-Ray can't \
               be reached, all outlets together. Past that the oldest is dropped and counted. Whatever the spans, the \
               extension takes no more than 20 MB besides.",
    },
    Setting {
        name: SPOOL,
        values: "a directory, or `off`",
        default: "/tmp/.otel-xray-spool",
        reader: Reader::Extension,
        help: "Where spans that could not be sent wait when Lambda ends the extension. After a timeout or a crash Lambda \
               starts it again on the same `/tmp`, and they are sent then.",
    },
    Setting {
        name: SPOOL_KB,
        values: "64 to 65536",
        default: "4096",
        reader: Reader::Extension,
        help: "How much of that directory is used, in kB.",
    },
    Setting {
        name: SPOOL_AGE_S,
        values: "1 to 86400",
        default: "3600",
        reader: Reader::Extension,
        help: "How long spans may have waited there and still be sent, in seconds.",
    },
    Setting {
        name: OUTLETS,
        values: "any of `xray`, `daemon`, `otlp`, comma separated",
        default: "xray",
        reader: Reader::Extension,
        help: "Where traces go, to several places at once if need be. `xray`: X-Ray's API. `daemon`: the X-Ray daemon \
               that Lambda runs beside a function with Active tracing: no permission needed, and no word of what X-Ray \
               refused. `otlp`: OTLP over HTTP, by the `OTEL_EXPORTER_OTLP_*` variables below.",
    },
    Setting {
        name: OTLP_HTTP,
        values: "a loopback address and port, or `off`",
        default: "127.0.0.1:4318",
        reader: Reader::Extension,
        help: "Where an OpenTelemetry SDK in the function can send OTLP over HTTP, in protobuf or JSON. Metrics and logs \
               go on by the `otlp` outlet, if that is on.",
    },
    Setting {
        name: OTLP_GRPC,
        values: "a loopback address and port, or `off`",
        default: "127.0.0.1:4317",
        reader: Reader::Extension,
        help: "The same over gRPC.",
    },
    Setting {
        name: DAEMON,
        values: "a loopback address and port, or `off`",
        default: "127.0.0.1:2000",
        reader: Reader::Extension,
        help: "Where an X-Ray SDK in the function can send its documents, as to an X-Ray daemon.",
    },
    Setting {
        name: PLATFORM_EVENTS,
        values: "`true`, `false`",
        default: "true",
        reader: Reader::Extension,
        help: "`false`: no subscription to Lambda's Telemetry API. How an invocation ended, what its initialisation took \
               and how much memory it used are then not in the trace where only Lambda knows.",
    },
    Setting {
        name: AGENT_SOCKET,
        values: "1 to 100 of `A-Z a-z 0-9 . _ -`",
        default: "otel-xray",
        reader: Reader::Both,
        help: "The name of the local socket between agent and extension.",
    },
    Setting {
        name: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        values: "a URL",
        default: "",
        reader: Reader::Extension,
        help: "Where the `otlp` outlet sends, as it is. Else `OTEL_EXPORTER_OTLP_ENDPOINT` with `/v1/traces`. As usual, \
               `_HEADERS`, `_TIMEOUT`, `_COMPRESSION` and `_CERTIFICATE` belong to it, with or without `TRACES_`.",
    },
    Setting {
        name: "OTEL_XRAY_OTLP_SIGN",
        values: "`auto`, `true`, `false`",
        default: "auto",
        reader: Reader::Extension,
        help: "Whether the `otlp` outlet signs its requests as X-Ray's own OTLP endpoint wants it. `auto`: where the \
               host is that endpoint's.",
    },
    Setting {
        name: OTLP_TARGET,
        values: "`any`, `xray`",
        default: "any",
        reader: Reader::Extension,
        help: "Who gets what the `otlp` outlet sends. `xray`: X-Ray, by a Collector that exports to it (`awsxray`). Then the \
               handler's span and others that serve are sent as the parts of Lambda's or the function's own segment that \
               they are; with their own kinds the Collector would make segments of them, and the service map more nodes. \
               `any`: spans keep their kinds and parents, as other vendors want them.",
    },
    Setting {
        name: TELEMETRY_RECORDS,
        values: "`true`, `false`",
        default: "false",
        reader: Reader::Extension,
        help: "`true` tells X-Ray at shutdown how many spans were received, sent and lost (`PutTelemetryRecords`), as \
               an X-Ray daemon does.",
    },
    Setting {
        name: "OTEL_SDK_DISABLED",
        values: "`true`, `false`",
        default: "false",
        reader: Reader::Agent,
        help: "`true` leaves the function uninstrumented. The extension still collects.",
    },
    Setting {
        name: "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS",
        values: "names, comma separated",
        default: "",
        reader: Reader::Agent,
        help: "Libraries the Python agent leaves alone: `botocore`, `aiobotocore`, `urllib3`, `http.client`, `httpx`, \
               `httpx2`, `aiohttp-client`, `psycopg2`, `psycopg`, `asyncpg`, `pg8000`, `pymysql`, `aiomysql`, \
               `mysqlclient`, `mysql`, `sqlalchemy`, `oracledb`, `pymssql`, `pyodbc`, `redshift_connector`, \
               `snowflake`, `redis`, `valkey`, `pymemcache`, `pymongo`, `elasticsearch`, `opensearch`, `cassandra`, \
               `neo4j`, `kafka`, `aiokafka`, `confluent_kafka`, `pika`, `grpc_client`, `grpc_aio_client`, `flask`, \
               `starlette`, `fastapi`, `django`, `powertools`, `threading`, `logging`, `opentelemetry`; `*` for all.",
    },
    Setting {
        name: "OTEL_PYTHON_ENABLED_INSTRUMENTATIONS",
        values: "names, comma separated",
        default: "",
        reader: Reader::Agent,
        help: "Turns all others off. A name that the Python agent does not know, such as `system_metrics`, is that of an \
               OpenTelemetry instrumentation among the function's packages, which is loaded and joins the trace.",
    },
    Setting {
        name: "OTEL_NODE_DISABLED_INSTRUMENTATIONS",
        values: "names, comma separated",
        default: "",
        reader: Reader::Agent,
        help: "Libraries the Node.js agent leaves alone: `http`, `undici`, `aws-sdk`, `pg`, `postgres`, `mysql`, `mysql2`, \
               `ioredis`, `redis`, `mongodb`, `express`, `fastify`, `hapi`, `hono`, `koa`, `trpc`, `graphql`, `grpc`, \
               `kafkajs`, `amqplib`, `opentelemetry`, `xray-sdk`; `*` for all.",
    },
    Setting {
        name: "OTEL_NODE_ENABLED_INSTRUMENTATIONS",
        values: "names, comma separated",
        default: "",
        reader: Reader::Agent,
        help: "Turns all others off. A name that the Node.js agent does not know, such as `dataloader`, is that of an \
               OpenTelemetry instrumentation among the function's packages, which is loaded and joins the trace.",
    },
    Setting {
        name: "OTEL_XRAY_PROPAGATE",
        values: "`all`, `none`, or hosts such as `*.example.com`, comma separated",
        default: "all",
        reader: Reader::Agent,
        help: "Whom the agents tell of the trace, in the headers `X-Amzn-Trace-Id` and `traceparent` of HTTP calls. `*` stands \
               for any characters; a port may follow the host. AWS is a host like any other: name `*.amazonaws.com` for \
               traces to go on in Lambda, SNS, SQS and API Gateway. `none` is for Kafka's and RabbitMQ's messages too.",
    },
    Setting {
        name: "OTEL_XRAY_LOG_TRACE_IDS",
        values: "`true`, `false`",
        default: "false",
        reader: Reader::Agent,
        help: "`true` puts `trace_id` and `span_id` into what a function logs: Node.js with `console`, `pino` and `winston`; \
               Python with `logging`, Powertools, structlog and loguru, and with `xray_trace_id`, the id in X-Ray's form.",
    },
    Setting {
        name: "OTEL_XRAY_PYTHON_GC_FREEZE",
        values: "`auto`, `true`, `false`",
        default: "auto",
        reader: Reader::Agent,
        help: "Holds Python's garbage collector back while the function's module loads: a shorter cold start, a little \
               more memory. `auto` does so on the versions where it saves (3.9, 3.11, 3.12, 3.13), and all that has been \
               loaded can be collected later; `true` on all of them, and leaves it frozen (`gc.freeze`).",
    },
];

/// The settings as a Markdown table.
pub fn markdown_table() -> String {
    let mut table = String::from("| variable | values | default | what it does |\n|---|---|---|---|\n");
    for setting in SETTINGS {
        let default = match setting.default {
            "" => String::new(),
            default => format!("`{default}`"),
        };
        let line = format!("| `{}` | {} | {default} | {} |\n", setting.name, setting.values, setting.help);
        table.push_str(&line);
    }
    table
}
