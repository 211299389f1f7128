//! The Extensions API and X-Ray, each one thread on a loopback port.

use anyhow::{Context as _, Result};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Longest body a stand-in reads.
const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;

/// One request a stand-in has seen.
#[derive(Debug)]
pub struct Seen {
    pub at: Instant,
    pub path: String,
    pub body_bytes: usize,
}

/// The Extensions API: `next` blocks until an event is handed in.
#[derive(Debug)]
pub struct Platform {
    pub address: SocketAddr,
    pub seen: Receiver<Seen>,
    events: Sender<String>,
}

impl Platform {
    /// Serves one extension process.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let (seen_in, seen) = channel();
        let (events, waiting) = channel::<String>();
        std::thread::spawn(move || {
            let waiting = Arc::new(Mutex::new(Some(waiting)));
            while let Ok((stream, _)) = listener.accept() {
                let (seen_in, waiting) = (seen_in.clone(), Arc::clone(&waiting));
                std::thread::spawn(move || serve_extension(stream, &seen_in, &waiting));
            }
        });
        Ok(Self { address, seen, events })
    }

    /// Answers the `next` that is waiting, or the one to come.
    pub fn send(&self, event: &serde_json::Value) -> Result<()> {
        self.events.send(event.to_string()).context("the stand-in has stopped")
    }

    /// Waits for the next request of this path.
    pub fn wait_for(&self, path: &str) -> Result<Instant> {
        loop {
            let seen = self.seen.recv_timeout(Duration::from_secs(10)).context("no request came in 10 s")?;
            if seen.path == path {
                return Ok(seen.at);
            }
        }
    }
}

pub const NEXT: &str = "/2020-01-01/extension/event/next";

fn serve_extension(
    stream: TcpStream,
    seen: &Sender<Seen>,
    waiting: &Mutex<Option<Receiver<String>>>,
) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    while let Some(request) = read_request(&mut reader)? {
        let is_next = request.path == NEXT;
        seen.send(request)?;
        if is_next {
            let events = waiting
                .lock()
                .ok()
                .and_then(|mut waiting| waiting.take())
                .context("two connections ask for events")?;
            // From here on this connection is the loop.
            while let Ok(event) = events.recv() {
                answer(&mut stream, "Lambda-Extension-Event-Identifier: e\r\n", &event)?;
                match read_request(&mut reader)? {
                    Some(request) => seen.send(request)?,
                    None => return Ok(()),
                }
            }
            return Ok(());
        }
        let body = r#"{"functionName":"bench","functionVersion":"$LATEST","handler":"app.handler"}"#;
        answer(&mut stream, "Lambda-Extension-Identifier: 11111111-1111-4111-8111-111111111111\r\n", body)?;
    }
    Ok(())
}

/// How a far end fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failing {
    Status(u16),
    /// By a TCP reset, without an answer.
    Reset,
    /// Nobody listens.
    Refuses,
}

/// X-Ray: accepts everything, and tells when and how much.
#[derive(Debug)]
pub struct XRay {
    pub address: SocketAddr,
    pub seen: Receiver<Seen>,
}

impl XRay {
    pub fn start() -> Result<Self> {
        Self::answering(|stream| answer(stream, "", r#"{"UnprocessedTraceSegments":[]}"#))
    }

    /// One that takes nothing.
    pub fn failing(how: Failing) -> Result<Self> {
        Self::answering(move |stream| match how {
            Failing::Status(status) => answer_with(stream, status, "", r#"{"message":"told to"}"#),
            Failing::Reset | Failing::Refuses => {
                socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO))?;
                anyhow::bail!("no answer")
            }
        })
    }

    fn answering(answer: impl Fn(&mut TcpStream) -> Result<()> + Clone + Send + 'static) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let (seen_in, seen) = channel();
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let (seen_in, answer) = (seen_in.clone(), answer.clone());
                std::thread::spawn(move || -> Result<()> {
                    stream.set_nodelay(true)?;
                    let mut reader = BufReader::new(stream.try_clone()?);
                    let mut stream = stream;
                    while let Some(request) = read_request(&mut reader)? {
                        // Nobody need be there to be told.
                        let _ = seen_in.send(request);
                        answer(&mut stream)?;
                    }
                    Ok(())
                });
            }
        });
        Ok(Self { address, seen })
    }
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Result<Option<Seen>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let at = Instant::now();
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut body_bytes = 0;
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let header = line.trim_end();
        if header.is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            body_bytes = value.trim().parse().context("content-length")?;
        }
    }
    anyhow::ensure!(body_bytes <= MAX_BODY_BYTES, "a body of {body_bytes} bytes");
    reader.by_ref().take(body_bytes as u64).read_to_end(&mut Vec::with_capacity(body_bytes))?;
    Ok(Some(Seen { at, path, body_bytes }))
}

fn answer(stream: &mut TcpStream, headers: &str, body: &str) -> Result<()> {
    answer_with(stream, 200, headers, body)
}

fn answer_with(stream: &mut TcpStream, status: u16, headers: &str, body: &str) -> Result<()> {
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status} So\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(answer.as_bytes())?;
    Ok(())
}
