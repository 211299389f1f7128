//! What can be said on the command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::faults::FaultKnob;
use crate::lambda::{InitializationType, TelemetryMode, Tracing};

/// Lambda and X-Ray on this machine, for a layer and a function.
#[derive(Debug, Parser)]
#[command(name = "otel-xray-local", version)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Invoke a Python or Node.js function with a layer, then show its traces.
    Invoke(Box<Invoke>),
    /// Serve as the X-Ray endpoint of this machine until interrupted, then show the traces.
    Xray(Xray),
}

#[derive(Debug, Args)]
pub(super) struct Xray {
    /// A loopback address; port 0 takes any free port.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    pub(super) listen: SocketAddr,
    #[command(flatten)]
    pub(super) show: Show,
}

/// How traces are drawn.
#[derive(Debug, Args)]
pub(super) struct Show {
    /// Show span kinds, scopes and resources in the traces.
    #[arg(long)]
    pub(super) verbose: bool,
}

/// How the environment comes to be; on demand unless something is said.
#[derive(Debug, Args)]
pub(super) struct EnvironmentKind {
    /// Initialise ahead of time, as with provisioned concurrency.
    #[arg(long)]
    pub(super) provisioned: bool,
    /// Initialise ahead of time, and restore for the first invocation.
    #[arg(long, conflicts_with = "provisioned")]
    pub(super) snap_start: bool,
    /// Run as a managed instance with so many invocations at once.
    #[arg(long, value_name = "N", conflicts_with_all = ["provisioned", "snap_start"], value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(super) instances: Option<u32>,
}

#[derive(Debug, Args)]
#[command(after_help = super::faults::HELP)]
pub(super) struct Invoke {
    /// The layer: a zip file, or a directory with its content.
    #[arg(long, value_name = "ZIP|DIR")]
    pub(super) layer: PathBuf,
    /// The function's directory, dependencies included unless the interpreter has them.
    #[arg(long, value_name = "DIR")]
    pub(super) function: PathBuf,
    /// The handler, as in the function's configuration.
    #[arg(long, value_name = "FILE.FUNCTION")]
    pub(super) handler: String,
    /// A file with an event; repeat it for several invocations. Without one, the event is {}.
    #[arg(long, value_name = "FILE")]
    pub(super) event: Vec<PathBuf>,
    /// How often to send the events, all of them each time.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) count: usize,
    /// A variable of the function's configuration.
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = name_and_value)]
    pub(super) variables: Vec<(String, String)>,
    /// The managed runtime.
    #[arg(long, value_enum, default_value_t = Runtime::Python)]
    pub(super) runtime: Runtime,
    /// A Node.js 18 or newer.
    #[arg(long, value_name = "PATH", default_value = "node")]
    pub(super) node: PathBuf,
    /// The runtime client that Node.js is to start, such as that of aws-lambda-ric. Without one, a stand-in.
    #[arg(long, value_name = "FILE")]
    pub(super) runtime_script: Option<PathBuf>,
    /// A Python 3.9 or newer that has awslambdaric installed.
    #[arg(long, value_name = "PATH", default_value = "python3")]
    pub(super) python: PathBuf,
    /// The function's timeout in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub(super) timeout: std::time::Duration,
    /// The function's memory size in MB; a process that makes all of them exceed it is killed.
    #[arg(long, value_name = "MB", default_value_t = 512)]
    pub(super) memory: u32,
    /// The function's name.
    #[arg(long, value_name = "NAME", default_value = "function", value_parser = function_name)]
    pub(super) name: String,
    /// The function's tracing mode.
    #[arg(long, value_enum, default_value_t = TracingMode::Active)]
    pub(super) tracing: TracingMode,
    /// The caller's trace header, for every invocation.
    #[arg(long, value_name = "HEADER")]
    pub(super) trace_header: Option<String>,
    /// Keep the environment frozen for so long between invocations, in milliseconds.
    #[arg(long = "freeze", alias = "freeze-ms", value_name = "MS", default_value_t = 0)]
    pub(super) freeze_ms: u64,
    /// Bring trouble; repeat it for more. The faults are listed below.
    #[arg(long, value_name = "NAME[:ARG]")]
    pub(super) fault: Vec<FaultKnob>,
    #[command(flatten)]
    pub(super) kind: EnvironmentKind,
    /// How subscriptions to telemetry are answered: 202 says that nothing will come, as under SAM.
    #[arg(long, value_enum, default_value_t = Telemetry::Deliver)]
    pub(super) telemetry: Telemetry,
    /// Start the function without the layer's exec wrapper.
    #[arg(long)]
    pub(super) no_wrapper: bool,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) show: Show,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Runtime {
    Python,
    Nodejs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Telemetry {
    Deliver,
    #[value(name = "202")]
    NotSupported,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum TracingMode {
    Active,
    PassThrough,
}

impl From<TracingMode> for Tracing {
    fn from(mode: TracingMode) -> Self {
        match mode {
            TracingMode::Active => Self::Active,
            TracingMode::PassThrough => Self::PassThrough,
        }
    }
}

impl From<Telemetry> for TelemetryMode {
    fn from(telemetry: Telemetry) -> Self {
        match telemetry {
            Telemetry::Deliver => Self::Deliver,
            Telemetry::NotSupported => Self::NotSupported,
        }
    }
}

impl EnvironmentKind {
    pub(super) fn initialization_type(&self) -> InitializationType {
        match self.instances {
            Some(concurrency) => InitializationType::ManagedInstances { concurrency },
            None if self.snap_start => InitializationType::SnapStart,
            None if self.provisioned => InitializationType::ProvisionedConcurrency,
            None => InitializationType::OnDemand,
        }
    }
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

/// Lambda's rule for names.
fn function_name(text: &str) -> Result<String, String> {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    let fits = (1..=64).contains(&text.len()) && text.chars().all(allowed);
    if fits { Ok(text.to_owned()) } else { Err("1 to 64 letters, digits, - or _".to_owned()) }
}

fn seconds(text: &str) -> Result<std::time::Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| std::time::Duration::try_from_secs_f64(seconds).ok());
    let lambdas_range = std::time::Duration::from_millis(1)..=std::time::Duration::from_mins(15);
    seconds
        .filter(|seconds| lambdas_range.contains(seconds))
        .ok_or_else(|| "a number of seconds up to 900".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn values_are_checked() {
        assert_eq!(name_and_value("A=b=c"), Ok(("A".to_owned(), "b=c".to_owned())));
        assert!(name_and_value("A").is_err() && name_and_value("=b").is_err());
        assert!(function_name("my-function_2").is_ok());
        assert!(function_name("").is_err() && function_name("a b").is_err());
        assert!(function_name(&"x".repeat(65)).is_err());
        assert_eq!(seconds("0.25"), Ok(std::time::Duration::from_millis(250)));
        for wrong in ["", "-1", "0", "901", "NaN", "inf"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
