//! The command line: `otel-xray-local invoke` and `otel-xray-local xray`.

mod accounting;
mod arguments;
mod explanation;
mod faults;
mod invoke;
mod output;
mod traces;

use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{Signal, SignalKind, signal};

use arguments::{Arguments, Command};

/// Something that the user can put right.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error("event file {path} cannot be read: {source}; name an existing JSON file")]
    EventUnreadable { path: String, source: std::io::Error },
    #[error("event file {path} is not JSON: {source}; a Lambda event is one JSON value")]
    EventNotJson { path: String, source: serde_json::Error },
    #[error("function directory {path} {cause}; name the directory that holds the handler's file")]
    Function { path: String, cause: String },
    #[error(
        "the X-Ray endpoint cannot listen on {address}: {source}; name a free port of a loopback address"
    )]
    Endpoint { address: std::net::SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Layer(#[from] crate::lambda::LayerError),
    #[error(transparent)]
    Start(#[from] crate::lambda::StartError),
    #[error(transparent)]
    Gone(#[from] crate::lambda::EnvironmentGone),
    #[error("a fault cannot be arranged: {0}; leave it out")]
    Fault(std::io::Error),
    #[error("an invocation was given up: {0}")]
    GivenUp(#[from] tokio::task::JoinError),
    #[error("signals cannot be received: {0}; check the limit of open files")]
    Signals(std::io::Error),
    #[error("stdout cannot be written: {0}")]
    Output(#[from] std::io::Error),
    #[error("interrupted")]
    Interrupted,
}

impl CommandError {
    /// Another command line would do.
    fn is_command_line(&self) -> bool {
        matches!(
            self,
            Self::EventUnreadable { .. }
                | Self::EventNotJson { .. }
                | Self::Function { .. }
                | Self::Endpoint { .. }
                | Self::Layer(_)
                | Self::Start(crate::lambda::StartError::Runtime(_))
        )
    }
}

/// Runs the command line of this process. The exit status is 0 when everything succeeded, 1 when an invocation or
/// the environment failed, 2 for a wrong command line.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no threads can be started: {error}; check the process limit");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(async {
        let interruption = Interruption::listen().map_err(CommandError::Signals)?;
        match arguments.command {
            Command::Xray(arguments) => traces::serve(arguments, interruption.wait()).await,
            Command::Invoke(arguments) => tokio::select! {
                outcome = invoke::run(*arguments) => outcome,
                // Dropping the command ends every process it started.
                () = interruption.wait() => Err(CommandError::Interrupted),
            },
        }
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            if error.is_command_line() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

/// Ctrl-C or SIGTERM, from the moment this is made.
struct Interruption {
    interrupt: Signal,
    terminate: Signal,
}

impl Interruption {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn wait(mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
