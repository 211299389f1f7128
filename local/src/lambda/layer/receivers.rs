//! Where the layer's extension listens. Environments on one machine share its ports: the first one has the usual ones,
//! as on Lambda, and each other one has its own, which its function is told.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};

use super::port_holder::{Protocol, holder};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
const HTTP: Usual = Usual { variable: "OTEL_XRAY_OTLP_HTTP", port: 4318, protocols: &[Protocol::Tcp] };
const GRPC: Usual = Usual { variable: "OTEL_XRAY_OTLP_GRPC", port: 4317, protocols: &[Protocol::Tcp] };
const DAEMON: Usual =
    Usual { variable: "OTEL_XRAY_DAEMON", port: 2000, protocols: &[Protocol::Udp, Protocol::Tcp] };

/// One of the extension's receivers, with the variable that moves it.
#[derive(Debug, Clone, Copy)]
struct Usual {
    variable: &'static str,
    port: u16,
    protocols: &'static [Protocol],
}

/// A receiver that is elsewhere, because its usual port is taken.
#[derive(Debug, Clone)]
struct Moved {
    usual: Usual,
    address: SocketAddr,
    holder: String,
}

/// Held as long as the environment lives.
#[derive(Debug, Default)]
pub(crate) struct Receivers {
    moved: Vec<Moved>,
    /// What keeps other environments off these ports: names that end with this process.
    claims: Vec<UnixDatagram>,
}

impl Receivers {
    /// Chooses for the receivers that the function's own variables say nothing of.
    pub(crate) fn claim(configured: &BTreeMap<String, String>) -> io::Result<Self> {
        Self::claim_of(&[HTTP, GRPC, DAEMON], configured)
    }

    fn claim_of(usual: &[Usual], configured: &BTreeMap<String, String>) -> io::Result<Self> {
        let mut receivers = Self::default();
        for usual in usual.iter().filter(|usual| !configured.contains_key(usual.variable)) {
            if let Some(claim) = usual.claim()? {
                receivers.claims.push(claim);
            } else {
                let (moved, claim) = usual.moved()?;
                receivers.moved.push(moved);
                receivers.claims.push(claim);
            }
        }
        Ok(receivers)
    }

    /// What the function and the extension are told; nothing where everything is as on Lambda.
    pub(crate) fn variables(&self, configured: &BTreeMap<String, String>) -> Vec<(&'static str, String)> {
        let mut variables: Vec<_> =
            self.moved.iter().map(|moved| (moved.usual.variable, moved.address.to_string())).collect();
        let speaks_grpc =
            PROTOCOLS.iter().find_map(|name| configured.get(*name)).is_some_and(|it| it == "grpc");
        let wanted = if speaks_grpc { GRPC } else { HTTP };
        if let Some(moved) = self.moved.iter().find(|moved| moved.usual.variable == wanted.variable)
            && !configured.contains_key(ENDPOINT)
        {
            variables.push((ENDPOINT, format!("http://{}", moved.address)));
        }
        variables
    }

    /// Whether a variable is for the function alone: to the extension it would say where to send.
    pub(crate) fn is_functions_own(name: &str, configured: &BTreeMap<String, String>) -> bool {
        name == ENDPOINT && !configured.contains_key(ENDPOINT)
    }

    /// Which ports are taken by whom, and what that means; nothing where everything is as on Lambda.
    pub(crate) fn note(&self) -> Option<String> {
        let moves: Vec<String> = self
            .moved
            .iter()
            .map(|Moved { usual, address, holder }| {
                format!("port {} {holder}: {address} instead", usual.port)
            })
            .collect();
        (!moves.is_empty()).then(|| {
            format!(
                "the extension does not listen where it does on Lambda ({}); the function is told by \
                 OTEL_EXPORTER_OTLP_ENDPOINT and AWS_XRAY_DAEMON_ADDRESS. That endpoint is the HTTP receiver unless \
                 OTEL_EXPORTER_OTLP_PROTOCOL is grpc: an exporter that speaks gRPC needs this variable here, as it \
                 does not on Lambda. What it sends to a usual port all the same \
                 goes to the other process: end that one first",
                moves.join(", ")
            )
        })
    }
}

impl Usual {
    /// None where another environment or another program has the port.
    fn claim(self) -> io::Result<Option<UnixDatagram>> {
        let claim = claim_port(self.port)?;
        Ok(claim.filter(|_| is_free(self.port, self.protocols)))
    }

    fn moved(self) -> io::Result<(Moved, UnixDatagram)> {
        let holder = match self.protocols.iter().find_map(|protocol| holder(*protocol, self.port)) {
            Some(process) => format!("is taken by {process}"),
            None => "is another environment's".to_owned(),
        };
        loop {
            let address = free_address(self.protocols)?;
            if let Some(claim) = claim_port(address.port())? {
                return Ok((Moved { usual: self, address, holder }, claim));
            }
        }
    }
}

