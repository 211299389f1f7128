//! The extension's process: bind, register, serve. It never ends before SHUTDOWN of its own accord (L-1.6).

use otel_xray::conductor::Conductor;
use otel_xray::export::Clients;
use otel_xray::log::{Level, Log};
use otel_xray::settings::Settings;
use otel_xray::translate::Function;
use otel_xray::{lambda, listeners};
use otel_xray_allocator::Heap;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

#[global_allocator]
static HEAP: Heap = Heap::new();

/// Frames and requests that may wait for the conductor before their senders do.
const QUEUE: usize = 256;

fn main() -> ExitCode {
    let variable = |name: &str| std::env::var(name).ok();
    let Some(address) = variable("AWS_LAMBDA_RUNTIME_API") else {
        eprintln!(
            "otel-xray is a Lambda extension: it is started by Lambda, from /opt/extensions of its layer, and needs \
             AWS_LAMBDA_RUNTIME_API. To try it on this machine, use otel-xray-local."
        );
        return ExitCode::FAILURE;
    };
    // The words of a panic may quote a span; whoever catches it says what can be said.
    std::panic::set_hook(Box::new(|panic| {
        if let Some(place) = panic.location() {
            eprintln!("[otel-xray] ERROR: a defect of the extension, in {place}");
        }
    }));
    let (settings, complaints) = Settings::read(variable);
    let log = Log::stdout(settings.log_level, settings.log_format);
    for complaint in complaints {
        log.say(Level::Warn, complaint);
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            log.say(Level::Error, format_args!("could not start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(serve(address, settings, log));
    // Tasks that are still waiting for something must not delay the end.
    runtime.shutdown_background();
    ExitCode::SUCCESS
}

async fn serve(address: String, settings: Settings, log: Log) {
    let variable = |name: &str| std::env::var(name).ok();
    let (received_in, received) = mpsc::channel(QUEUE);
    let mut telemetry = None;
    let clients = Arc::new(Clients::new(variable).with_log(log.clone()));
    if settings.enabled {
        telemetry = listeners::open(&settings, &received_in, &clients, &log);
    }
    let (turns_in, turns) = mpsc::channel(1);
    let (registered_in, registered) = oneshot::channel();
    let function = Function {
        name: variable("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default(),
        version: variable("AWS_LAMBDA_FUNCTION_VERSION").unwrap_or_default(),
        region: variable("AWS_REGION").unwrap_or_default(),
        account_id: None,
        memory_mb: variable("AWS_LAMBDA_FUNCTION_MEMORY_SIZE").unwrap_or_default(),
        annotations: settings.annotations.iter().filter(|name| *name != "*").cloned().collect(),
        annotates_all: settings.annotations.iter().any(|name| name == "*"),
        adopt: settings.adopt,
    };
    let conductor = Conductor::new(settings, function, clients, log.clone());
    let conducting = tokio::spawn(conductor.run(turns, received, registered));
    // The queue stays open when nothing listens.
    let _received_in = received_in;
    let initialization_type = variable("AWS_LAMBDA_INITIALIZATION_TYPE");
    let platform = lambda::Platform { address, initialization_type, telemetry };
    lambda::run(platform, registered_in, turns_in, log.clone()).await;
    if conducting.await.is_err() {
        log.say(Level::Error, "collecting stopped before the shutdown, by a defect");
    }
}
