//! Names to addresses: each family is asked for by itself, so that what goes wrong with one costs the other nothing.
//!
//! The C library asks for both at once, and musl's takes a server's failure to answer for one as the answer for both.

use dns_lookup::{AddrFamily, AddrInfoHints, SockType};
use hyper_util::client::legacy::connect::dns::Name;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};

/// How long one family waits for the other (RFC 8305).
const GRACE: Duration = Duration::from_millis(50);
/// Look-ups that run or hang at once: each has a thread, which lives as long as the name servers let it.
const MAX_LOOKUPS: usize = 8;
/// The C library's buffers, several times over.
const STACK_BYTES: usize = 256 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

type Lookup = dyn Fn(&str, Family) -> io::Result<Vec<IpAddr>> + Send + Sync;
type Found = io::Result<Vec<IpAddr>>;

/// Finds addresses.
#[derive(Clone)]
pub(crate) struct Names {
    lookup: Arc<Lookup>,
    places: Arc<Semaphore>,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

impl Names {
    /// By the system's own means.
    pub(crate) fn of_the_system() -> Self {
        Self::by(system)
    }

    pub(crate) fn by(lookup: impl Fn(&str, Family) -> Found + Send + Sync + 'static) -> Self {
        Self { lookup: Arc::new(lookup), places: Arc::new(Semaphore::new(MAX_LOOKUPS)) }
    }

    /// The addresses of both families, without a port, those to try first in front.
    pub(crate) async fn find(&self, name: &str) -> Found {
        // The same to a name server; in the hosts file musl looks for nothing else.
        let name = &name.to_ascii_lowercase();
        let (mut v4, mut v6) = (self.start(name, Family::V4), self.start(name, Family::V6));
        let (first, second) = tokio::select! {
            first = &mut v4 => (ended(first), v6),
            first = &mut v6 => (ended(first), v4),
        };
        let second = if matches!(&first, Ok(found) if !found.is_empty()) {
            tokio::time::timeout(GRACE, second).await.map_or(Ok(Vec::new()), ended)
        } else {
            ended(second.await)
        };
        both(first, second)
    }

    /// Begins one look-up. A thread that cannot be had is an error like any other.
    fn start(&self, name: &str, family: Family) -> oneshot::Receiver<Found> {
        let (tell, told) = oneshot::channel();
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let _ = tell.send(Err(io::Error::other("too many names are being looked up already")));
            return told;
        };
        let (lookup, name) = (Arc::clone(&self.lookup), name.to_owned());
        let thread = std::thread::Builder::new().name("names".to_owned()).stack_size(STACK_BYTES);
        // Where it fails, `tell` is dropped with the closure.
        let _ = thread.spawn(move || {
            let found = lookup(&name, family);
            drop(place);
            let _ = tell.send(found);
        });
        told
    }
}

fn ended(told: Result<Found, oneshot::error::RecvError>) -> Found {
    told.unwrap_or_else(|_| Err(io::Error::other("there is no thread to look the name up in")))
}

/// Puts the families together: what was found counts, whatever became of the other.
fn both(first: Found, second: Found) -> Found {
    let mut all = match (first, second) {
        (Ok(mut first), Ok(second)) => {
            first.extend(second);
            first
        }
        (Ok(found), Err(error)) | (Err(error), Ok(found)) => {
            if found.is_empty() {
                return Err(error);
            }
            found
        }
        (Err(first), Err(second)) => {
            let (first, second) = (first.to_string(), second.to_string());
            let both = if first == second { first } else { format!("{first}; {second}") };
            return Err(io::Error::other(both));
        }
    };
    let v6_first = all.iter().any(|ip| matches!(ip, IpAddr::V6(ip) if is_routed(*ip)));
    all.sort_by_key(|ip| ip.is_ipv6() != v6_first);
    Ok(all)
}

/// Whether this machine has a way there: connecting a datagram socket sends nothing.
fn is_routed(ip: Ipv6Addr) -> bool {
    UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok_and(|socket| socket.connect((ip, 9)).is_ok())
}

