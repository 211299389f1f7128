//! The directory that stands for `/opt`, unpacked from a layer zip or used as it is: the command line opens and checks
//! it. Where its extension listens is settled when an environment is started.

mod port_holder;
pub(crate) mod receivers;

use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use tempfile::TempDir;
use zip::ZipArchive;
use zip::result::ZipError;

use crate::lambda::processes::executables::writing;

/// Lambda's limit for function and layers together, unzipped.
const UNZIPPED_LIMIT_BYTES: u64 = 250 * 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    #[error("layer {path} does not exist; build it first, or name another file")]
    Missing { path: PathBuf },
    #[error("layer {path} cannot be read: {source}; check the file's permissions")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("layer {path} is not a usable zip file: {source}; build or download it again")]
    BadZip { path: PathBuf, source: ZipError },
    #[error(
        "layer {path} holds the unsafe path {entry:?}, outside of the layer's root; build the zip with relative paths"
    )]
    UnsafePath { path: PathBuf, entry: String },
    #[error("layer {path} holds {entry:?} in a way that cannot be unpacked: {source}; build the zip again")]
    BadEntry { path: PathBuf, entry: String, source: io::Error },
    #[error(
        "layer {path} has no folder extensions/ at its top, so that nothing of it would be started; name the layer's \
         zip, or the folder that becomes /opt"
    )]
    NoExtensions { path: PathBuf },
    #[error(
        "layer {path} has no {wrapper}, which the function is to be started through; build the layer again, or say \
         --no-wrapper"
    )]
    NoWrapper { path: PathBuf, wrapper: String },
    #[error(
        "layer {path} is for another machine: its {file} is built for {architecture}, and this is {own}; name the \
         layer for {own}"
    )]
    OtherArchitecture { path: PathBuf, file: String, architecture: &'static str, own: &'static str },
    #[error("layer {path} is larger than Lambda allows: more than 250 MB unzipped; leave files out")]
    TooLarge { path: PathBuf },
}

/// A layer on disk. An unpacked zip is removed when the value is dropped.
#[derive(Debug)]
pub struct Layer {
    path: PathBuf,
    directory: PathBuf,
    _unpacked: Option<TempDir>,
}

impl Layer {
    /// Uses a directory as it is, or unpacks a zip, modes kept, into a temporary directory.
    pub fn open(path: &Path) -> Result<Self, LayerError> {
        let metadata = fs::metadata(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => LayerError::Missing { path: path.to_owned() },
            _ => LayerError::Unreadable { path: path.to_owned(), source },
        })?;
        let unreadable = |source| LayerError::Unreadable { path: path.to_owned(), source };
        if metadata.is_dir() {
            let directory = fs::canonicalize(path).map_err(unreadable)?;
            return Ok(Self { path: path.to_owned(), directory, _unpacked: None });
        }
        let file = File::open(path).map_err(unreadable)?;
        let unpacked = tempfile::Builder::new().prefix("lambda-opt-").tempdir().map_err(unreadable)?;
        // mkdtemp makes the directory private; /opt is readable by every user.
        fs::set_permissions(unpacked.path(), Permissions::from_mode(0o755)).map_err(unreadable)?;
        {
            let _guard = writing();
            unpack(path, file, unpacked.path())?;
        }
        let directory = unpacked.path().to_owned();
        Ok(Self { path: path.to_owned(), directory, _unpacked: Some(unpacked) })
    }

    /// Whether it can do what is asked of it on this machine. `wrapper` is a file of the layer that the function is to be
    /// started through.
    pub fn check(&self, wrapper: Option<&str>) -> Result<(), LayerError> {
        let path = || self.path.clone();
        let Ok(extensions) = fs::read_dir(self.directory.join("extensions")) else {
            return Err(LayerError::NoExtensions { path: path() });
        };
        let mut programs: Vec<String> =
            extensions.flatten().map(|entry| format!("extensions/{}", entry.file_name().display())).collect();
        programs.sort();
        if let Some(wrapper) = wrapper {
            if !self.directory.join(wrapper).is_file() {
                return Err(LayerError::NoWrapper { path: path(), wrapper: wrapper.to_owned() });
            }
            programs.push(wrapper.to_owned());
        }
        for file in programs {
            let architecture = architecture_of(&self.directory.join(&file));
            if let Some(architecture) = architecture.filter(|architecture| *architecture != OWN) {
                return Err(LayerError::OtherArchitecture { path: path(), file, architecture, own: OWN });
            }
        }
        Ok(())
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

/// By its name on Lambda.
const OWN: &str = if cfg!(target_arch = "aarch64") { ARM64 } else { X86_64 };
const ARM64: &str = "arm64";
const X86_64: &str = "x86_64";

/// What a program is built for; none for a script, or for what Lambda does not have.
fn architecture_of(program: &Path) -> Option<&'static str> {
    let mut head = [0; 20];
    File::open(program).and_then(|mut file| file.read_exact(&mut head)).ok()?;
    match (head.starts_with(b"\x7fELF"), u16::from_le_bytes([head[18], head[19]])) {
        (true, 183) => Some(ARM64),
        (true, 62) => Some(X86_64),
        _ => None,
    }
}

