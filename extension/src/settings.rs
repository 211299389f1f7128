//! Every setting, declared once: the README's table is generated from here.
//!
//! A value that makes no sense is a complaint, never a failure: the default is used (fail open).

use crate::export::Spool;
use crate::log::{Format, Level};
use crate::sampling::{Keep, Sampling};
use crate::translate::Target;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

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

const ENABLED: &str = "OTEL_XRAY_ENABLED";
const TRACING_MODE: &str = "OTEL_XRAY_TRACING_MODE";
const SAMPLING: &str = "OTEL_XRAY_SAMPLING";
const KEEP: &str = "OTEL_XRAY_KEEP";
const ADOPT: &str = "OTEL_XRAY_ADOPT_TRACES";
const ANNOTATIONS: &str = "OTEL_XRAY_ANNOTATIONS";
const LOG_LEVEL: &str = "OTEL_XRAY_LOG_LEVEL";
const FLUSH_TIMEOUT_MS: &str = "OTEL_XRAY_FLUSH_TIMEOUT_MS";
const DEADLINE_MARGIN_MS: &str = "OTEL_XRAY_DEADLINE_MARGIN_MS";
const BUFFER_KB: &str = "OTEL_XRAY_BUFFER_KB";
const TELEMETRY_RECORDS: &str = "OTEL_XRAY_TELEMETRY_RECORDS";
const OUTLETS: &str = "OTEL_XRAY_OUTLETS";
const OTLP_TARGET: &str = "OTEL_XRAY_OTLP_TARGET";
const OTLP_HTTP: &str = "OTEL_XRAY_OTLP_HTTP";
const OTLP_GRPC: &str = "OTEL_XRAY_OTLP_GRPC";
const DAEMON: &str = "OTEL_XRAY_DAEMON";
const FLUSH: &str = "OTEL_XRAY_FLUSH";
const PROGRESS_MS: &str = "OTEL_XRAY_PROGRESS_MS";
const SPOOL: &str = "OTEL_XRAY_SPOOL";
const SPOOL_KB: &str = "OTEL_XRAY_SPOOL_KB";
const SPOOL_AGE_S: &str = "OTEL_XRAY_SPOOL_AGE_S";
const PLATFORM_EVENTS: &str = "OTEL_XRAY_PLATFORM_EVENTS";
const AGENT_SOCKET: &str = "OTEL_XRAY_AGENT_SOCKET";

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
        help: "Libraries the Python agent leaves alone: `botocore`, `urllib3`, `http.client`, `opentelemetry`.",
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
        help: "`true` puts `trace_id` and `span_id` into what a Node.js function logs with `console`, `pino` and `winston`.",
    },
    Setting {
        name: "OTEL_XRAY_PYTHON_GC_FREEZE",
        values: "`true`, `false`",
        default: "false",
        reader: Reader::Agent,
        help: "`true` pauses Python's garbage collector while the function's module loads: a shorter cold start, a \
               little more memory.",
    },
];

/// The tracing mode of the function, as far as the settings say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TracingMode {
    Auto,
    Active,
    PassThrough,
}

/// When traces leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushStrategy {
    /// At the end of each invocation.
    AtEnd,
    /// Beside the invocations.
    Every(Duration),
    /// One or the other, by how often the function is invoked.
    Adaptive,
}

/// A way out of the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutletKind {
    /// `PutTraceSegments`.
    Xray,
    /// An X-Ray daemon, over UDP.
    Daemon,
    /// OTLP over HTTP.
    Otlp,
}

impl OutletKind {
    const ALL: [Self; 3] = [Self::Xray, Self::Daemon, Self::Otlp];

    /// The one of this name, whatever its case.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name))
    }

    /// The name in settings and accounts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Xray => "xray",
            Self::Daemon => "daemon",
            Self::Otlp => "otlp",
        }
    }
}