/// One family, by the hosts file and the name servers of the system.
fn system(name: &str, family: Family) -> Found {
    let hints = AddrInfoHints {
        address: match family {
            Family::V4 => AddrFamily::Inet.into(),
            Family::V6 => AddrFamily::Inet6.into(),
        },
        socktype: SockType::Stream.into(),
        ..AddrInfoHints::default()
    };
    let found = dns_lookup::getaddrinfo(Some(name), None, Some(hints)).map_err(io::Error::from)?;
    found.map(|entry| entry.map(|entry| entry.sockaddr.ip())).collect()
}

impl tower_service::Service<Name> for Names {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let names = self.clone();
        Box::pin(async move {
            let found = names.find(name.as_str()).await?;
            Ok(found.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect::<Vec<_>>().into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[expect(clippy::unnecessary_wraps, reason = "an answer like the others")]
    fn v4() -> Found {
        Ok(vec![[192, 0, 2, 1].into()])
    }

    #[expect(clippy::unnecessary_wraps, reason = "an answer like the others")]
    fn v6() -> Found {
        Ok(vec!["2001:db8::1".parse().unwrap()])
    }

    fn failed() -> Found {
        Err(io::Error::other("server failure"))
    }

    /// A name server that says nothing until the test ends.
    fn silent(family: Family, answers: impl Fn() -> Found + Send + Sync + 'static) -> (Names, impl Drop) {
        let (end, over) = std::sync::mpsc::channel::<()>();
        let over = Mutex::new(over);
        let names = Names::by(move |_, asked| {
            if asked == family {
                let _ = over.lock().unwrap().recv();
                return failed();
            }
            answers()
        });
        (names, Guard(Some(end)))
    }

    struct Guard(Option<std::sync::mpsc::Sender<()>>);

    impl Drop for Guard {
        fn drop(&mut self) {
            drop(self.0.take());
        }
    }

    #[tokio::test]
    async fn a_family_that_fails_costs_the_other_nothing() {
        for broken in [Family::V4, Family::V6] {
            let other = if broken == Family::V4 { v6 } else { v4 };
            let names = Names::by(move |_, asked| if asked == broken { failed() } else { other() });
            assert_eq!(names.find("x").await.unwrap(), other().unwrap(), "{broken:?} fails");
            let names = Names::by(move |_, asked| if asked == broken { Ok(vec![]) } else { other() });
            assert_eq!(names.find("x").await.unwrap(), other().unwrap(), "{broken:?} has none");
            let (names, _end) = silent(broken, other);
            assert_eq!(names.find("x").await.unwrap(), other().unwrap(), "{broken:?} is silent");
        }
    }

    #[tokio::test]
    async fn where_neither_is_found_the_trouble_is_told() {
        let names = Names::by(|_, family| match family {
            Family::V4 => failed(),
            Family::V6 => Err(io::Error::other("no such name")),
        });
        let told = names.find("x").await.unwrap_err().to_string();
        assert!(told.contains("server failure") && told.contains("no such name"), "{told}");
        let names = Names::by(|_, family| if family == Family::V4 { failed() } else { Ok(vec![]) });
        assert_eq!(names.find("x").await.unwrap_err().to_string(), "server failure");
    }

    #[tokio::test]
    async fn v4_comes_first_where_v6_leads_nowhere_and_all_are_given() {
        let names = Names::by(|_, family| match family {
            Family::V4 => v4(),
            Family::V6 => Ok(vec![Ipv6Addr::LOCALHOST.into()]),
        });
        let found = names.find("x").await.unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].is_ipv6(), is_routed(Ipv6Addr::LOCALHOST));
    }

    #[tokio::test]
    async fn p1_look_ups_that_hang_have_an_end_in_number() {
        let (names, _end) = silent(Family::V4, || Ok(vec![]));
        for _ in 0..MAX_LOOKUPS {
            drop(names.start("x", Family::V4));
        }
        let told = names.find("x").await.unwrap_err().to_string();
        assert!(told.contains("already"), "{told}");
    }

    #[tokio::test]
    async fn the_systems_own_means_know_this_machine_however_it_is_spelled() {
        for name in ["localhost", "LOCALHOST", "127.1", "2130706433", "0x7f000001", "0177.0.0.1"] {
            let found = Names::of_the_system().find(name).await.unwrap();
            assert!(found.iter().all(IpAddr::is_loopback) && !found.is_empty(), "{name}: {found:?}");
        }
    }
}
