//! The sockets that are open before the extension registers. One that is taken costs its spans and a line, never the
//! function (B-8, T-9).

use crate::export::{Clients, OwnAddresses, Transport};
use crate::log::{Level, Log};
use crate::receive::otlp::intake::Intake;
use crate::receive::telemetry::http::TelemetryListener;
use crate::receive::{Inlet, agent, daemon, otlp};
use crate::received::Received;
use crate::settings::Settings;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// Opens all of them, and gives the address for the platform's own records where they are wanted.
pub fn open(
    settings: &Settings,
    out: &mpsc::Sender<Received>,
    clients: &Arc<Clients>,
    log: &Log,
) -> Option<String> {
    let inlet = Inlet::new(out.clone());
    listen_to_agents(settings, &inlet, log);
    listen_to_sdks(settings, &inlet, clients.own(), log);
    stand_in_for_daemon(settings, clients, log);
    settings.platform_events.then(|| listen_to_platform(out, clients.own(), log)).flatten()
}

fn listen_to_agents(settings: &Settings, out: &Inlet, log: &Log) {
    match agent::socket::bind(&settings.agent_socket) {
        Ok(listener) => {
            let owner = agent::socket::own_uid();
            tokio::spawn(agent::socket::serve(listener, owner, out.clone(), log.clone()));
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
}

/// The sockets of what the function brings along: OpenTelemetry SDKs, and X-Ray's.
fn listen_to_sdks(settings: &Settings, out: &Inlet, own: &OwnAddresses, log: &Log) {
    let intake = Intake::new(out.clone());
    if let Some(listener) = open_otlp(settings.otlp_http, "OTLP", "OTEL_XRAY_OTLP_HTTP", log) {
        note(own, Transport::Tcp, &listener.local_addr());
        tokio::spawn(otlp::http::serve(listener, intake.clone(), log.clone()));
    }
    if let Some(listener) = open_otlp(settings.otlp_grpc, "OTLP over gRPC", "OTEL_XRAY_OTLP_GRPC", log) {
        note(own, Transport::Tcp, &listener.local_addr());
        tokio::spawn(otlp::grpc::serve(listener, intake, log.clone()));
    }
    if let Some(address) = settings.daemon {
        match daemon::udp::bind(address) {
            Ok(socket) => {
                note(own, Transport::Udp, &socket.local_addr());
                tokio::spawn(daemon::udp::serve(socket, out.clone(), log.clone()));
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
    match daemon::tcp::bind(address) {
        Ok(listener) => {
            note(clients.own(), Transport::Tcp, &listener.local_addr());
            let clients = Arc::clone(clients);
            let forward = daemon::tcp::forward(move |path, body| {
                let clients = Arc::clone(&clients);
                async move {
                    let answer = clients.post(path, body, daemon::tcp::ANSWER_WITHIN).await;
                    answer.map_err(|error| error.to_string())
                }
            });
            tokio::spawn(daemon::tcp::serve(listener, forward, log.clone()));
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
    let bound = otlp::http::bind(address);
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

/// Remembers where a receiver really listens: nothing is to be sent there.
fn note(own: &OwnAddresses, transport: Transport, address: &std::io::Result<SocketAddr>) {
    // A bound socket has one.
    if let Ok(address) = address {
        own.add(transport, *address);
    }
}

/// Opens the listener for the platform's own records, and gives its address.
fn listen_to_platform(out: &mpsc::Sender<Received>, own: &OwnAddresses, log: &Log) -> Option<String> {
    match TelemetryListener::bind() {
        Ok(listener) => {
            note(own, Transport::Tcp, &listener.local_addr());
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
