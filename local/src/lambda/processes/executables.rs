//! Keeps writing executables and starting processes apart.
//!
//! A child that is forked while another thread has an executable open for writing holds that descriptor until its own
//! `exec`. Whoever starts the new executable in that moment gets "text file busy".

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static STARTING: RwLock<()> = RwLock::new(());

/// Held while a process is started.
pub(crate) fn starting() -> RwLockReadGuard<'static, ()> {
    STARTING.read().unwrap_or_else(PoisonError::into_inner)
}

/// Held while an executable is written.
pub(crate) fn writing() -> RwLockWriteGuard<'static, ()> {
    STARTING.write().unwrap_or_else(PoisonError::into_inner)
}

/// Writes an executable file, mode 0755, that an environment in this process can start at once.
pub fn write_executable(path: &Path, content: impl AsRef<[u8]>) -> io::Result<()> {
    let _guard = writing();
    fs::write(path, content)?;
    fs::set_permissions(path, Permissions::from_mode(0o755))
}
