//! The X-Ray daemon's UDP port, for functions that carry an X-Ray SDK or a distribution that speaks its protocol.

use super::datagram::{self, Datagram, DatagramError};
use crate::accounts::Reason;
use crate::log::{Level, Log};
use crate::receive::bounds::inlet::{Gone, Inlet};
use crate::received::Received;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::UdpSocket;

/// What the kernel is asked to hold while nobody reads (DMN-14); it may grant less.
const RECEIVE_BUFFER_BYTES: usize = 8 * 1024 * 1024;
/// No smaller burst fills the least buffer that Linux grants, so that none may have been lost.
const BURST_DATAGRAMS: usize = 64;
const BURST_BYTES: usize = 64 * 1024;

/// Binds the daemon's address.
pub fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(address)?;
    // With a smaller one more is lost, and counted.
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

/// Reads datagrams until the receiving side of `out` is gone.
pub async fn serve(socket: UdpSocket, out: Inlet, log: Log) {
    let mut losses = KernelLosses::of(socket.local_addr().ok());
    let mut buffer = vec![0; datagram::MAX_BYTES];
    while let Ok(()) = socket.readable().await {
        let (mut datagrams, mut bytes) = (0, 0);
        loop {
            match socket.try_recv(&mut buffer) {
                Ok(length) => {
                    datagrams += 1;
                    bytes += length;
                    let parsed = datagram::parse(&buffer[..length]);
                    if hand_over(parsed, &out, &log).await.is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    log.once(
                        "daemon-receive",
                        Level::Warn,
                        format_args!("a datagram could not be read: {error}"),
                    );
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    break;
                }
            }
        }
        if datagrams >= BURST_DATAGRAMS || bytes >= BURST_BYTES {
            let spans = losses.since_last_time();
            if spans > 0 && out.send(Received::Lost { reason: Reason::Overrun, spans }).await.is_err() {
                return;
            }
        }
    }
}

async fn hand_over(parsed: Result<Datagram, DatagramError>, out: &Inlet, log: &Log) -> Result<(), Gone> {
    match parsed {
        Ok(Datagram::Document(document)) => {
            let bytes = document.heap_bytes();
            out.send_weighed(Received::Document(document), bytes).await
        }
        Ok(Datagram::Otlp { decoded, unsampled, bytes }) => {
            for (reason, spans) in [(Reason::Unreadable, decoded.unreadable), (Reason::Unsampled, unsampled)]
            {
                if spans > 0 {
                    out.send(Received::Lost { reason, spans }).await?;
                }
            }
            out.send_weighed(Received::Otlp(decoded.resource_spans), bytes).await
        }
        Ok(Datagram::Metrics) => {
            log.once("daemon-metrics", Level::Info, "metrics sent to the X-Ray daemon's port are not kept");
            Ok(())
        }
        Err(error) => {
            log.once(
                "daemon-datagram",
                Level::Warn,
                format_args!("a datagram at the X-Ray daemon's port could not be used: {error}"),
            );
            let reason = match error {
                DatagramError::Document(error) => error.reason(),
                _ => Reason::Unreadable,
            };
            out.send(Received::Lost { reason, spans: 1 }).await
        }
    }
}

/// The datagrams that the kernel had no room for: it counts them, and tells nobody.
struct KernelLosses {
    /// The socket's line in the kernel's table begins with this.
    address: Option<String>,
    table: &'static str,
    known: u64,
}

impl KernelLosses {
    fn of(address: Option<SocketAddr>) -> Self {
        let table = match address {
            Some(SocketAddr::V6(_)) => "/proc/net/udp6",
            _ => "/proc/net/udp",
        };
        Self { address: address.map(in_table), table, known: 0 }
    }

    fn since_last_time(&mut self) -> u64 {
        let table = std::fs::read_to_string(self.table).unwrap_or_default();
        let drops =
            self.address.as_deref().and_then(|address| drops_in(&table, address)).unwrap_or(self.known);
        drops.saturating_sub(std::mem::replace(&mut self.known, drops))
    }
}

/// An address as the kernel's table has it: words in the machine's own byte order.
fn in_table(address: SocketAddr) -> String {
    let octets = match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let words = octets.chunks_exact(4).map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
    let ip: Vec<String> = words.map(|word| format!("{word:08X}")).collect();
    format!("{}:{:04X}", ip.concat(), address.port())
}

