//! What could not be sent before the end of the process, left in files for the next one on the same `/tmp` (L-2.2).
//!
//! One file for each outlet, and one for what told why the function could not be loaded, which is nobody's yet. Its name
//! says when it was written, whose it is, and how many spans it stands for. What can be read counts for itself; what
//! can't be counts as its name says, within reason: anybody may have written that.
//! Written beside and renamed: a file is whole or not there.

use crate::accounts::{Accounts, Reason};
use crate::export::pacing::clocks::Moment;
use crate::settings::{OutletKind, Spool};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The first bytes of a file: its format. Then four bytes of CRC-32 of the rest, least significant first.
const MAGIC: &[u8; 8] = b"OXSPOOL1";
const HEAD_BYTES: usize = MAGIC.len() + 4;
/// The end of a file's name.
const SUFFIX: &str = ".spool";
/// And of one that is being written.
const UNFINISHED: &str = ".part";
/// A span is larger than this in any form: a name that says more than fit is not believed.
const MIN_SPAN_BYTES: u64 = 32;
/// An environment leaves a few at most.
const MAX_FILES: usize = 64;

/// Why something could not be left.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    #[error("{path}: {cause}: free some of /tmp, or set OTEL_XRAY_SPOOL to another directory or to off")]
    Io { path: String, cause: io::Error },
    #[error("{path} would hold over {limit_bytes} bytes: raise OTEL_XRAY_SPOOL_KB")]
    Full { path: String, limit_bytes: u64 },
}

/// Whose a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    Outlet(OutletKind),
    /// The invocation that waits for the initialisation which has failed.
    Waiting,
}

impl Owner {
    fn name(self) -> &'static str {
        match self {
            Self::Outlet(outlet) => outlet.name(),
            Self::Waiting => "waiting",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        let is_waiting = (name == Self::Waiting.name()).then_some(Self::Waiting);
        is_waiting.or_else(|| OutletKind::parse(name).map(Self::Outlet))
    }
}

/// One file that was found, and is gone now.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    pub owner: Owner,
    pub is_too_old: bool,
    pub content: Content,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Content {
    Whole(Vec<u8>),
    /// Cut off, changed, or of another version. It may have been so many spans.
    Unreadable {
        spans: u64,
    },
}

impl Found {
    /// What `read` makes of it, with how many spans those are, where it is of use. All of it is counted.
    pub fn of_use<T>(&self, read: impl FnOnce(&[u8]) -> (T, u64)) -> (Option<T>, Accounts) {
        let mut accounts = Accounts::default();
        let payload = match &self.content {
            Content::Whole(payload) => payload,
            Content::Unreadable { spans } => {
                accounts.restore(*spans);
                accounts.drop(Reason::SpoolUnreadable, *spans);
                return (None, accounts);
            }
        };
        let (left, spans) = read(payload);
        accounts.restore(spans);
        if self.is_too_old {
            accounts.drop(Reason::SpoolTooOld, spans);
            return (None, accounts);
        }
        (Some(left), accounts)
    }
}

