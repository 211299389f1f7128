//! A Lambda environment: one function, one layer, one runtime process and its external extensions.
//!
//! A [`Config`] comes in; answers, reports and the [`EventLog`] go out. Tests and the command line start one. Begin
//! reading in `lifecycle`; each room names only those below it.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use otel_xray_local::lambda::{Config, LambdaEnvironment, RuntimeKind};
//!
//! let mut config = Config::new("build/layer", RuntimeKind::python("python3"));
//! config.task_dir = "function".into();
//! config.handler = "app.handler".to_owned();
//! let environment = LambdaEnvironment::start(config).await?;
//! let answer = environment.invoke(br#"{"order":1}"#.as_slice(), None).await?;
//! assert!(answer.is_success());
//! let report = environment.shutdown().await?;
//! assert!(report.extensions.iter().all(|extension| !extension.killed));
//! # Ok(())
//! # }
//! ```

mod api;
mod clock;
mod config;
mod environment;
mod event_log;
mod invocation;
mod layer;
mod lifecycle;
mod processes;
mod runtimes;
mod scripted_runtime;
mod state;
mod telemetry;

pub(crate) use clock::epoch_ms;
pub use config::{
    Config, Credentials, Delays, InitializationType, RuntimeKind, ShutdownBudgets, TelemetryFaults,
    TelemetryMode, Tracing,
};
pub use environment::LambdaEnvironment;
pub use event_log::{Entry, Event, EventLog, LogMark, Origin, OutputStream, Phase, ProcessExit};
pub use invocation::{Answer, FunctionError, InvocationReport, InvocationStatus, TraceHeader};
pub use layer::{Layer, LayerError};
pub use lifecycle::{
    EnvironmentGone, ExtensionShutdown, InitFailure, InitReport, ShutdownReason, ShutdownReport, StartError,
};
pub use processes::executables::write_executable;
pub use scripted_runtime::{RuntimeClient, RuntimeClientError, RuntimeEvent, ScriptedRuntime};
