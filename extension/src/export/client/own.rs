//! Where this extension itself takes spans in. Nothing is sent there: it would come back, and be sent again, without end.

use crate::export::answers::trouble::causes;
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

/// How a receiver listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Udp,
}

/// The addresses at which receivers listen, as they are bound.
#[derive(Debug, Clone, Default)]
pub struct OwnAddresses(Arc<Mutex<Vec<(Transport, SocketAddr)>>>);

/// A connection would have led back to this extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it leads to {0}, where this extension itself listens: spans would go in circles")]
pub(crate) struct LeadsHere(pub(crate) SocketAddr);

impl LeadsHere {
    /// Where this is behind an error.
    pub(crate) fn behind(error: &(dyn Error + 'static)) -> Option<Self> {
        causes(error).find_map(|cause| cause.downcast_ref::<Self>().copied())
    }
}

impl OwnAddresses {
    /// A receiver listens there now.
    pub fn add(&self, transport: Transport, address: SocketAddr) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((transport, address));
    }

    /// Refuses a connection by its two ends, however its far end was spelled.
    pub(crate) fn check(
        &self,
        transport: Transport,
        peer: SocketAddr,
        local: SocketAddr,
    ) -> Result<(), LeadsHere> {
        let own = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let leads_here = |(by, own): &(Transport, SocketAddr)| *by == transport && is_same(*own, peer, local);
        if own.iter().any(leads_here) { Err(LeadsHere(peer)) } else { Ok(()) }
    }

    /// Whether what is sent to an address comes here, as far as that shows before it is connected to.
    pub(crate) fn include(&self, transport: Transport, address: SocketAddr) -> bool {
        // To connect to the wildcard address is to connect to the loopback one.
        let ip = match address.ip().to_canonical() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let peer = SocketAddr::new(ip, address.port());
        let somewhere_else = SocketAddr::from(([0, 0, 0, 0], 0));
        self.check(transport, peer, somewhere_else).is_err()
    }
}

/// Whether a receiver bound to `own` has the connection's far end: by its address, or by all of this machine's.
fn is_same(own: SocketAddr, peer: SocketAddr, local: SocketAddr) -> bool {
    let (own_ip, peer_ip) = (own.ip().to_canonical(), peer.ip().to_canonical());
    let is_this_machine = peer_ip.is_loopback() || peer_ip == local.ip().to_canonical();
    own.port() == peer.port() && (own_ip == peer_ip || (own_ip.is_unspecified() && is_this_machine))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p2_a_connection_is_known_by_where_it_ends() {
        for (own, peer, local, expected) in [
            ("127.0.0.1:4318", "127.0.0.1:4318", "127.0.0.1:9", true),
            ("127.0.0.1:4318", "[::ffff:127.0.0.1]:4318", "[::ffff:127.0.0.1]:9", true),
            ("[::1]:4318", "[::1]:4318", "[::1]:9", true),
            ("127.0.0.1:4318", "127.0.0.1:4319", "127.0.0.1:9", false),
            ("127.0.0.1:4318", "127.0.0.2:4318", "127.0.0.1:9", false),
            ("127.0.0.1:4318", "10.0.0.1:4318", "10.0.0.1:9", false),
            ("0.0.0.0:4318", "127.0.0.2:4318", "127.0.0.1:9", true),
            ("[::]:4318", "10.0.0.1:4318", "10.0.0.1:9", true),
            ("0.0.0.0:4318", "10.0.0.2:4318", "10.0.0.1:9", false),
        ] {
            let addresses = OwnAddresses::default();
            addresses.add(Transport::Tcp, own.parse().unwrap());
            let (peer, local) = (peer.parse().unwrap(), local.parse().unwrap());
            assert_eq!(addresses.check(Transport::Tcp, peer, local).is_err(), expected, "{own} {peer}");
            assert!(addresses.check(Transport::Udp, peer, local).is_ok(), "another port space");
        }
    }

    #[test]
    fn p2_an_address_that_is_not_connected_yet_is_known_by_what_it_stands_for() {
        let addresses = OwnAddresses::default();
        addresses.add(Transport::Udp, "127.0.0.1:2000".parse().unwrap());
        for (address, expected) in [
            ("127.0.0.1:2000", true),
            ("0.0.0.0:2000", true),
            ("[::ffff:127.0.0.1]:2000", true),
            ("[::ffff:0.0.0.0]:2000", true),
            ("169.254.79.129:2000", false),
            ("127.0.0.1:2001", false),
        ] {
            assert_eq!(addresses.include(Transport::Udp, address.parse().unwrap()), expected, "{address}");
        }
    }
}
