//! A `/tmp` without room (SIM-21): a file system of one page, and that page taken.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// The mounted file system; dropping it takes it away, whoever still has files there.
#[derive(Debug)]
pub(crate) struct FullDisk(PathBuf);

impl FullDisk {
    /// Covers a directory. Needs the right to mount.
    pub(crate) fn cover(directory: &Path) -> io::Result<Self> {
        let options = "size=4096,mode=0700";
        mount(Some("full"), directory, Some("tmpfs"), MsFlags::empty(), Some(options))?;
        let disk = Self(directory.to_owned());
        let mut filler = OpenOptions::new().create_new(true).write(true).open(directory.join("filler"))?;
        while filler.write_all(&[0; 512]).is_ok() {}
        // What the loop relies on, for a kernel whose pages are of another size.
        if fs::write(directory.join("probe"), vec![0; 64 * 1024]).is_ok() {
            return Err(io::Error::other("the file system did not fill up"));
        }
        fs::remove_file(directory.join("probe"))?;
        Ok(disk)
    }
}

impl Drop for FullDisk {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}
