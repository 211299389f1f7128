//! The outlet to an X-Ray daemon: one UDP datagram for each document, no permission, no acknowledgement (xray.md
//! section 16).

use crate::accounts::{Accounts, Reason, Trim};
use crate::export::client::own::{OwnAddresses, Transport};
use crate::export::pacing::clocks::{Moment, Occasion, Window};
use crate::export::pacing::complaints::Complaints;
use crate::export::waiting::buffer::{Buffer, Waits};
use crate::export::waiting::outgoing::Outgoing;
use crate::ledger::Share;
use crate::log::{Level, Log};
use crate::translate::TranslatedDocument;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::Instant;

const HEADER: &[u8] = b"{\"format\":\"json\",\"version\":1}\n";
/// What a datagram leaves for the document (LIM-11).
const MAX_DOCUMENT_BYTES: usize = 65_507 - HEADER.len();
/// Where Lambda's daemon listens when nothing says otherwise.
const DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(169, 254, 79, 129)), 2000);
/// A burst that the daemon's socket holds while the daemon is not running. Small datagrams count by their number:
/// the kernel charges each far more than its bytes.
const BURST_BYTES: usize = 64 * 1024;
const BURST_DATAGRAMS: usize = 32;
const PAUSE: Duration = Duration::from_millis(1);
/// How long a flush may take where the last has failed: whether somebody listens is known at once, or never (P1).
const WHILE_FAILING: Duration = Duration::from_millis(2);

/// The daemon's address, once somebody has said it.
#[derive(Debug, Clone, Default)]
pub struct DaemonAddress {
    learned: Arc<OnceLock<SocketAddr>>,
    /// Where this extension listens itself: nothing is sent there.
    own: OwnAddresses,
}

impl DaemonAddress {
    /// Any but those at which this extension listens itself, in the daemon's place.
    pub fn other_than(own: OwnAddresses) -> Self {
        Self { own, ..Self::default() }
    }

    /// Looks at variables of an environment: the runtime's are handed over by an agent, because Lambda gives them to
    /// nobody else. The first address found stays.
    pub fn learn(&self, environment: &BTreeMap<String, String>) {
        let variable = |name: &str| environment.get(name).map(String::as_str);
        let whole = variable("AWS_XRAY_DAEMON_ADDRESS").and_then(|text| self.udp(text));
        let parts = || {
            let host = variable("_AWS_XRAY_DAEMON_ADDRESS")?;
            self.udp(&format!("{host}:{}", variable("_AWS_XRAY_DAEMON_PORT").unwrap_or("2000")))
        };
        if let Some(address) = whole.or_else(parts) {
            let _ = self.learned.set(address);
        }
    }

    /// What was learned, else what the extension's own environment says, else Lambda's default.
    fn get(&self, own: Option<&str>) -> SocketAddr {
        self.learned.get().copied().or_else(|| own.and_then(|text| self.udp(text))).unwrap_or(DEFAULT)
    }

    fn udp(&self, text: &str) -> Option<SocketAddr> {
        udp_address(text).filter(|address| !self.own.include(Transport::Udp, *address))
    }
}

/// The UDP half of `host:port`, or of `tcp:host:port udp:host:port` in either order (DMN-1, DMN-10).
fn udp_address(text: &str) -> Option<SocketAddr> {
    let mut parts = text.split_whitespace();
    let chosen = parts
        .clone()
        .find_map(|part| part.strip_prefix("udp:"))
        .or_else(|| parts.find(|part| !part.starts_with("tcp:")))?;
    chosen.replace("localhost", "127.0.0.1").parse().ok()
}

/// Sends documents to the daemon.
#[derive(Debug)]
pub(super) struct Daemon {
    address: DaemonAddress,
    /// `AWS_XRAY_DAEMON_ADDRESS` of the extension's own environment.
    own: Option<String>,
    socket: Option<UdpSocket>,
    buffer: Buffer<Outgoing>,
    /// What is on its way out.
    leaving: VecDeque<Outgoing>,
    accounts: Accounts,
    /// The last try has failed.
    is_failing: bool,
    complaints: Complaints,
}

