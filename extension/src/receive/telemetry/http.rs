//! The listener to which the platform posts its records (Telemetry API, section 6.2).
//!
//! Every delivery is answered with 200, even one that can't be used: the platform would send it again and again
//! (L-6.1, L-6.8).

use super::records::{self, PlatformError};
use crate::log::{Level, Log};
use crate::receive::bounds::local_http::{self, BodyError, Handler};
use crate::received::Received;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response};
use std::fmt::Write as _;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// What the platform is asked to send in one delivery at most.
pub const MAX_BYTES: usize = 262_144;
/// A delivery can reach twice that, and what describes it (L-6.1).
const MAX_BODY_BYTES: usize = 4 * MAX_BYTES;
/// The name by which the platform reaches the environment.
pub const HOST: &str = "sandbox.localdomain";

/// A listener that is bound, and what to tell the platform of it.
#[derive(Debug)]
pub struct TelemetryListener {
    listener: TcpListener,
    path: String,
    port: u16,
}

#[derive(Debug, thiserror::Error)]
enum DeliveryError {
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Records(#[from] PlatformError),
}

impl TelemetryListener {
    /// Binds the address that the platform's name for the environment stands for, else 127.0.0.1; never all of them.
    ///
    /// In Lambda the name is in the hosts file, and stands for the environment's own interface, to which the platform
    /// posts; the emulators know no such name and post to 127.0.0.1 (L-6.4).
    pub fn bind() -> std::io::Result<Self> {
        let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
        let listener = named(&hosts)
            .and_then(|address| local_http::bind((address, 0).into()).ok())
            .map_or_else(|| local_http::bind((Ipv4Addr::LOCALHOST, 0).into()), Ok)?;
        let port = listener.local_addr()?.port();
        Ok(Self { listener, path: secret_path()?, port })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Where the platform is to send its records.
    pub fn uri(&self) -> String {
        format!("http://{HOST}:{}{}", self.port, self.path)
    }

    /// Serves for ever.
    pub async fn serve(self, out: mpsc::Sender<Received>, log: Log) {
        let door = Arc::new(Door { path: self.path, is_proven: AtomicBool::new(false) });
        let handler: Handler = {
            let log = log.clone();
            Arc::new(move |request| {
                let (door, out, log) = (Arc::clone(&door), out.clone(), log.clone());
                Box::pin(async move {
                    if door.opens_for(request.uri().path())
                        && let Err(error) = receive(request, &out, &log).await
                    {
                        log.once("telemetry", Level::Warn, error);
                    }
                    Response::new(Full::new(Bytes::new()))
                })
            })
        };
        local_http::serve(self.listener, is_near, handler, log).await;
    }
}

/// The path is a secret between platform and extension.
#[derive(Debug)]
struct Door {
    path: String,
    /// The platform has used the path. The emulators never do: they drop it (L-6.4).
    is_proven: AtomicBool,
}

impl Door {
    fn opens_for(&self, path: &str) -> bool {
        if path == self.path {
            self.is_proven.store(true, Ordering::Relaxed);
            return true;
        }
        path == "/" && !self.is_proven.load(Ordering::Relaxed)
    }
}

async fn receive(
    request: Request<Incoming>,
    out: &mpsc::Sender<Received>,
    log: &Log,
) -> Result<(), DeliveryError> {
    let body = local_http::read_body(request, MAX_BODY_BYTES, None).await?;
    let delivery = records::parse(&body)?;
    if delivery.skipped > 0 {
        log.say(Level::Debug, format_args!("{} telemetry records of no interest", delivery.skipped));
    }
    for event in delivery.events {
        // Without a receiver the process is at its end.
        let _ = out.send(Received::Platform(Box::new(event))).await;
    }
    Ok(())
}

/// Whether the other end is this machine, or its platform on a link-local address.
fn is_near(stream: &TcpStream) -> bool {
    match (stream.peer_addr(), stream.local_addr()) {
        (Ok(peer), Ok(own)) => are_near(peer.ip(), own.ip()),
        _ => false,
    }
}

fn are_near(peer: IpAddr, own: IpAddr) -> bool {
    let link_local = |address| matches!(address, IpAddr::V4(address) if address.is_link_local());
    peer.is_loopback() || peer == own || link_local(peer) && link_local(own)
}

/// The address that a hosts file gives for the environment.
fn named(hosts: &str) -> Option<IpAddr> {
    hosts.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|name| name == HOST).then_some(address)
    })
}

fn secret_path() -> std::io::Result<String> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let mut path = String::from("/");
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(path, "{byte:02x}");
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::test_log;
    use crate::receive::bounds::local_http::test_client::send;
    use crate::received::platform::PlatformRecord;

    #[tokio::test]
    async fn l_6_1_t_10_every_delivery_is_acknowledged_and_the_good_records_of_each_are_taken() {
        let (out, mut received) = mpsc::channel(16);
        let (log, lines) = test_log::capture(Level::Warn);
        let listener = TelemetryListener::bind().unwrap();
        let (port, path) = (listener.port, listener.path.clone());
        assert_eq!(listener.uri(), format!("http://sandbox.localdomain:{port}{path}"));
        let server = tokio::spawn(listener.serve(out, log));
        let done = |id: &str| {
            format!(
                r#"[{{"type":"platform.dream"}},{{"type":"platform.runtimeDone","record":{{"requestId":"{id}"}}}}]"#
            )
        };
        for (path, body) in [
            ("/", done("emulator").into_bytes()),
            (path.as_str(), done("lambda").into_bytes()),
            ("/", done("somebody else").into_bytes()),
            ("/guessed", done("guessed").into_bytes()),
            (&path, b"not json".to_vec()),
            (&path, vec![b' '; MAX_BODY_BYTES + 1]),
        ] {
            let address = (Ipv4Addr::LOCALHOST, port).into();
            assert_eq!(send(address, &format!("POST {path} HTTP/1.1"), &body).await, 200);
        }
        let mut ids = Vec::new();
        while let Ok(Received::Platform(event)) = received.try_recv() {
            match event.record {
                PlatformRecord::RuntimeDone(done) => ids.push(done.request_id),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(ids, ["emulator", "lambda"]);
        assert_eq!(lines.lock().unwrap().len(), 1, "said once");
        server.abort();
    }

    #[test]
    fn l_6_4_the_address_is_the_one_in_the_hosts_file() {
        for (hosts, expected) in [
            (
                "127.0.0.1 localhost\n169.254.76.1\tsandbox.localdomain sandbox # platform\n",
                Some("169.254.76.1"),
            ),
            ("127.0.0.1 localhost # sandbox.localdomain\n", None),
            ("here sandbox.localdomain\n", None),
            ("", None),
        ] {
            assert_eq!(named(hosts), expected.map(|address| address.parse().unwrap()), "{hosts}");
        }
    }

    #[test]
    fn nobody_from_elsewhere_is_let_in() {
        for (peer, own, expected) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.5", "127.0.0.1", true),
            ("169.254.76.1", "169.254.76.1", true),
            ("169.254.79.1", "169.254.76.1", true),
            ("10.0.0.7", "10.0.0.7", true),
            ("10.0.0.8", "10.0.0.7", false),
            ("169.254.79.1", "10.0.0.7", false),
        ] {
            assert_eq!(are_near(peer.parse().unwrap(), own.parse().unwrap()), expected, "{peer} to {own}");
        }
    }
}
