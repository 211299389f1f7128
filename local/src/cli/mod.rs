//! The command line: `otel-xray-local invoke`.

mod accounting;
mod arguments;
mod explanation;
mod invoke;
mod output;

use std::process::ExitCode;

use clap::Parser;

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
    #[error(transparent)]
    Layer(#[from] crate::lambda::LayerError),
    #[error(transparent)]
    Start(#[from] crate::lambda::StartError),
    #[error(transparent)]
    Gone(#[from] crate::lambda::EnvironmentGone),
    #[error("stdout cannot be written: {0}")]
    Output(#[from] std::io::Error),
    #[error("interrupted")]
    Interrupted,
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
    let command = async {
        match arguments.command {
            Command::Invoke(arguments) => invoke::run(*arguments).await,
        }
    };
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = command => outcome,
            // Dropping the command ends every process it started.
            () = interrupted() => Err(CommandError::Interrupted),
        }
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signals) => drop(signals.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}