/// The settings the extension runs with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Settings {
    pub enabled: bool,
    pub tracing_mode: TracingMode,
    pub annotations: Vec<String>,
    pub sampling: Sampling,
    pub keep: Keep,
    pub adopt: bool,
    pub log_level: Level,
    pub log_format: Format,
    pub flush: FlushStrategy,
    /// `None` when turned off.
    pub progress_after: Option<Duration>,
    pub flush_timeout: Duration,
    pub deadline_margin: Duration,
    pub buffer_bytes: usize,
    /// `None` when turned off.
    pub spool: Option<Spool>,
    /// At least one, each once.
    pub outlets: Vec<OutletKind>,
    pub otlp_target: Target,
    pub telemetry_records: bool,
    /// `None` when turned off.
    pub otlp_http: Option<SocketAddr>,
    /// `None` when turned off.
    pub otlp_grpc: Option<SocketAddr>,
    /// `None` when turned off.
    pub daemon: Option<SocketAddr>,
    /// Whether the platform's own records are asked for.
    pub platform_events: bool,
    pub agent_socket: String,
}

/// A setting that could not be used as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    name: &'static str,
    value: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(setting) = SETTINGS.iter().find(|s| s.name == self.name) else {
            return write!(f, "{} is not understood", self.name);
        };
        f.write_str(self.name)?;
        if is_showable(&self.value) && !ADDRESSES.contains(&self.name) {
            write!(f, "={:?}", self.value)?;
        }
        write!(
            f,
            " is not understood: set it to {}; using the default ({})",
            setting.values,
            if setting.default.is_empty() { "none" } else { setting.default }
        )
    }
}

/// Settings into which an endpoint with its secrets is easily put.
const ADDRESSES: &[&str] = &[OTLP_HTTP, OTLP_GRPC, DAEMON, SPOOL, AGENT_SOCKET];
const MAX_SHOWN: usize = 40;

/// A word or two: what is longer, or looks like an address or a pair of name and value, may be secret.
fn is_showable(value: &str) -> bool {
    value.len() <= MAX_SHOWN && !value.contains(['@', '=', '/', '?'])
}

impl Settings {
    /// Reads the settings through `lookup`, and says which values were unusable.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> (Self, Vec<Complaint>) {
        let mut reader = Lookup { lookup, complaints: Vec::new() };
        let settings = Self {
            enabled: reader.get(ENABLED, parse_bool),
            tracing_mode: reader.get(TRACING_MODE, parse_tracing_mode),
            annotations: reader.get(ANNOTATIONS, parse_list),
            sampling: reader.get(SAMPLING, parse_sampling),
            keep: reader.get(KEEP, Keep::parse),
            adopt: reader.get(ADOPT, parse_bool),
            log_level: reader.get(LOG_LEVEL, Level::parse),
            log_format: match (reader.lookup)("AWS_LAMBDA_LOG_FORMAT") {
                Some(format) if format.eq_ignore_ascii_case("json") => Format::Json,
                _ => Format::Text,
            },
            flush: reader.get(FLUSH, parse_flush),
            progress_after: reader.get(PROGRESS_MS, parse_progress),
            flush_timeout: Duration::from_millis(reader.get(FLUSH_TIMEOUT_MS, in_range(10, 60_000))),
            deadline_margin: Duration::from_millis(reader.get(DEADLINE_MARGIN_MS, in_range(10, 10_000))),
            buffer_bytes: usize::try_from(reader.get(BUFFER_KB, in_range(64, 65_536))).unwrap_or(4096) * 1024,
            spool: reader.spool(),
            outlets: reader.get(OUTLETS, parse_outlets),
            otlp_target: reader.get(OTLP_TARGET, parse_target),
            telemetry_records: reader.get(TELEMETRY_RECORDS, parse_bool),
            otlp_http: reader.get(OTLP_HTTP, parse_listener),
            otlp_grpc: reader.get(OTLP_GRPC, parse_listener),
            daemon: reader.get(DAEMON, parse_listener),
            platform_events: reader.get(PLATFORM_EVENTS, parse_bool),
            agent_socket: reader.get(AGENT_SOCKET, parse_socket_name),
        };
        (settings, reader.complaints)
    }
}