/// None where another environment has claimed it.
fn claim_port(port: u16) -> io::Result<Option<UnixDatagram>> {
    let name = UnixAddress::from_abstract_name(format!("otel-xray-local-port-{port}"))?;
    match UnixDatagram::bind_addr(&name) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(None),
        claim => claim.map(Some),
    }
}

fn is_free(port: u16, protocols: &[Protocol]) -> bool {
    let address = (Ipv4Addr::LOCALHOST, port);
    protocols.iter().all(|protocol| match protocol {
        Protocol::Tcp => TcpListener::bind(address).is_ok(),
        Protocol::Udp => UdpSocket::bind(address).is_ok(),
    })
}

/// One that was free a moment ago.
fn free_address(protocols: &[Protocol]) -> io::Result<SocketAddr> {
    loop {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        if is_free(address.port(), protocols) {
            return Ok(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The three receivers on ports that nobody else uses.
    fn usual() -> [Usual; 3] {
        [HTTP, GRPC, DAEMON]
            .map(|usual| Usual { port: free_address(usual.protocols).unwrap().port(), ..usual })
    }

    fn variables(receivers: &Receivers, configured: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let variables = receivers.variables(configured).into_iter();
        variables.map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn configured(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_first_environment_is_as_on_lambda_and_each_other_one_is_apart() {
        let (usual, nothing) = (usual(), BTreeMap::new());
        let first = Receivers::claim_of(&usual, &nothing).unwrap();
        assert_eq!((first.variables(&nothing), first.note()), (Vec::new(), None));
        let others = [(); 2].map(|()| Receivers::claim_of(&usual, &nothing).unwrap());
        let [second, third] = others.each_ref().map(|other| variables(other, &nothing));
        for (name, address) in &second {
            assert_ne!(Some(address), third.get(name), "{name}");
        }
        assert_eq!(second[ENDPOINT], format!("http://{}", second[HTTP.variable]));
        assert_eq!(second.len(), 4);
        let note = others[0].note().unwrap();
        for address in usual.iter().map(|usual| &second[usual.variable]) {
            assert!(note.contains(address), "{note}");
        }
        assert!(note.contains("is another environment's"), "{note}");
        assert!(note.contains("OTEL_EXPORTER_OTLP_PROTOCOL is grpc"), "{note}");
        drop(first);
        let next = Receivers::claim_of(&usual, &nothing).unwrap();
        assert_eq!(next.note(), None, "the usual ports are given back");
    }

    #[test]
    fn a_port_that_another_program_has_is_named_with_it() {
        let (usual, nothing) = (usual(), BTreeMap::new());
        let _taken = [
            TcpListener::bind((Ipv4Addr::LOCALHOST, usual[0].port)).unwrap(),
            // As a daemon beside it would, without UDP.
            TcpListener::bind((Ipv4Addr::LOCALHOST, usual[2].port)).unwrap(),
        ];
        let receivers = Receivers::claim_of(&usual, &nothing).unwrap();
        let told: Vec<String> = variables(&receivers, &nothing).into_keys().collect();
        assert_eq!(told, [ENDPOINT, DAEMON.variable, HTTP.variable]);
        let note = receivers.note().unwrap();
        let own = format!("port {} is taken by ", usual[0].port);
        assert!(note.contains(&own) && note.contains(&format!("process {}", std::process::id())), "{note}");
    }

    #[test]
    fn what_the_user_has_chosen_is_left_alone() {
        let usual = usual();
        let _first = Receivers::claim_of(&usual, &BTreeMap::new()).unwrap();
        let chosen =
            configured(&[(HTTP.variable, "off"), (DAEMON.variable, "127.0.0.1:1"), (ENDPOINT, "http://c")]);
        let receivers = Receivers::claim_of(&usual, &chosen).unwrap();
        assert_eq!(variables(&receivers, &chosen).into_keys().collect::<Vec<_>>(), [GRPC.variable]);

        let grpc = configured(&[(PROTOCOLS[1], "grpc")]);
        let receivers = Receivers::claim_of(&usual, &grpc).unwrap();
        let told = variables(&receivers, &grpc);
        assert_eq!(told[ENDPOINT], format!("http://{}", told[GRPC.variable]));
    }

    #[test]
    fn to_the_extension_the_functions_endpoint_would_say_where_to_send() {
        assert!(Receivers::is_functions_own(ENDPOINT, &BTreeMap::new()));
        assert!(!Receivers::is_functions_own(ENDPOINT, &configured(&[(ENDPOINT, "http://collector")])));
        assert!(!Receivers::is_functions_own(HTTP.variable, &BTreeMap::new()));
    }
}
