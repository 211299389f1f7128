//! The managed Python runtime's `/var/runtime`: `bootstrap` with wrapper support, and `bootstrap.py`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::executables::{starting, write_executable};

const BOOTSTRAP_PY: &str = include_str!("bootstrap.py");
const VERSION_LIMIT: Duration = Duration::from_secs(20);
/// Prints version and path of the interpreter (not of a shim that found it), and the major version of the runtime
/// client, 0 without one, looking where the function's process would.
const PROBE: &str = r"
import importlib.metadata, sys
sys.path.insert(0, sys.argv[1])
try:
    client = importlib.metadata.version('awslambdaric').split('.')[0]
except importlib.metadata.PackageNotFoundError:
    client = 0
print('%d.%d' % sys.version_info[:2], client, sys.executable)
";
const CLIENT_MAJOR: u32 = 4;

#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    #[error("Python interpreter {interpreter} cannot be run: {cause}; name a Python 3.9 or newer")]
    Interpreter { interpreter: PathBuf, cause: String },
    #[error(
        "{interpreter} has no Lambda runtime client of version 4 or newer; \
         run: {interpreter} -m pip install 'awslambdaric>=4'"
    )]
    NoRuntimeClient { interpreter: PathBuf },
    #[error("the runtime's files cannot be written to {directory}: {source}; check the disk")]
    Write { directory: PathBuf, source: io::Error },
}

/// An interpreter that was asked who it is.
#[derive(Debug, Clone)]
pub(crate) struct Python {
    pub(crate) interpreter: PathBuf,
    /// `3.13`.
    pub(crate) version: String,
}

impl Python {
    /// Finds the interpreter (on `PATH` when it is a bare name) and checks that the runtime client is there.
    pub(crate) async fn probe(interpreter: &Path, task_dir: &Path) -> Result<Self, BootstrapError> {
        let failed =
            |cause: String| BootstrapError::Interpreter { interpreter: interpreter.to_owned(), cause };
        let located = locate(interpreter).ok_or_else(|| failed("it was not found".to_owned()))?;
        let mut command = Command::new(&located);
        command
            .arg("-c")
            .arg(PROBE)
            .arg(task_dir)
            .env_remove("PYTHONPATH")
            .kill_on_drop(true)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = {
            let _guard = starting();
            command.spawn().map_err(|error| failed(error.to_string()))?
        };
        let output = tokio::time::timeout(VERSION_LIMIT, child.wait_with_output())
            .await
            .map_err(|_| failed(format!("no answer within {} s", VERSION_LIMIT.as_secs())))?
            .map_err(|error| failed(error.to_string()))?;
        let stdout = String::from_utf8_lossy(&output.stdout);
        let answer = stdout.trim().splitn(3, ' ').collect::<Vec<_>>();
        let ([version, client, path], true) = (answer.as_slice(), output.status.success()) else {
            let stderr = String::from_utf8_lossy(&output.stderr);
            return Err(failed(stderr.trim().lines().last().unwrap_or("it printed nothing").to_owned()));
        };
        if client.parse::<u32>().is_ok_and(|major| major < CLIENT_MAJOR) {
            return Err(BootstrapError::NoRuntimeClient { interpreter: interpreter.to_owned() });
        }
        Ok(Self { interpreter: PathBuf::from(path), version: (*version).to_owned() })
    }

    /// Writes the runtime's files and returns the path of `bootstrap`.
    pub(crate) fn write_bootstrap(
        &self,
        runtime_dir: &Path,
        layer_dir: &Path,
    ) -> Result<PathBuf, BootstrapError> {
        let bootstrap = runtime_dir.join("bootstrap");
        let script = bootstrap_script(&self.interpreter, &self.version, runtime_dir, layer_dir);
        // A JSON string is a Python string too, whatever characters the path has.
        let opt = serde_json::Value::from(layer_dir.display().to_string()).to_string();
        let module = BOOTSTRAP_PY.replace("\"{{OPT}}\"", &opt);
        fs::write(runtime_dir.join("bootstrap.py"), module)
            .and_then(|()| write_executable(&bootstrap, script))
            .map_err(|source| BootstrapError::Write { directory: runtime_dir.to_owned(), source })?;
        Ok(bootstrap)
    }
}

