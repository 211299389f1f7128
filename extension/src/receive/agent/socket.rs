//! The socket on which agents write frames.

use super::frame::{self, Decoder, Frame};
use crate::log::{Level, Log};
use crate::receive::bounds::inlet::Inlet;
use crate::receive::bounds::places::Places;
use crate::received::Fate;
use crate::received::{Connection, Received};
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener as StdListener};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::{UnixListener, UnixStream};

/// Agents connected at once: one per runtime process, and a managed instance runs many.
const MAX_CONNECTIONS: usize = 256;
const READ_BYTES: usize = 16 * 1024;

/// Binds the abstract socket `name`. Nothing is left on disk.
pub fn bind(name: &str) -> io::Result<UnixListener> {
    let listener = StdListener::bind_addr(&SocketAddr::from_abstract_name(name)?)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Accepts agents and reads their frames until the receiving side of `out` is gone. An agent keeps its connection; only
/// what has never said anything makes way for another one.
pub async fn serve(listener: UnixListener, owner_uid: Option<u32>, out: Inlet, log: Log) {
    let places = Places::new(MAX_CONNECTIONS, Duration::MAX);
    for number in 0.. {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                log.once("agent-accept", Level::Warn, format_args!("an agent could not connect: {error}"));
                places.ask_the_idlest();
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        if !from_own_user(&stream, owner_uid) {
            log.once("agent-user", Level::Warn, "refused a connection to the agent socket from another user");
            continue;
        }
        let (out, log) = (out.clone(), log.clone());
        let mut stream = stream;
        let place = places.take().await;
        tokio::spawn(async move {
            let connection = Connection(number);
            // Node.js' is that of the launcher, which has become Node.js.
            let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
            let writer = match place.first_bytes(&mut stream).await {
                Some(first) => read_frames(&mut first.chain(stream), connection, &out, &log).await,
                None => Writer::Process,
            };
            let pid = pid.filter(|_| writer == Writer::Process);
            let _ = out.send(Received::Closed(connection, Fate::of(pid))).await;
            drop(place);
        });
    }
}

/// Only the function's own user (or root) may write spans.
fn from_own_user(stream: &UnixStream, owner_uid: Option<u32>) -> bool {
    match (stream.peer_cred(), owner_uid) {
        (Ok(peer), Some(owner)) => peer.uid() == owner || peer.uid() == 0,
        (_, None) => true,
        (Err(_), Some(_)) => false,
    }
}

/// The user this process runs as: the owner of its entry in `/proc`.
pub fn own_uid() -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").ok().map(|entry| entry.uid())
}

/// Whose end the end of a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writer {
    Process,
    /// One that has said hello again without its process, which lives on (L-8.28).
    Thread,
}