fn drops_in(table: &str, address: &str) -> Option<u64> {
    let line = table.lines().find(|line| line.split_whitespace().nth(1) == Some(address))?;
    line.split_whitespace().next_back()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::test_log;
    use tokio::sync::mpsc;

    const HEADER: &str = "{\"format\":\"json\",\"version\":1}\n";

    fn document(number: u32) -> String {
        format!(
            "{HEADER}{{\"id\":\"{:016x}\",\"trace_id\":\"1-581cf771-a006649127e371903a2de979\",\"name\":\"a\"}}",
            number + 1
        )
    }

    #[tokio::test]
    async fn tv_23_a_malformed_datagram_is_counted_and_reading_goes_on() {
        let socket = bind(([127, 0, 0, 1], 0).into()).unwrap();
        let to = socket.local_addr().unwrap();
        let (out, mut received) = mpsc::channel(16);
        let (log, lines) = test_log::capture(Level::Debug);
        let server = tokio::spawn(serve(socket, Inlet::new(out), log));
        let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let version_2 = document(0).replace("\"version\":1", "\"version\":2");
        let no_newline = document(0).replace('\n', "");
        for datagram in
            [version_2, no_newline, format!("{HEADER}M1abc"), format!("{HEADER}{{}}"), document(1)]
        {
            client.send_to(datagram.as_bytes(), to).unwrap();
        }
        for reason in [Reason::Unreadable, Reason::Unreadable, Reason::InvalidId] {
            let Some(Received::Lost { reason: found, spans: 1 }) = received.recv().await else { panic!() };
            assert_eq!(found, reason);
        }
        assert!(matches!(received.recv().await, Some(Received::Document(_))));
        let lines = lines.lock().unwrap();
        let about = |part: &str| lines.iter().filter(|line| line.contains(part)).count();
        assert_eq!((about("could not be used"), about("metrics")), (1, 1), "{lines:?}");
        server.abort();
    }

    #[tokio::test]
    async fn dmn_5_dmn_14_a_burst_that_the_kernel_cannot_hold_is_counted() {
        let socket = bind(([127, 0, 0, 1], 0).into()).unwrap();
        socket2::SockRef::from(&socket).set_recv_buffer_size(1).unwrap();
        let to = socket.local_addr().unwrap();
        let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let (out, mut received) = mpsc::channel(4096);
        let (log, _) = test_log::capture(Level::Debug);
        // Bound, and not yet read: the kernel keeps a few and drops the rest.
        let large = document(0).replace("\"a\"", &format!("\"{}\"", "a".repeat(60_000)));
        socket2::SockRef::from(&socket).set_recv_buffer_size(300_000).unwrap();
        for _ in 0..100 {
            client.send_to(large.as_bytes(), to).unwrap();
        }
        let server = tokio::spawn(serve(socket, Inlet::new(out), log));
        let (mut read, mut lost) = (0, 0);
        while read + lost < 100 {
            match received.recv().await {
                Some(Received::Weighed(large, _room)) if matches!(*large, Received::Document(_)) => read += 1,
                Some(Received::Lost { reason: Reason::Overrun, spans }) => lost += spans,
                other => panic!("{other:?}"),
            }
        }
        assert!(lost > 0, "{read} read");
        server.abort();
    }

    #[test]
    fn the_kernels_table() {
        let v4: SocketAddr = ([127, 0, 0, 1], 2000).into();
        let v6: SocketAddr = "[::1]:2000".parse().unwrap();
        let native = |word: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(word));
        assert_eq!(in_table(v4), format!("{}:07D0", native([127, 0, 0, 1])));
        assert_eq!(in_table(v6), format!("{}{}:07D0", "0".repeat(24), native([0, 0, 0, 1])));
        let table = "  sl  local_address rem_address   st ... drops\n\
                     3: 0100007F:07D1 00000000:0000 07 0:0 0:0 0 993 0 11 2 0000 9\n\
                     4: 0100007F:07D0 00000000:0000 07 0:0 0:0 0 993 0 12 2 0000 41\n";
        assert_eq!(drops_in(table, "0100007F:07D0"), Some(41));
        assert_eq!(drops_in(table, "0100007F:07D2"), None);
    }
}
