//! The pipe of agents that cannot write a socket synchronously: Node.js has no other way to write before it returns.
//!
//! One pipe per process. An agent claims the pipe by renaming it, which only one process can do, so that frames never mix and
//! the pipe's end is the end of that process. Its first bytes tell the claim, and the next pipe is laid.

use super::agent_socket::read_frames;
use super::process::Fate;
use super::{Connection, Received};
use crate::log::{Level, Log};
use nix::sys::stat::Mode;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::unix::pipe;
use tokio::sync::{Semaphore, mpsc};

/// Pipes that are read at once: a managed instance has eight worker threads for each processor.
const MAX_CONNECTIONS: usize = 256;
/// Where the numbers of connections over pipes begin. Those over the socket stay below.
const FIRST_NUMBER: u64 = 1 << 32;

/// The pipe that waits to be claimed, and where it lies.
#[derive(Debug)]
pub struct Fifo {
    place: Place,
    next: pipe::Receiver,
}

/// Removes what still lies there at the end.
#[derive(Debug)]
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        // Claimed, or removed by the function: then there is nothing left to remove.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Fifo {
    /// Lays the pipe that belongs to the agent socket `name`, for this user alone.
    pub fn lay(name: &str) -> io::Result<Self> {
        Self::lay_at(PathBuf::from(format!("/tmp/.{name}")))
    }

    fn lay_at(path: PathBuf) -> io::Result<Self> {
        let next = lay(&path)?;
        Ok(Self { place: Place(path), next })
    }
}

fn lay(path: &Path) -> io::Result<pipe::Receiver> {
    // Open before it can be claimed: worker threads that start together wait for it. What an earlier extension of this
    // environment has left is replaced: nobody reads it.
    let mut aside = path.as_os_str().to_owned();
    aside.push(".next");
    match std::fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    nix::unistd::mkfifo(aside.as_os_str(), Mode::S_IRUSR | Mode::S_IWUSR)?;
    let receiver = pipe::OpenOptions::new().open_receiver(&aside)?;
    std::fs::rename(&aside, path)?;
    Ok(receiver)
}

/// Reads the frames of each process that claims the pipe, until the receiving side of `out` is gone.
pub async fn serve(fifo: Fifo, out: mpsc::Sender<Received>, log: Log) {
    let Fifo { place: Place(ref path), next: mut waiting } = fifo;
    let readers = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    for number in FIRST_NUMBER.. {
        let Ok(reader) = Arc::clone(&readers).acquire_owned().await else {
            return;
        };
        if waiting.readable().await.is_err() || out.is_closed() {
            return;
        }
        let next = lay(path);
        let (claims, closing) = (out.clone(), log.clone());
        tokio::spawn(async move {
            let connection = Connection(number);
            let pid = read_frames(&mut waiting, connection, &claims, &closing).await;
            let _ = claims.send(Received::Closed(connection, Fate::of(pid))).await;
            drop(reader);
        });
        waiting = match next {
            Ok(next) => next,
            Err(error) => {
                log.once(
                    "agent-fifo",
                    Level::Warn,
                    format_args!(
                        "the next agent pipe {} could not be laid ({error}): the spans of another process of the \
                         function will be missing; make room in /tmp",
                        path.display()
                    ),
                );
                return;
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::test_log;
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;

    const HELLO: &[u8] = b"\x01\x02\0\0\0{}";

    fn claim(path: &Path, name: &str) -> std::fs::File {
        let claimed = path.with_file_name(name);
        std::fs::rename(path, &claimed).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(&claimed).unwrap();
        std::fs::remove_file(&claimed).unwrap();
        file
    }

    async fn next(received: &mut mpsc::Receiver<Received>) -> Received {
        tokio::time::timeout(std::time::Duration::from_secs(10), received.recv()).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_43_each_process_has_a_pipe_of_its_own_and_its_end_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        let fifo = Fifo::lay_at(path.clone()).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let (out, mut received) = mpsc::channel(16);
        let (log, lines) = test_log::capture(Level::Debug);
        let server = tokio::spawn(serve(fifo, out, log));

        let mut first = claim(&path, "first");
        first.write_all(HELLO).unwrap();
        assert!(matches!(next(&mut received).await, Received::Hello(Connection(FIRST_NUMBER), _)));
        let mut second = claim(&path, "second");
        second.write_all(HELLO).unwrap();
        assert!(
            matches!(next(&mut received).await, Received::Hello(Connection(n), _) if n == FIRST_NUMBER + 1)
        );

        // Cut in the middle of a frame, as by a death.
        first.write_all(&[4, 3, 0]).unwrap();
        drop(first);
        assert!(matches!(next(&mut received).await, Received::Closed(Connection(FIRST_NUMBER), _)));
        second.write_all(HELLO).unwrap();
        assert!(
            matches!(next(&mut received).await, Received::Hello(Connection(n), _) if n == FIRST_NUMBER + 1)
        );
        assert!(lines.lock().unwrap().is_empty());

        server.abort();
        assert!(server.await.is_err_and(|error| error.is_cancelled()));
        assert!(!path.exists(), "nothing is left behind");
    }

    #[tokio::test]
    async fn a_claim_without_a_word_makes_room_for_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        let (out, mut received) = mpsc::channel(16);
        let server =
            tokio::spawn(serve(Fifo::lay_at(path.clone()).unwrap(), out, test_log::capture(Level::Debug).0));
        drop(claim(&path, "silent"));
        assert!(matches!(next(&mut received).await, Received::Closed(Connection(FIRST_NUMBER), _)));
        claim(&path, "next").write_all(HELLO).unwrap();
        assert!(
            matches!(next(&mut received).await, Received::Hello(Connection(n), _) if n == FIRST_NUMBER + 1)
        );
        server.abort();
    }

    #[tokio::test]
    async fn l_8_27_all_of_many_that_claim_at_once_are_read() {
        const CLAIMS: usize = 25;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        let (out, mut received) = mpsc::channel(16);
        let (log, lines) = test_log::capture(Level::Debug);
        let server = tokio::spawn(serve(Fifo::lay_at(path.clone()).unwrap(), out, log));
        let claimers = ["a", "b", "c", "d"].map(|name| {
            let (path, claimed) = (path.clone(), path.with_file_name(name));
            std::thread::spawn(move || {
                for _ in 0..CLAIMS {
                    while std::fs::rename(&path, &claimed).is_err() {
                        std::thread::yield_now();
                    }
                    let mut pipe = std::fs::File::options().write(true).open(&claimed).unwrap();
                    pipe.write_all(HELLO).unwrap();
                }
            })
        });
        let mut hellos = 0;
        while hellos < 4 * CLAIMS {
            hellos += usize::from(matches!(next(&mut received).await, Received::Hello(..)));
        }
        assert!(claimers.into_iter().all(|claimer| claimer.join().is_ok()));
        assert!(lines.lock().unwrap().is_empty());
        server.abort();
    }

    #[tokio::test]
    async fn what_an_earlier_extension_left_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        std::fs::write(&path, b"not a pipe").unwrap();
        drop(Fifo::lay_at(path.clone()).unwrap());
        assert!(!path.exists());
        assert!(Fifo::lay_at(folder.path().join("missing/pipe")).is_err());
    }
}
