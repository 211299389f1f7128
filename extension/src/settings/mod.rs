//! What the extension has been told by environment variables.
//!
//! A value that makes no sense is a complaint, never a failure: the default is used (fail open). Read once, by `main`.

mod choices;
mod complaint;
mod parse;
mod table;

pub use choices::{FlushStrategy, Keep, OutletKind, Sampling, Spool, TracingMode};
pub use complaint::Complaint;
pub use table::{Reader, SETTINGS, Setting, markdown_table};

use crate::log::{Format, Level};
use crate::translate::Target;
use parse::{
    in_range, parse_bool, parse_flush, parse_list, parse_listener, parse_outlets, parse_progress,
    parse_sampling, parse_socket_name, parse_spool, parse_target, parse_tracing_mode,
};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use table::{
    ADOPT, AGENT_SOCKET, ANNOTATIONS, BUFFER_KB, DAEMON, DEADLINE_MARGIN_MS, ENABLED, FLUSH,
    FLUSH_TIMEOUT_MS, KEEP, LOG_LEVEL, OTLP_GRPC, OTLP_HTTP, OTLP_TARGET, OUTLETS, PLATFORM_EVENTS,
    PROGRESS_MS, SAMPLING, SPOOL, SPOOL_AGE_S, SPOOL_KB, TELEMETRY_RECORDS, TRACING_MODE, known,
};

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
        let default = known(name).map_or("", |known| known.default);
        // Every default is parsed by the test below, so this cannot be reached with a bad one.
        parse(default).unwrap_or_else(|| unreachable!("the default of {name} does not parse"))
    }
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
        let table: Value = serde_json::from_str(include_str!("../../../tests/settings.json")).unwrap();
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
