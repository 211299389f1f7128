//! The processes of an environment: each in its own process group, output read line by line, exits reported. `lifecycle`
//! starts and signals them; a [`ProcessObserver`] hears of their lines and exits.

mod control_group;
pub(crate) mod executables;
pub(crate) mod freeze;
pub(crate) mod full_disk;
pub(crate) mod memory;
mod table;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::lambda::event_log::{Event, EventLog, Origin, OutputStream, ProcessExit};
use executables::starting;

/// A longer line is logged in pieces of this size.
const LINE_LIMIT_BYTES: usize = 256 * 1024;
/// How long output may keep coming after the process group is dead.
const OUTPUT_GRACE: Duration = Duration::from_secs(1);

/// The environment of a process.
pub(crate) type Variables = BTreeMap<String, String>;

/// What is told of a process while it runs.
pub(crate) trait ProcessObserver: Send + Sync + 'static {
    fn line(&self, origin: &Origin, stream: OutputStream, text: &str);
    fn exited(&self, origin: &Origin, exit: ProcessExit);
}

/// A child that leads its own process group. Dropping it kills the group, stopped or not.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) origin: Origin,
    pub(crate) pid: u32,
    group: Pid,
    exit: watch::Receiver<Option<ProcessExit>>,
    readers: Vec<JoinHandle<()>>,
    log: EventLog,
}

/// How to start a process.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    pub(crate) origin: Origin,
    pub(crate) program: &'a Path,
    pub(crate) arguments: &'a [String],
    pub(crate) directory: &'a Path,
    pub(crate) variables: &'a Variables,
}