impl Spool {
    /// Leaves what has not been sent: `payload`, which stands for `spans`.
    pub fn leave(&self, owner: Owner, spans: u64, payload: &[u8], now: Moment) -> Result<(), SpoolError> {
        let failed = |cause| SpoolError::Io { path: self.directory.display().to_string(), cause };
        if !self.directory.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.directory).map_err(failed)?;
        }
        let sizes = self.files().filter_map(|(path, _)| Some(fs::metadata(path).ok()?.len()));
        let there = sizes.fold(0, u64::saturating_add);
        let bytes = there.saturating_add(HEAD_BYTES.saturating_add(payload.len()) as u64);
        if bytes > self.limit_bytes {
            let path = self.directory.display().to_string();
            return Err(SpoolError::Full { path, limit_bytes: self.limit_bytes });
        }
        let name =
            format!("{:013}-{}-{spans}-{}{SUFFIX}", now.unix.as_millis(), owner.name(), std::process::id());
        let unfinished = self.directory.join(format!("{name}{UNFINISHED}"));
        let written =
            write(&unfinished, payload).and_then(|()| fs::rename(&unfinished, self.directory.join(name)));
        written.map_err(|cause| {
            // What is half written is of no use; that it could not be removed either changes nothing.
            let _ = fs::remove_file(&unfinished);
            failed(cause)
        })
    }

    /// Takes every file out of the directory, oldest first. What others keep there is left alone.
    pub fn take(&self, now: Moment) -> Vec<Found> {
        let mut files: Vec<(PathBuf, Name)> = self.files().take(MAX_FILES).collect();
        files.sort_by_key(|(_, name)| name.written);
        let mut found = Vec::new();
        for (path, name) in files {
            // Of one that is not whole, the writer was killed over it.
            let payload = if name.is_whole { read(&path, self.limit_bytes).ok().flatten() } else { None };
            let spans = if name.spans <= self.limit_bytes / MIN_SPAN_BYTES { name.spans } else { 0 };
            let content = payload.map_or(Content::Unreadable { spans }, Content::Whole);
            // A clock that was set back makes a file look new, which costs nothing.
            let is_too_old = now.unix.saturating_sub(name.written) > self.max_age;
            found.push(Found { owner: name.owner, is_too_old, content });
            // One that can't be removed is found again, and sent again: X-Ray takes the same id as the same thing.
            let _ = fs::remove_file(&path);
        }
        found
    }

    /// The files of this kind. Mostly there is no directory at all, and looking for it is all that is done.
    fn files(&self) -> impl Iterator<Item = (PathBuf, Name)> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().filter_map(Result::ok);
        entries
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
            .filter_map(|entry| Some((entry.path(), Name::of(entry.file_name().to_str()?)?)))
    }
}

/// What the name of a file says.
struct Name {
    written: Duration,
    owner: Owner,
    spans: u64,
    is_whole: bool,
}

impl Name {
    fn of(file_name: &str) -> Option<Self> {
        let is_whole = !file_name.ends_with(UNFINISHED);
        let name = file_name.strip_suffix(UNFINISHED).unwrap_or(file_name);
        let mut parts = name.strip_suffix(SUFFIX)?.split('-');
        let written = Duration::from_millis(parts.next()?.parse().ok()?);
        let owner = Owner::parse(parts.next()?)?;
        let spans = parts.next()?.parse().ok()?;
        // The process that wrote it.
        parts.next()?.parse::<u32>().ok()?;
        parts.next().is_none().then_some(Self { written, owner, spans, is_whole })
    }
}

fn write(path: &Path, payload: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(MAGIC)?;
    file.write_all(&checksum(payload).to_le_bytes())?;
    file.write_all(payload)
}

/// The payload, where it is what was written.
fn read(path: &Path, limit_bytes: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    let is_good = |bytes: &[u8]| {
        bytes.len() as u64 <= limit_bytes
            && bytes
                .strip_prefix(MAGIC)
                .and_then(|rest| rest.split_first_chunk::<4>())
                .is_some_and(|(sum, payload)| checksum(payload) == u32::from_le_bytes(*sum))
    };
    Ok(is_good(&bytes).then(|| bytes.split_off(HEAD_BYTES)))
}