impl Daemon {
    /// As many documents as have room in `share` are kept while nobody listens.
    pub(super) fn new(address: DaemonAddress, own: Option<String>, share: &Share, log: Log) -> Self {
        Self {
            address,
            own,
            socket: None,
            buffer: Buffer::new(share),
            leaving: VecDeque::new(),
            accounts: Accounts::default(),
            is_failing: false,
            complaints: Complaints::new(log),
        }
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// What waits for a better moment.
    pub(super) fn buffer(&mut self) -> &mut Buffer<Outgoing> {
        &mut self.buffer
    }

    pub(super) fn waiting_spans(&self) -> u64 {
        self.leaving.iter().map(Waits::spans).fold(self.buffer.spans(), u64::saturating_add)
    }

    /// Takes documents in, to be sent with the flush under way.
    pub(super) fn take_in(&mut self, documents: Vec<TranslatedDocument>) {
        let generation = self.buffer.generation();
        self.leaving.extend(self.buffer.take());
        self.leaving.extend(documents.into_iter().map(|document| Outgoing::new(document, generation)));
    }

    /// Sends what is here, what has waited first. Sent means that the kernel has taken it. [`Self::settle`] says what
    /// became of it.
    pub(super) async fn flush(&mut self, window: Window) {
        let until = match Instant::now().checked_add(WHILE_FAILING) {
            Some(soon) if self.is_failing && window.occasion != Occasion::Last => soon.min(window.until),
            _ => window.until,
        };
        let (mut burst_bytes, mut burst_datagrams) = (0_usize, 0);
        while let Some(document) = self.leaving.pop_front() {
            let Some(document) = fitting(document, &mut self.accounts) else { continue };
            let (spans, bytes) = (document.spans(), document.bytes());
            let datagram = [HEADER, document.document.json.as_bytes()].concat();
            self.leaving.push_front(document);
            let sent = tokio::time::timeout_at(until, self.send(&datagram)).await;
            self.is_failing = !matches!(sent, Ok(Ok(())));
            if self.is_failing {
                if let Ok(Err(error)) = sent {
                    self.complain(&error, window.now);
                }
                break;
            }
            self.leaving.pop_front();
            self.accounts.send(spans);
            burst_bytes = burst_bytes.saturating_add(bytes);
            burst_datagrams += 1;
            if burst_bytes >= BURST_BYTES || burst_datagrams >= BURST_DATAGRAMS {
                (burst_bytes, burst_datagrams) = (0, 0);
                if until.saturating_duration_since(Instant::now()) <= PAUSE {
                    break;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// What became of the last flush, whole or cut off; what has not left waits from now on.
    pub(super) fn settle(&mut self) -> Accounts {
        let mut accounts = std::mem::take(&mut self.accounts);
        accounts.drop(Reason::BufferFull, self.buffer.keep(self.leaving.drain(..)));
        accounts
    }

    async fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        if self.socket.is_none() {
            let to = self.address.get(self.own.as_deref());
            let from: SocketAddr = match to {
                SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            let socket = UdpSocket::bind(from).await?;
            socket.connect(to).await?;
            let (peer, local) = (socket.peer_addr()?, socket.local_addr()?);
            self.address.own.check(Transport::Udp, peer, local).map_err(io::Error::other)?;
            self.socket = Some(socket);
        }
        let Some(socket) = &self.socket else { return Err(io::ErrorKind::NotConnected.into()) };
        let sent = socket.send(datagram).await;
        // On this machine a closed port is known at once, elsewhere never.
        let refused = socket.take_error()?;
        match (sent, refused) {
            (Ok(_), None) => Ok(()),
            (Err(error), _) | (_, Some(error)) => {
                self.socket = None;
                Err(error)
            }
        }
    }

    fn complain(&mut self, error: &io::Error, now: Moment) {
        let address = self.address.get(self.own.as_deref());
        self.complaints.say(
            "daemon",
            now.unix,
            Level::Warn,
            format_args!(
                "the X-Ray daemon at {address} does not take documents ({error}), they are kept for later: in Lambda it \
                 runs where tracing is Active; elsewhere set AWS_XRAY_DAEMON_ADDRESS"
            ),
        );
    }
}

/// The document, made barer if it is too long for a datagram.
fn fitting(document: Outgoing, accounts: &mut Accounts) -> Option<Outgoing> {
    if document.bytes() <= MAX_DOCUMENT_BYTES {
        return Some(document);
    }
    let repaired = document.repaired().filter(|repaired| repaired.bytes() <= MAX_DOCUMENT_BYTES);
    if repaired.is_some() {
        accounts.trim(Trim::DocumentShortened, 1);
    } else {
        accounts.drop(Reason::Oversize, document.spans());
    }
    repaired
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::waiting::outgoing::tests::outgoing;

    #[test]
    fn dmn_1_dmn_10_addresses() {
        for (text, expected) in [
            ("169.254.100.1:2000", Some("169.254.100.1:2000")),
            ("tcp:127.0.0.1:2001 udp:127.0.0.1:2002", Some("127.0.0.1:2002")),
            ("udp:127.0.0.1:2002 tcp:127.0.0.1:2001", Some("127.0.0.1:2002")),
            ("localhost:2000", Some("127.0.0.1:2000")),
            ("[::1]:2000", Some("[::1]:2000")),
            ("tcp:127.0.0.1:2001", None),
            ("", None),
            ("somewhere", None),
        ] {
            assert_eq!(udp_address(text), expected.map(|address| address.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn dmn_1_whoever_speaks_first_is_believed_and_lambdas_default_is_the_last_resort() {
        let of = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let address = DaemonAddress::default();
        assert_eq!(address.get(None), DEFAULT);
        assert_eq!(address.get(Some("127.0.0.1:7")), "127.0.0.1:7".parse().unwrap());
        address.learn(&of(&[("AWS_XRAY_DAEMON_ADDRESS", "nonsense")]));
        address
            .learn(&of(&[("_AWS_XRAY_DAEMON_ADDRESS", "169.254.100.1"), ("_AWS_XRAY_DAEMON_PORT", "2001")]));
        address.learn(&of(&[("AWS_XRAY_DAEMON_ADDRESS", "127.0.0.1:9")]));
        assert_eq!(address.get(Some("127.0.0.1:7")), "169.254.100.1:2001".parse().unwrap());
    }

    #[test]
    fn env_2_where_this_extension_stands_in_for_the_daemon_nothing_is_sent() {
        let own = "127.0.0.1:2000";
        let addresses = OwnAddresses::default();
        addresses.add(Transport::Udp, own.parse().unwrap());
        let address = DaemonAddress::other_than(addresses);
        for spelled in [own, "localhost:2000", "0.0.0.0:2000", "[::ffff:127.0.0.1]:2000", "udp:0.0.0.0:2000"]
        {
            assert_eq!(address.get(Some(spelled)), DEFAULT, "{spelled}");
        }
        address.learn(&BTreeMap::from([
            ("AWS_XRAY_DAEMON_ADDRESS".to_owned(), own.to_owned()),
            ("_AWS_XRAY_DAEMON_ADDRESS".to_owned(), "169.254.100.1".to_owned()),
        ]));
        assert_eq!(address.get(Some(own)), "169.254.100.1:2000".parse().unwrap());
    }

    #[test]
    fn lim_11_a_document_too_long_for_a_datagram_is_made_barer() {
        let mut accounts = Accounts::default();
        let mut document = outgoing(1);
        document.document.json =
            document.document.json.replace("\"v\"", &format!("{:?}", "v".repeat(70_000)));
        let fitted = fitting(document.clone(), &mut accounts).unwrap();
        assert!(fitted.bytes() < 1000 && fitted.names_itself());
        document.document.json.insert(0, '!');
        assert!(fitting(document, &mut accounts).is_none());
        assert_eq!(accounts.to_json()["dropped"]["oversize"], 1);
    }
}