fn locate(interpreter: &Path) -> Option<PathBuf> {
    if interpreter.components().count() > 1 {
        // Made absolute but not resolved: a virtual environment is found by its interpreter's own path.
        return std::path::absolute(interpreter).ok().filter(|path| path.is_file());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(interpreter)).find(|path| path.is_file())
}

/// The managed runtime's own start (L-11.1, L-11.2): the wrapper, if any, gets the interpreter's command line. A
/// wrapper below `/opt/` is looked up in the layer's directory.
fn bootstrap_script(interpreter: &Path, version: &str, runtime_dir: &Path, layer_dir: &Path) -> String {
    let interpreter = quoted(interpreter);
    let module = quoted(&runtime_dir.join("bootstrap.py"));
    let opt = quoted(layer_dir);
    format!(
        r#"#!/bin/sh
export AWS_EXECUTION_ENV=AWS_Lambda_python{version}
set -- {interpreter} {module}
[ -z "$AWS_LAMBDA_EXEC_WRAPPER" ] && exec "$@"
case "$AWS_LAMBDA_EXEC_WRAPPER" in
/opt/*) wrapper={opt}/"${{AWS_LAMBDA_EXEC_WRAPPER#/opt/}}" ;;
*) wrapper=$AWS_LAMBDA_EXEC_WRAPPER ;;
esac
if [ ! -f "$wrapper" ]; then
  echo "$AWS_LAMBDA_EXEC_WRAPPER: does not exist"
  exit 127
fi
if [ ! -x "$wrapper" ]; then
  echo "$AWS_LAMBDA_EXEC_WRAPPER: is not an executable"
  exit 126
fi
exec "$wrapper" "$@"
"#
    )
}

/// One shell word.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn paths_become_one_shell_word() {
        assert_eq!(quoted(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }

    #[tokio::test]
    async fn an_interpreter_that_is_none_is_named() {
        for interpreter in ["/does/not/exist", "/bin/false"] {
            let error = Python::probe(Path::new(interpreter), Path::new("/")).await.unwrap_err();
            assert!(matches!(error, BootstrapError::Interpreter { .. }), "{error}");
            assert!(error.to_string().contains(interpreter));
        }
    }

    /// The script with `echo` for an interpreter: what a wrapper is handed, and what happens without one.
    #[test]
    fn l_11_2_wrapper_handling() {
        let layer = tempfile::tempdir().unwrap();
        let write = |name: &str, mode: u32| {
            let path = layer.path().join(name);
            fs::write(&path, "#!/bin/sh\necho wrapped \"$@\"\n").unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        };
        write("wrap it", 0o755);
        write("plain", 0o644);
        let script =
            bootstrap_script(Path::new("/bin/echo"), "3.13", Path::new("/var/runtime"), layer.path());
        let own = layer.path().join("wrap it").display().to_string();
        let cases = [
            ("", "/var/runtime/bootstrap.py\n", 0),
            ("/opt/wrap it", "wrapped /bin/echo /var/runtime/bootstrap.py\n", 0),
            (own.as_str(), "wrapped /bin/echo /var/runtime/bootstrap.py\n", 0),
            ("/opt/none", "/opt/none: does not exist\n", 127),
            ("/opt/plain", "/opt/plain: is not an executable\n", 126),
        ];
        for (wrapper, stdout, status) in cases {
            let output = std::process::Command::new("/bin/sh")
                .args(["-c", &script])
                .env("AWS_LAMBDA_EXEC_WRAPPER", wrapper)
                .output()
                .unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), stdout, "{wrapper}");
            assert_eq!(output.status.code(), Some(status), "{wrapper}");
        }
    }
}