/// Reads frames until the stream is at its end, and tells who has written them.
async fn read_frames(
    stream: &mut (impl AsyncRead + Unpin),
    connection: Connection,
    out: &Inlet,
    log: &Log,
) -> Writer {
    let mut writer = Writer::Process;
    let mut has_said_hello = false;
    let mut decoder = Decoder::default();
    let mut large_room = None;
    loop {
        large_room = match (decoder.large_bytes(), large_room.take()) {
            (Some(bytes), None) => match out.room_for_large(bytes).await {
                Ok(room) => Some(room),
                Err(_) => return writer,
            },
            (Some(_), room) => room,
            (None, _) => None,
        };
        decoder.buffer().reserve(READ_BYTES);
        match stream.read_buf(decoder.buffer()).await {
            Ok(0) | Err(_) => return writer,
            Ok(_) => {}
        }
        while let Some(frame) = decoder.next_frame() {
            match &frame {
                Ok(Frame::Hello(hello)) => {
                    let is_thread = has_said_hello && hello.pid == 0;
                    writer = if is_thread { Writer::Thread } else { Writer::Process };
                    has_said_hello = true;
                }
                Ok(_) => {}
                Err(error) => log.once("agent-frame", Level::Warn, format_args!("from the agent: {error}")),
            }
            let received = frame::received(connection, frame);
            if out.send_weighed(received, decoder.last_frame_bytes()).await.is_err() {
                return writer;
            }
        }
        match decoder.take_shortened() {
            0 => {}
            spans => drop(out.send(Received::Shortened(spans)).await),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::test_log;
    use tokio::io::AsyncWriteExt as _;
    use tokio::sync::mpsc;

    const HELLO: &[u8] = b"\x01\x02\0\0\0{}";

    fn connect(name: &str) -> UnixStream {
        let address = SocketAddr::from_abstract_name(name).unwrap();
        let stream = std::os::unix::net::UnixStream::connect_addr(&address).unwrap();
        stream.set_nonblocking(true).unwrap();
        UnixStream::from_std(stream).unwrap()
    }

    #[tokio::test]
    async fn frames_written_before_a_death_arrive_and_the_end_is_told() {
        let name = format!("otel-xray-test-{}-death", std::process::id());
        let (out, mut received) = mpsc::channel(16);
        let (log, lines) = test_log::capture(Level::Debug);
        let server = tokio::spawn(serve(bind(&name).unwrap(), own_uid(), Inlet::new(out), log));
        let mut agent = connect(&name);
        let mut bytes = vec![1, 2, 0, 0, 0];
        bytes.extend(b"{}");
        bytes.extend([4, 3, 0, 0, 0]);
        agent.write_all(&bytes).await.unwrap();
        drop(agent);
        assert!(matches!(received.recv().await, Some(Received::Hello(Connection(0), _))));
        let closed = received.recv().await;
        assert!(
            matches!(closed, Some(Received::Closed(Connection(0), Fate::Alive))),
            "this process lives on: {closed:?}"
        );
        assert!(lines.lock().unwrap().is_empty(), "a frame cut short by a death is not an error");
        server.abort();
    }

    #[tokio::test]
    async fn l_8_28_a_thread_that_ends_says_hello_without_its_process() {
        let (out, mut received) = mpsc::channel(16);
        let own = format!("{{\"pid\":{}}}", std::process::id());
        for (hellos, writer) in [(vec![&*own], Writer::Process), (vec![&*own, "{\"pid\":0}"], Writer::Thread)]
        {
            let bytes: Vec<u8> = hellos
                .iter()
                .flat_map(|hello| {
                    [&[1][..], &u32::try_from(hello.len()).unwrap().to_le_bytes(), hello.as_bytes()].concat()
                })
                .collect();
            let log = test_log::capture(Level::Debug).0;
            let told = read_frames(&mut &bytes[..], Connection(0), &Inlet::new(out.clone()), &log).await;
            assert_eq!(told, writer);
            for _ in hellos {
                assert!(matches!(received.recv().await, Some(Received::Hello(..))));
            }
        }
    }

    #[tokio::test]
    async fn a_43_a_connection_without_a_word_holds_up_nobody() {
        let name = format!("otel-xray-test-{}-silent", std::process::id());
        let (out, mut received) = mpsc::channel(16);
        let (log, lines) = test_log::capture(Level::Debug);
        let server = tokio::spawn(serve(bind(&name).unwrap(), own_uid(), Inlet::new(out), log));
        let silent = connect(&name);
        let mut agent = connect(&name);
        agent.write_all(b"\x01\x02\0\0\0{}").await.unwrap();
        assert!(matches!(received.recv().await, Some(Received::Hello(Connection(1), _))));
        drop(silent);
        assert!(matches!(received.recv().await, Some(Received::Closed(Connection(0), _))));
        agent.write_all(b"\x01\x02\0\0\0{}").await.unwrap();
        assert!(matches!(received.recv().await, Some(Received::Hello(Connection(1), _))));
        assert!(lines.lock().unwrap().is_empty());
        server.abort();
    }

    #[tokio::test]
    async fn l_8_27_all_of_many_that_connect_at_once_are_read() {
        let name = format!("otel-xray-test-{}-many", std::process::id());
        let (out, mut received) = mpsc::channel(16);
        let (log, lines) = test_log::capture(Level::Debug);
        let server = tokio::spawn(serve(bind(&name).unwrap(), own_uid(), Inlet::new(out), log));
        let mut agents: Vec<UnixStream> = (0..MAX_CONNECTIONS).map(|_| connect(&name)).collect();
        for agent in &mut agents {
            agent.write_all(b"\x01\x02\0\0\0{}").await.unwrap();
        }
        for _ in 0..MAX_CONNECTIONS {
            assert!(matches!(received.recv().await, Some(Received::Hello(..))));
        }
        assert!(lines.lock().unwrap().is_empty());
        server.abort();
    }

    #[tokio::test]
    async fn b_8_a_taken_name_is_an_error_not_a_panic() {
        let name = format!("otel-xray-test-{}-taken", std::process::id());
        let _first = bind(&name).unwrap();
        assert_eq!(bind(&name).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn what_has_never_said_anything_makes_way_and_no_agent_does() {
        let name = format!("otel-xray-test-{}-places", std::process::id());
        let (out, mut received) = mpsc::channel(16);
        let log = test_log::capture(Level::Debug).0;
        let server = tokio::spawn(serve(bind(&name).unwrap(), own_uid(), Inlet::new(out), log));
        let mut agents = vec![connect(&name)];
        agents[0].write_all(HELLO).await.unwrap();
        let said = received.recv().await;
        assert!(matches!(said, Some(Received::Hello(Connection(0), _))));
        let mut silent: Vec<_> = (1..MAX_CONNECTIONS).map(|_| connect(&name)).collect();
        for number in MAX_CONNECTIONS..MAX_CONNECTIONS + 10 {
            agents.push(connect(&name));
            agents.last_mut().unwrap().write_all(HELLO).await.unwrap();
            let mut said = received.recv().await;
            if matches!(said, Some(Received::Closed(..))) {
                said = received.recv().await;
            }
            assert!(
                matches!(said, Some(Received::Hello(Connection(one), _)) if one == number as u64),
                "{said:?}"
            );
        }
        for gone in &mut silent[..10] {
            assert_eq!(gone.read(&mut [0]).await.unwrap(), 0);
        }
        for agent in &mut agents {
            agent.write_all(HELLO).await.unwrap();
        }
        server.abort();
    }
}