struct Lookup<F> {
    lookup: F,
    complaints: Vec<Complaint>,
}

impl<F: Fn(&str) -> Option<String>> Lookup<F> {
    fn spool(&mut self) -> Option<Spool> {
        let limit_bytes = self.get(SPOOL_KB, in_range(64, 65_536)) * 1024;
        let max_age = Duration::from_secs(self.get(SPOOL_AGE_S, in_range(1, 86_400)));
        // Where several environments share a machine, each has a temporary directory of its own.
        let own_tmp =
            (self.lookup)("TMPDIR").filter(|tmp| tmp.starts_with('/') && (self.lookup)(SPOOL).is_none());
        let directory = match own_tmp {
            Some(tmp) => PathBuf::from(tmp).join(".otel-xray-spool"),
            None => self.get(SPOOL, parse_spool)?,
        };
        Some(Spool { directory, limit_bytes, max_age })
    }

    fn get<T>(&mut self, name: &'static str, parse: impl Fn(&str) -> Option<T>) -> T {
        // What is blank in ASCII, so that the agents and the launcher read the same.
        if let Some(value) = (self.lookup)(name).filter(|value| !value.trim_ascii().is_empty()) {
            if let Some(parsed) = parse(value.trim_ascii()) {
                return parsed;
            }
            self.complaints.push(Complaint { name, value });
        }
        let default = SETTINGS.iter().find(|s| s.name == name).map_or("", |s| s.default);
        // Every default is parsed by the test below, so this cannot be reached with a bad one.
        parse(default).unwrap_or_else(|| unreachable!("the default of {name} does not parse"))
    }
}

fn parse_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn parse_tracing_mode(text: &str) -> Option<TracingMode> {
    match text.to_ascii_lowercase().as_str() {
        "auto" => Some(TracingMode::Auto),
        "active" => Some(TracingMode::Active),
        "passthrough" | "pass-through" | "pass_through" => Some(TracingMode::PassThrough),
        _ => None,
    }
}

fn parse_sampling(text: &str) -> Option<Sampling> {
    match text.to_ascii_lowercase().as_str() {
        "auto" => Some(Sampling::Auto),
        "respect" | "off" => Some(Sampling::Respect),
        "rules" => Some(Sampling::Rules),
        _ => None,
    }
}

fn parse_flush(text: &str) -> Option<FlushStrategy> {
    match text.to_ascii_lowercase().as_str() {
        "end" => Some(FlushStrategy::AtEnd),
        "adaptive" => Some(FlushStrategy::Adaptive),
        other => {
            let ms = in_range(10, 900_000)(other.strip_prefix("periodic:")?)?;
            Some(FlushStrategy::Every(Duration::from_millis(ms)))
        }
    }
}

#[expect(clippy::option_option, reason = "outside: understood or not; inside: on or off")]
fn parse_progress(text: &str) -> Option<Option<Duration>> {
    if text.eq_ignore_ascii_case("off") {
        return Some(None);
    }
    Some(Some(Duration::from_millis(in_range(100, 900_000)(text)?)))
}

#[expect(clippy::unnecessary_wraps, reason = "the shape every parser of a setting has")]
fn parse_list(text: &str) -> Option<Vec<String>> {
    Some(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())
}

fn parse_outlets(text: &str) -> Option<Vec<OutletKind>> {
    let mut outlets = Vec::new();
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let kind = OutletKind::parse(name)?;
        if !outlets.contains(&kind) {
            outlets.push(kind);
        }
    }
    (!outlets.is_empty()).then_some(outlets)
}

