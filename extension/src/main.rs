//! The extension's process: bind, register, serve. It never ends before SHUTDOWN of its own accord (L-1.6).

use otel_xray::conductor::Conductor;
use otel_xray::export::Clients;
use otel_xray::lambda;
use otel_xray::log::{Level, Log};
use otel_xray::receive::otlp_intake::Intake;
use otel_xray::receive::telemetry_http::TelemetryListener;
use otel_xray::receive::{Received, agent_fifo, agent_socket, daemon_tcp, daemon_udp, otlp_grpc, otlp_http};
use otel_xray::settings::Settings;
use otel_xray::translate::Function;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

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
        listen(&settings, &received_in, &log);
        stand_in_for_daemon(&settings, &clients, &log);
        telemetry = settings.platform_events.then(|| listen_to_platform(&received_in, &log)).flatten();
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
    if let Err(error) = conducting.await {
        log.say(Level::Error, format_args!("collecting stopped before the shutdown: {error}"));
    }
}

/// Opens the sockets. One that is taken costs its spans and a line, never the function (B-8, T-9).
fn listen(settings: &Settings, out: &mpsc::Sender<Received>, log: &Log) {
    match agent_socket::bind(&settings.agent_socket) {
        Ok(listener) => {
            let owner = agent_socket::own_uid();
            tokio::spawn(agent_socket::serve(listener, owner, out.clone(), log.clone()));
        }
        Err(error) => log.say(
            Level::Warn,
            format_args!(
                "the agent socket {:?} could not be opened ({error}): the function's own spans will be missing; set \
                 OTEL_XRAY_AGENT_SOCKET to another name",
                settings.agent_socket
            ),
        ),
    }
    match agent_fifo::Fifo::lay(&settings.agent_socket) {
        Ok(fifo) => {
            tokio::spawn(agent_fifo::serve(fifo, out.clone(), log.clone()));
        }
        Err(error) => log.say(
            Level::Warn,
            format_args!(
                "the agent pipe /tmp/.{} could not be laid ({error}): a Node.js function's own spans will be missing; \
                 set OTEL_XRAY_AGENT_SOCKET to another name",
                settings.agent_socket
            ),
        ),
    }
    let intake = Intake::new(out.clone());
    if let Some(listener) = open_otlp(settings.otlp_http, "OTLP", "OTEL_XRAY_OTLP_HTTP", log) {
        tokio::spawn(otlp_http::serve(listener, intake.clone(), log.clone()));
    }
    if let Some(listener) = open_otlp(settings.otlp_grpc, "OTLP over gRPC", "OTEL_XRAY_OTLP_GRPC", log) {
        tokio::spawn(otlp_grpc::serve(listener, intake, log.clone()));
    }
    if let Some(address) = settings.daemon {
        match daemon_udp::bind(address) {
            Ok(socket) => {
                tokio::spawn(daemon_udp::serve(socket, out.clone(), log.clone()));
            }
            Err(error) => log.say(
                Level::Warn,
                format_args!(
                    "the X-Ray daemon's port {address} could not be opened ({error}): an X-Ray SDK in the function can't \
                     send here; set OTEL_XRAY_DAEMON to another address, or to off"
                ),
            ),
        }
    }
}

/// Opens the daemon's TCP port, where X-Ray SDKs ask for sampling rules (DMN-8).
fn stand_in_for_daemon(settings: &Settings, clients: &Arc<Clients>, log: &Log) {
    let Some(address) = settings.daemon else { return };
    match daemon_tcp::bind(address) {
        Ok(listener) => {
            let clients = Arc::clone(clients);
            let forward = daemon_tcp::forward(move |path, body| {
                let clients = Arc::clone(&clients);
                async move {
                    let answer = clients.post(path, body, daemon_tcp::ANSWER_WITHIN).await;
                    answer.map_err(|error| error.to_string())
                }
            });
            tokio::spawn(daemon_tcp::serve(listener, forward, log.clone()));
        }
        Err(error) => log.say(
            Level::Info,
            format_args!(
                "the X-Ray daemon's TCP port {address} could not be opened ({error}): an X-Ray SDK in the function \
                 samples by its default rule; set OTEL_XRAY_DAEMON to another address, or to off"
            ),
        ),
    }
}

/// Opens an OTLP receiver, unless it is turned off.
fn open_otlp(address: Option<SocketAddr>, what: &str, setting: &str, log: &Log) -> Option<TcpListener> {
    let address = address?;
    let bound = otlp_http::bind(address);
    if let Err(error) = &bound {
        log.say(
            Level::Warn,
            format_args!(
                "{what} on {address} could not be opened ({error}): an OpenTelemetry SDK in the function can't send \
                 here; set {setting} to another address, or to off"
            ),
        );
    }
    bound.ok()
}

/// Opens the listener for the platform's own records, and gives its address.
fn listen_to_platform(out: &mpsc::Sender<Received>, log: &Log) -> Option<String> {
    match TelemetryListener::bind() {
        Ok(listener) => {
            let uri = listener.uri();
            tokio::spawn(listener.serve(out.clone(), log.clone()));
            Some(uri)
        }
        Err(error) => {
            log.say(
                Level::Warn,
                format_args!("no port for the platform's telemetry ({error}): going on without it"),
            );
            None
        }
    }
}