fn checksum(payload: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(payload);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    const XRAY: Owner = Owner::Outlet(OutletKind::Xray);
    const OTLP: Owner = Owner::Outlet(OutletKind::Otlp);
    const DAEMON: Owner = Owner::Outlet(OutletKind::Daemon);

    fn spool(directory: &Path) -> Spool {
        Spool { directory: directory.join("spool"), limit_bytes: 1000, max_age: Duration::from_mins(1) }
    }

    fn at(second: u64) -> Moment {
        Moment { unix: Duration::from_secs(1_800_000_000 + second), ..Moment::now() }
    }

    fn whole(owner: Owner, payload: &[u8]) -> Found {
        Found { owner, is_too_old: false, content: Content::Whole(payload.to_vec()) }
    }

    #[test]
    fn l_2_2_what_is_left_is_found_once_and_is_nobody_else_s_to_read() {
        let directory = tempfile::tempdir().unwrap();
        let spool = spool(directory.path());
        assert_eq!(spool.take(at(0)), []);
        spool.leave(OTLP, 2, b"second", at(2)).unwrap();
        spool.leave(XRAY, 3, b"first", at(1)).unwrap();
        spool.leave(Owner::Waiting, 1, b"third", at(3)).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&spool.directory), 0o700);
        for entry in fs::read_dir(&spool.directory).unwrap() {
            assert_eq!(mode(&entry.unwrap().path()), 0o600);
        }
        let found = vec![whole(XRAY, b"first"), whole(OTLP, b"second"), whole(Owner::Waiting, b"third")];
        assert_eq!(spool.take(at(3)), found);
        assert_eq!(spool.take(at(3)), []);
    }

    #[test]
    fn p2_what_cannot_be_used_is_counted_and_removed() {
        const UNREADABLE: Content = Content::Unreadable { spans: 7 };
        let directory = tempfile::tempdir().unwrap();
        let spool = spool(directory.path());
        let change = |how: &dyn Fn(&mut Vec<u8>)| {
            spool.leave(XRAY, 7, b"payload", at(0)).unwrap();
            let path = fs::read_dir(&spool.directory).unwrap().next().unwrap().unwrap().path();
            let mut bytes = fs::read(&path).unwrap();
            how(&mut bytes);
            fs::write(&path, bytes).unwrap();
            let found = spool.take(at(1));
            assert_eq!(found.len(), 1);
            found.into_iter().next().unwrap().content
        };
        assert_eq!(change(&|_| {}), Content::Whole(b"payload".to_vec()));
        assert_eq!(change(&|bytes| bytes[14] ^= 1), UNREADABLE);
        assert_eq!(change(&|bytes| bytes.truncate(15)), UNREADABLE);
        assert_eq!(change(&|bytes| bytes.truncate(3)), UNREADABLE);
        assert_eq!(change(&|bytes| bytes[7] = b'2'), UNREADABLE);
        assert_eq!(change(&|bytes| bytes.extend([0; 2000])), UNREADABLE);

        spool.leave(DAEMON, 1, b"old", at(0)).unwrap();
        let old = Found { is_too_old: true, ..whole(DAEMON, b"old") };
        assert_eq!(spool.take(at(61)), [old]);
        spool.leave(DAEMON, 1, b"ahead", at(100)).unwrap();
        assert_eq!(spool.take(at(0)), [whole(DAEMON, b"ahead")]);

        fs::write(spool.directory.join("1800000000000-otlp-9-1.spool.part"), b"half").unwrap();
        let half = |spans| Found { owner: OTLP, is_too_old: false, content: Content::Unreadable { spans } };
        assert_eq!(spool.take(at(0)), [half(9)]);
        assert_eq!(fs::read_dir(&spool.directory).unwrap().count(), 0);
        for claimed in [32, 1_000_000, u64::MAX] {
            fs::write(spool.directory.join(format!("1800000000000-otlp-{claimed}-1.spool")), b"x").unwrap();
            assert_eq!(spool.take(at(0)), [half(0)], "no directory of this size held {claimed}");
        }
    }

    #[test]
    fn p1_files_of_others_are_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool { directory: directory.path().into(), ..spool(directory.path()) };
        let names = ["notes.txt", "1-pigeon-1-1.spool", "1-xray-1-1-1.spool", "a-xray-1-1.spool"];
        for name in names {
            fs::write(spool.directory.join(name), vec![0; 2000]).unwrap();
        }
        fs::create_dir(spool.directory.join("1-xray-1-1.spool")).unwrap();
        assert_eq!(spool.take(at(0)), []);
        spool.leave(XRAY, 1, b"fits", at(0)).unwrap();
        assert_eq!(spool.take(at(0)), [whole(XRAY, b"fits")]);
        assert_eq!(fs::read_dir(&spool.directory).unwrap().count(), names.len() + 1);
    }

    #[test]
    fn what_does_not_fit_or_cannot_be_written_is_an_error_that_says_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let spool = spool(directory.path());
        spool.leave(XRAY, 1, &[0; 900], at(0)).unwrap();
        let full = spool.leave(OTLP, 1, &[0; 100], at(0)).unwrap_err();
        assert!(full.to_string().contains("OTEL_XRAY_SPOOL_KB"), "{full}");
        let nowhere = Spool { directory: "/dev/null/spool".into(), ..spool };
        let failed = nowhere.leave(XRAY, 1, b"x", at(0)).unwrap_err();
        assert!(failed.to_string().contains("/dev/null/spool"), "{failed}");
        assert_eq!(nowhere.take(at(0)), []);
    }
}
