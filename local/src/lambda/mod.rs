//! A Lambda environment: one function, one layer, one runtime process and its external extensions.
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

mod api_server;
mod bootstrap;
mod caller;
mod clock;
mod config;
mod control_group;
mod environment;
mod environment_variables;
mod event_log;
mod executables;
mod extensions_api;
mod facade;
mod freeze;
mod full_disk;
mod init;
mod invocation;
mod invocation_records;
mod layer;
mod local_endpoints;
mod managed_instance;
mod managed_state;
mod memory;
mod node;
mod platform;
mod port_holder;
mod preparation;
mod process_table;
mod processes;
mod python;
mod receivers;
mod registry;
mod restore;
mod runtime_api;
mod runtime_state;
mod scripted_runtime;
mod shutdown;
mod telemetry_api;
mod telemetry_batches;
mod telemetry_delivery;
mod trace_header;

pub use caller::{Answer, FunctionError};
pub(crate) use clock::epoch_ms;
pub use config::{
    Config, Credentials, Delays, InitializationType, RuntimeKind, ShutdownBudgets, TelemetryFaults,
    TelemetryMode, Tracing,
};
pub use environment::{EnvironmentGone, LambdaEnvironment, StartError};
pub use event_log::{Entry, Event, EventLog, LogMark, Origin, OutputStream, Phase, ProcessExit};
pub use executables::write_executable;
pub use facade::FacadeSink;
pub use init::{InitFailure, InitReport};
pub use invocation::{InvocationReport, InvocationStatus};
pub use layer::{Layer, LayerError};
pub use scripted_runtime::{RuntimeClient, RuntimeClientError, RuntimeEvent, ScriptedRuntime};
pub use shutdown::{ExtensionShutdown, ShutdownReason, ShutdownReport};
pub use trace_header::TraceHeader;