fn parse_target(text: &str) -> Option<Target> {
    match text.to_ascii_lowercase().as_str() {
        "any" => Some(Target::Any),
        "xray" => Some(Target::Xray),
        _ => None,
    }
}

fn in_range(low: u64, high: u64) -> impl Fn(&str) -> Option<u64> {
    move |text| text.parse().ok().filter(|number| (low..=high).contains(number))
}

#[expect(clippy::option_option, reason = "outside: understood or not; inside: on or off")]
fn parse_listener(text: &str) -> Option<Option<SocketAddr>> {
    if text.eq_ignore_ascii_case("off") {
        return Some(None);
    }
    let address: SocketAddr = text.replace("localhost", "127.0.0.1").parse().ok()?;
    address.ip().is_loopback().then_some(Some(address))
}

#[expect(clippy::option_option, reason = "outside: understood or not; inside: on or off")]
fn parse_spool(text: &str) -> Option<Option<PathBuf>> {
    if text.eq_ignore_ascii_case("off") {
        return Some(None);
    }
    text.starts_with('/').then(|| Some(text.into()))
}

fn parse_socket_name(text: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    ((1..=100).contains(&text.len()) && text.chars().all(allowed)).then(|| text.to_owned())
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (Settings, Vec<Complaint>) {
        Settings::read(|name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }

    #[test]
    fn every_default_parses_without_complaint() {
        let (settings, complaints) = read(&[]);
        assert_eq!(complaints, []);
        assert_eq!(settings.otlp_http, Some(([127, 0, 0, 1], 4318).into()));
        assert_eq!(settings.buffer_bytes, 4 * 1024 * 1024);
        assert_eq!(settings.outlets, [OutletKind::Xray]);
        assert!(settings.enabled);
    }

    #[test]
    fn nonsense_is_one_complaint_each_and_the_default_stays() {
        let nonsense = [
            (ENABLED, "perhaps"),
            (TRACING_MODE, "loud"),
            (SAMPLING, "dice"),
            (KEEP, "errors,most"),
            (LOG_LEVEL, "shout"),
            (FLUSH_TIMEOUT_MS, "-1"),
            (DEADLINE_MARGIN_MS, "1e9"),
            (BUFFER_KB, "lots"),
            (OUTLETS, "xray, pigeon"),
            (OTLP_TARGET, "them"),
            (TELEMETRY_RECORDS, "some"),
            (OTLP_HTTP, "0.0.0.0:4318"),
            (DAEMON, "[::]:2000"),
            (FLUSH, "periodic:1"),
            (PROGRESS_MS, "0"),
            (SPOOL, "here"),
            (SPOOL_KB, "1"),
            (SPOOL_AGE_S, "old"),
            (PLATFORM_EVENTS, "all"),
            (AGENT_SOCKET, "a/b"),
        ];
        let (settings, complaints) = read(&nonsense);
        assert_eq!(settings, read(&[]).0);
        assert_eq!(complaints.len(), nonsense.len());
        let text = complaints[0].to_string();
        assert_eq!(
            text,
            "OTEL_XRAY_ENABLED=\"perhaps\" is not understood: set it to `true`, `false`; using the default (true)"
        );
    }

    #[test]
    fn a_value_that_may_be_secret_is_not_said() {
        for (name, value) in [
            (OTLP_HTTP, "SECRET"),
            (DAEMON, "user:SECRET@host:1"),
            (SPOOL, "SECRET"),
            (ENABLED, "https://user:SECRET@host"),
            (LOG_LEVEL, "token=SECRET"),
            (OUTLETS, "SECRETSECRETSECRETSECRETSECRETSECRETSECRET"),
        ] {
            let text = read(&[(name, value)]).1[0].to_string();
            assert!(text.starts_with(&format!("{name} is not understood")), "{text}");
            assert!(!text.contains("SECRET"), "{text}");
        }
    }

    #[test]
    fn values_are_read() {
        let (settings, complaints) = read(&[
            (TRACING_MODE, "PassThrough"),
            (ANNOTATIONS, " tenant , order.id,"),
            (FLUSH, "Periodic:1500"),
            (SAMPLING, "Rules"),
            (KEEP, "errors, cold"),
            (PROGRESS_MS, "off"),
            (SPOOL, "off"),
            (OTLP_HTTP, "off"),
            (DAEMON, "localhost:2001"),
            (OUTLETS, "OTLP, xray,otlp,"),
            (OTLP_TARGET, "XRay"),
            (AGENT_SOCKET, "otel-xray-9001"),
            ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
        ]);
        assert_eq!(complaints, []);
        assert_eq!(settings.tracing_mode, TracingMode::PassThrough);
        assert_eq!(settings.annotations, ["tenant", "order.id"]);
        assert_eq!(settings.sampling, Sampling::Rules);
        assert_eq!(settings.keep, Keep { errors: true, cold: true, ..Keep::default() });
        assert_eq!(settings.daemon, Some(([127, 0, 0, 1], 2001).into()));
        assert_eq!(settings.flush, FlushStrategy::Every(Duration::from_millis(1500)));
        assert_eq!((settings.otlp_http, settings.spool, settings.progress_after), (None, None, None));
        assert_eq!(settings.outlets, [OutletKind::Otlp, OutletKind::Xray]);
        assert_eq!(settings.otlp_target, Target::Xray);
        assert_eq!(settings.agent_socket, "otel-xray-9001");
        assert_eq!(settings.log_format, Format::Json);
    }

    /// The launcher and the agents run the same table: tests/python, tests/nodejs.
    #[test]
    fn the_launcher_and_the_agents_read_what_the_extension_reads() {
        use serde_json::Value;
        fn text(value: &Value) -> &str {
            value.as_str().unwrap_or_default()
        }
        let table: Value = serde_json::from_str(include_str!("../../tests/settings.json")).unwrap();
        let check = |kind: &str, names: &[(&'static str, &str)], shown: fn(&Settings) -> Value| {
            let cases = table[kind].as_array().unwrap();
            assert!(cases.len() > 5, "{kind}");
            for case in cases {
                let given: Vec<(&str, &str)> =
                    names.iter().map(|(name, field)| (*name, text(&case[*field]))).collect();
                let (settings, complaints) = read(&given);
                assert_eq!(shown(&settings), case["is"], "{case}");
                assert_eq!(!complaints.is_empty(), case["complains"] == true, "{case}: {complaints:?}");
            }
        };
        check("agent_socket", &[(AGENT_SOCKET, "value")], |settings| (&*settings.agent_socket).into());
        check("enabled", &[(ENABLED, "value")], |settings| settings.enabled.into());
        check("switch", &[(ADOPT, "value")], |settings| settings.adopt.into());
        // An X-Ray SDK is not given an address of IPv6.
        check("daemon", &[(DAEMON, "value")], |settings| {
            settings.daemon.filter(SocketAddr::is_ipv4).map(|address| address.to_string()).into()
        });
        check("decides", &[(SAMPLING, "sampling"), (TRACING_MODE, "tracing_mode")], |settings| {
            (settings.sampling == Sampling::Auto && settings.tracing_mode != TracingMode::Active).into()
        });
    }

    #[test]
    fn no_directory_is_made_of_what_names_none() {
        let spool = |pairs: &[(&str, &str)]| read(pairs).0.spool.map(|spool| spool.directory);
        assert_eq!(spool(&[("TMPDIR", "/scratch")]), Some("/scratch/.otel-xray-spool".into()));
        for pairs in [[("TMPDIR", "scratch")], [("TMPDIR", "")], [(SPOOL, "a/b")], [(SPOOL, "~/spool")]] {
            assert_eq!(spool(&pairs), Some("/tmp/.otel-xray-spool".into()), "{pairs:?}");
        }
    }
}