fn unpack(zip_path: &Path, file: File, root: &Path) -> Result<(), LayerError> {
    let bad_zip = |source| LayerError::BadZip { path: zip_path.to_owned(), source };
    let mut archive = ZipArchive::new(file).map_err(bad_zip)?;
    let mut remaining_bytes = UNZIPPED_LIMIT_BYTES;
    // Links come last, so that no file is ever written through one.
    let mut links = Vec::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(bad_zip)?;
        let name = entry.name().map_err(bad_zip)?.into_owned();
        let unsafe_path = || LayerError::UnsafePath { path: zip_path.to_owned(), entry: name.clone() };
        let bad_entry =
            |source| LayerError::BadEntry { path: zip_path.to_owned(), entry: name.clone(), source };
        if !is_inside(Path::new(&name)) {
            return Err(unsafe_path());
        }
        let target = root.join(&name);
        if entry.is_dir() {
            fs::create_dir_all(&target).map_err(bad_entry)?;
            continue;
        }
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(bad_entry)?;
        }
        if entry.is_symlink() {
            let mut link = String::new();
            entry.by_ref().take(4_096).read_to_string(&mut link).map_err(bad_entry)?;
            if !link_stays_inside(Path::new(&name), Path::new(&link)) {
                return Err(unsafe_path());
            }
            links.push((target, link, name.clone()));
            continue;
        }
        let mode = entry.unix_mode().unwrap_or(0o644) & 0o777;
        let mut output = File::create(&target).map_err(bad_entry)?;
        let written =
            io::copy(&mut entry.by_ref().take(remaining_bytes + 1), &mut output).map_err(bad_entry)?;
        remaining_bytes = remaining_bytes
            .checked_sub(written)
            .ok_or_else(|| LayerError::TooLarge { path: zip_path.to_owned() })?;
        fs::set_permissions(&target, Permissions::from_mode(mode)).map_err(bad_entry)?;
    }
    for (target, link, name) in links {
        symlink(link, target).map_err(|source| LayerError::BadEntry {
            path: zip_path.to_owned(),
            entry: name,
            source,
        })?;
    }
    Ok(())
}

fn is_inside(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
        && path.components().any(|part| matches!(part, Component::Normal(_)))
}