impl Process {
    pub(crate) fn start(
        launch: Launch<'_>,
        log: &EventLog,
        observer: &std::sync::Arc<impl ProcessObserver>,
    ) -> io::Result<Self> {
        check_format(launch.program)?;
        let guard = starting();
        let mut child = Command::new(launch.program)
            .args(launch.arguments)
            .current_dir(launch.directory)
            .env_clear()
            .envs(launch.variables)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        drop(guard);
        let pid = child.id().ok_or_else(|| io::Error::other("the process ended before it had an id"))?;
        let group = i32::try_from(pid).map(Pid::from_raw).map_err(io::Error::other)?;
        log.push(Event::ProcessStarted { origin: launch.origin.clone(), pid });
        let mut readers = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            let (observer, origin) = (observer.clone(), launch.origin.clone());
            readers.push(tokio::spawn(read_lines(stdout, move |text| {
                observer.line(&origin, OutputStream::Stdout, text);
            })));
        }
        if let Some(stderr) = child.stderr.take() {
            let (observer, origin) = (observer.clone(), launch.origin.clone());
            readers.push(tokio::spawn(read_lines(stderr, move |text| {
                observer.line(&origin, OutputStream::Stderr, text);
            })));
        }
        let (exit_sender, exit) = watch::channel(None);
        let (observer, origin, exit_log) = (observer.clone(), launch.origin.clone(), log.clone());
        tokio::spawn(async move {
            // Waiting fails only for a child that somebody else has reaped: its status is then unknown.
            let exit = child.wait().await.map_or(ProcessExit::Signal(0), ProcessExit::from);
            exit_log.push(Event::ProcessExited { origin: origin.clone(), exit });
            exit_sender.send_replace(Some(exit));
            observer.exited(&origin, exit);
        });
        Ok(Self { origin: launch.origin, pid, group, exit, readers, log: log.clone() })
    }

    pub(crate) fn exit(&self) -> Option<ProcessExit> {
        *self.exit.borrow()
    }

    pub(crate) async fn wait(&self) -> ProcessExit {
        let mut exit = self.exit.clone();
        match exit.wait_for(Option::is_some).await {
            Ok(status) => status.unwrap_or(ProcessExit::Signal(0)),
            // The waiting task ends only after it has sent the status, or with the whole runtime.
            Err(_) => ProcessExit::Signal(0),
        }
    }

    /// Sends a signal to the whole group; a group that is gone is not an error.
    pub(crate) fn signal(&self, signal: Signal) {
        match killpg(self.group, signal) {
            Ok(()) => {
                self.log.push(Event::SignalSent { origin: self.origin.clone(), signal: signal.as_str() });
            }
            Err(Errno::ESRCH) => {}
            Err(error) => self.log.push(Event::PlatformLine(format!(
                "{} could not be sent to {}: {error}",
                signal.as_str(),
                self.origin
            ))),
        }
    }

    /// Kills what is left of the group and reads the rest of the output.
    pub(crate) async fn finish(mut self) {
        let _ = killpg(self.group, Signal::SIGKILL);
        self.wait().await;
        for reader in std::mem::take(&mut self.readers) {
            let abort = reader.abort_handle();
            if tokio::time::timeout(OUTPUT_GRACE, reader).await.is_err() {
                abort.abort();
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Only while the leader is not yet reaped is its group id certain to be still this group's.
        if self.exit().is_none() {
            let _ = killpg(self.group, Signal::SIGKILL);
        }
    }
}

async fn read_lines(stream: impl AsyncRead + Unpin, mut line: impl FnMut(&str)) {
    let mut reader = BufReader::new(stream);
    let mut buffer = Vec::new();
    while let Ok(available) = reader.fill_buf().await {
        if available.is_empty() {
            break;
        }
        let newline = available.iter().position(|byte| *byte == b'\n');
        let room = LINE_LIMIT_BYTES - buffer.len();
        let taken = newline.unwrap_or(available.len()).min(room);
        buffer.extend_from_slice(&available[..taken]);
        let ends_here = newline == Some(taken);
        reader.consume(taken + usize::from(ends_here));
        if ends_here || buffer.len() == LINE_LIMIT_BYTES {
            line(&String::from_utf8_lossy(&buffer));
            buffer.clear();
        }
    }
    if !buffer.is_empty() {
        line(&String::from_utf8_lossy(&buffer));
    }
}

/// Refuses what the kernel would refuse. Without this the C library would hand an unknown format to `/bin/sh`,
/// and a broken layer (L-1.5) would seem to work.
fn check_format(program: &Path) -> io::Result<()> {
    let mut head = Vec::new();
    match File::open(program) {
        Ok(file) => file.take(20).read_to_end(&mut head)?,
        // Executable but not readable is allowed; what cannot be started at all fails in the spawn.
        Err(_) => return Ok(()),
    };
    let machine = match std::env::consts::ARCH {
        "x86_64" => 62,
        "aarch64" => 183,
        _ => return Ok(()),
    };
    let known = head.starts_with(b"#!")
        || (head.starts_with(b"\x7fELF") && head.get(18..20) == Some(u16::to_le_bytes(machine).as_slice()));
    if known { Ok(()) } else { Err(io::Error::from_raw_os_error(Errno::ENOEXEC as i32)) }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Default)]
    struct Lines(Mutex<Vec<(OutputStream, String)>>);

    impl ProcessObserver for Lines {
        fn line(&self, _: &Origin, stream: OutputStream, text: &str) {
            self.0.lock().unwrap().push((stream, text.to_owned()));
        }

        fn exited(&self, _: &Origin, _: ProcessExit) {}
    }

    fn shell(script: &str) -> (Process, Arc<Lines>, EventLog) {
        let (lines, log) = (Arc::new(Lines::default()), EventLog::new());
        let launch = Launch {
            origin: Origin::Runtime,
            program: Path::new("/bin/sh"),
            arguments: &["-c".to_owned(), script.to_owned()],
            directory: Path::new("/"),
            variables: &Variables::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
        };
        (Process::start(launch, &log, &lines).unwrap(), lines, log)
    }

    #[tokio::test]
    async fn lines_of_both_streams_and_the_exit_status() {
        let (process, lines, _) = shell("echo one; echo two >&2; printf three; exit 7");
        assert_eq!(process.wait().await, ProcessExit::Code(7));
        process.finish().await;
        let mut lines = lines.0.lock().unwrap().clone();
        lines.sort_by(|left, right| left.1.cmp(&right.1));
        let expected = [
            (OutputStream::Stdout, "one".to_owned()),
            (OutputStream::Stdout, "three".to_owned()),
            (OutputStream::Stderr, "two".to_owned()),
        ];
        assert_eq!(lines, expected);
    }

    #[tokio::test]
    async fn a_signal_reaches_the_whole_group() {
        let (process, _, log) = shell("sleep 600 & sleep 600");
        process.signal(Signal::SIGTERM);
        assert_eq!(process.wait().await, ProcessExit::Signal(Signal::SIGTERM as i32));
        // The child of the shell holds the output open: this returns early only if it was killed too.
        process.finish().await;
        assert_eq!(log.count(|event| matches!(event, Event::SignalSent { signal: "SIGTERM", .. })), 1);
    }

    #[tokio::test]
    async fn long_lines_come_in_pieces() {
        let mut pieces = Vec::new();
        let text = vec![b'x'; LINE_LIMIT_BYTES + 3];
        read_lines(text.as_slice(), |piece| pieces.push(piece.len())).await;
        assert_eq!(pieces, [LINE_LIMIT_BYTES, 3]);
    }

    #[test]
    fn l_1_5_only_scripts_and_programs_of_this_architecture_start() {
        let directory = tempfile::tempdir().unwrap();
        let other_machine: u8 = if cfg!(target_arch = "x86_64") { 183 } else { 62 };
        let mut foreign = b"\x7fELF".to_vec();
        foreign.extend([0; 14]);
        foreign.extend([other_machine, 0]);
        let cases = [(b"#!/bin/sh\n".to_vec(), true), (b"echo hello\n".to_vec(), false), (foreign, false)];
        for (index, (content, starts)) in cases.into_iter().enumerate() {
            let path = directory.path().join(index.to_string());
            std::fs::write(&path, content).unwrap();
            assert_eq!(check_format(&path).is_ok(), starts, "case {index}");
        }
    }
}