/// Whether a link's target lies inside the root: `..` only at its beginning, no more of them than the link is deep.
fn link_stays_inside(link: &Path, target: &Path) -> bool {
    let depth =
        link.components().filter(|part| matches!(part, Component::Normal(_))).count().saturating_sub(1);
    let ups = target.components().take_while(|part| matches!(part, Component::ParentDir)).count();
    let rest_is_plain =
        target.components().skip(ups).all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    ups <= depth && rest_is_plain
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    fn zip_of(write: impl FnOnce(&mut ZipWriter<File>)) -> (TempDir, PathBuf) {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("layer.zip");
        let mut writer = ZipWriter::new(File::create(&path).unwrap());
        write(&mut writer);
        writer.finish().unwrap();
        (directory, path)
    }

    #[test]
    fn modes_and_links_are_kept() {
        let (_keep, path) = zip_of(|zip| {
            let executable = SimpleFileOptions::default().unix_permissions(0o755);
            zip.start_file("extensions/collector", executable).unwrap();
            zip.write_all(b"#!/bin/sh\n").unwrap();
            zip.start_file("python/agent.py", SimpleFileOptions::default().unix_permissions(0o600)).unwrap();
            zip.add_symlink("python/link.py", "../extensions/collector", SimpleFileOptions::default())
                .unwrap();
        });
        let layer = Layer::open(&path).unwrap();
        let mode =
            |name: &str| fs::metadata(layer.directory().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("extensions/collector"), 0o755);
        assert_eq!(mode("python/agent.py"), 0o600);
        assert_eq!(fs::read(layer.directory().join("python/link.py")).unwrap(), b"#!/bin/sh\n");
        let directory = layer.directory().to_owned();
        drop(layer);
        assert!(!directory.exists());
    }

    #[test]
    fn paths_and_links_that_leave_the_root_are_refused() {
        for name in ["../outside", "/etc/outside", "a/../../outside"] {
            let (_keep, path) = zip_of(|zip| {
                zip.start_file(name, SimpleFileOptions::default()).unwrap();
                zip.write_all(b"x").unwrap();
            });
            let error = Layer::open(&path).unwrap_err();
            assert!(matches!(error, LayerError::UnsafePath { .. }), "{name}: {error}");
        }
        for (link, target, inside) in [
            ("a/link", "../b", true),
            ("link", "b/c", true),
            ("link", "../b", false),
            ("a/link", "b/../../../c", false),
            ("a/link", "/etc", false),
        ] {
            assert_eq!(link_stays_inside(Path::new(link), Path::new(target)), inside, "{link} -> {target}");
        }
    }

    #[test]
    fn a_layer_that_cannot_do_what_is_asked_of_it_says_why() {
        let directory = TempDir::new().unwrap();
        let layer = Layer::open(directory.path()).unwrap();
        let said = |wrapper| layer.check(wrapper).map_err(|error| error.to_string());
        let write = |name: &str, content: &[u8]| fs::write(directory.path().join(name), content).unwrap();
        let mut program = b"\x7fELF\x02\x01\x01".to_vec();
        program.resize(64, 0);
        assert!(said(None).unwrap_err().contains("has no folder extensions/"));
        fs::create_dir(directory.path().join("extensions")).unwrap();
        assert_eq!(said(None), Ok(()));
        assert!(said(Some("otel-instrument")).unwrap_err().contains("has no otel-instrument"));
        write("otel-instrument", b"#!/bin/sh\nexec \"$@\"\n");
        write("extensions/script", b"#!/bin/sh\n");
        assert_eq!(said(Some("otel-instrument")), Ok(()));
        for (machine, name) in [(183_u8, "arm64"), (62, "x86_64")] {
            program[18] = machine;
            for file in ["extensions/collector", "otel-instrument"] {
                write(file, &program);
                let expected = format!("its {file} is built for {name}, and this is {OWN}");
                match said(Some("otel-instrument")) {
                    Ok(()) => assert_eq!(name, OWN),
                    Err(error) => assert!(name != OWN && error.contains(&expected), "{error}"),
                }
                write(file, b"#!/bin/sh\n");
            }
        }
    }

    #[test]
    fn a_missing_file_and_a_bad_zip_are_named() {
        let directory = TempDir::new().unwrap();
        let missing = Layer::open(&directory.path().join("none.zip")).unwrap_err();
        assert!(matches!(missing, LayerError::Missing { .. }), "{missing}");
        let path = directory.path().join("bad.zip");
        fs::write(&path, "not a zip").unwrap();
        let bad = Layer::open(&path).unwrap_err();
        assert!(matches!(bad, LayerError::BadZip { .. }), "{bad}");
        assert!(bad.to_string().contains("bad.zip"));
    }
}
