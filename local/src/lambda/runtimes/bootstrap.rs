//! The managed runtime's `/var/runtime/bootstrap`: wrapper support, then the interpreter's command line.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::lambda::processes::executables::{starting, write_executable};

const ANSWER_LIMIT: Duration = Duration::from_secs(20);

#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    #[error("interpreter {interpreter} cannot be run: {cause}; name a {kind} or newer")]
    Interpreter { kind: &'static str, interpreter: PathBuf, cause: String },
    #[error(
        "{interpreter} has no Lambda runtime client of version 4 or newer; \
         run: {interpreter} -m pip install 'awslambdaric>=4'"
    )]
    NoRuntimeClient { interpreter: PathBuf },
    #[error("the runtime client {path} cannot be read: {source}; name the script that Node.js is to start")]
    Script { path: PathBuf, source: io::Error },
    #[error("the runtime's files cannot be written to {directory}: {source}; check the disk")]
    Write { directory: PathBuf, source: io::Error },
}

/// How a managed runtime starts its process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ManagedStart {
    /// `AWS_EXECUTION_ENV`.
    pub(crate) execution_env: String,
    /// Variables that the runtime sets when the function does not.
    pub(crate) defaults: Vec<(&'static str, String)>,
    /// What the wrapper is handed (section 11).
    pub(crate) command: Vec<String>,
}

impl ManagedStart {
    /// Writes `bootstrap` and returns its path.
    pub(crate) fn write(&self, runtime_dir: &Path, layer_dir: &Path) -> Result<PathBuf, BootstrapError> {
        let bootstrap = runtime_dir.join("bootstrap");
        write_executable(&bootstrap, self.script(layer_dir))
            .map_err(|source| BootstrapError::Write { directory: runtime_dir.to_owned(), source })?;
        Ok(bootstrap)
    }

    /// The managed runtime's own start (L-11.1, L-11.2): the wrapper, if any, gets the interpreter's command line. A
    /// wrapper below `/opt/` is looked up in the layer's directory.
    fn script(&self, layer_dir: &Path) -> String {
        let execution_env = quoted(&self.execution_env);
        let mut defaults = String::new();
        for (name, value) in &self.defaults {
            // Writing to a string cannot fail.
            let _ = writeln!(defaults, "[ -n \"${{{name}+set}}\" ] || export {name}={}", quoted(value));
        }
        let command = self.command.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
        let opt = quoted(&layer_dir.display().to_string());
        format!(
            r#"#!/bin/sh
export AWS_EXECUTION_ENV={execution_env}
{defaults}set -- {command}
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
}

/// Runs an interpreter (found on `PATH` when it is a bare name); returns where it is and what it printed.
pub(crate) async fn ask(
    interpreter: &Path,
    kind: &'static str,
    arguments: &[&OsStr],
) -> Result<(PathBuf, String), BootstrapError> {
    let failed =
        |cause: String| BootstrapError::Interpreter { kind, interpreter: interpreter.to_owned(), cause };
    let located = locate(interpreter).ok_or_else(|| failed("it was not found".to_owned()))?;
    let mut command = Command::new(&located);
    command
        .args(arguments)
        .env_remove("PYTHONPATH")
        .env_remove("NODE_OPTIONS")
        .kill_on_drop(true)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = {
        let _guard = starting();
        command.spawn().map_err(|error| failed(error.to_string()))?
    };
    let output = tokio::time::timeout(ANSWER_LIMIT, child.wait_with_output())
        .await
        .map_err(|_| failed(format!("no answer within {} s", ANSWER_LIMIT.as_secs())))?
        .map_err(|error| failed(error.to_string()))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() || stdout.trim().is_empty() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(failed(stderr.trim().lines().last().unwrap_or("it printed nothing").to_owned()));
    }
    Ok((located, stdout))
}

fn locate(interpreter: &Path) -> Option<PathBuf> {
    if interpreter.components().count() > 1 {
        // Made absolute but not resolved: a virtual environment is found by its interpreter's own path.
        return std::path::absolute(interpreter).ok().filter(|path| path.is_file());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(interpreter)).find(|path| path.is_file())
}

/// One shell word.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn paths_become_one_shell_word() {
        assert_eq!(quoted("/a b/it's"), r"'/a b/it'\''s'");
    }

    #[tokio::test]
    async fn an_interpreter_that_is_none_is_named() {
        for interpreter in ["/does/not/exist", "/bin/false"] {
            let error = ask(Path::new(interpreter), "Python 3.9", &[]).await.unwrap_err();
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
        let start = ManagedStart {
            execution_env: "AWS_Lambda_python3.13".to_owned(),
            defaults: vec![("NODE_PATH", "it's preset".to_owned())],
            command: ["/bin/echo", "/var/runtime/bootstrap.py", "", "a 'b'"].map(str::to_owned).to_vec(),
        };
        let script = start.script(layer.path());
        let own = layer.path().join("wrap it").display().to_string();
        let cases = [
            ("", "/var/runtime/bootstrap.py  a 'b'\n", 0),
            ("/opt/wrap it", "wrapped /bin/echo /var/runtime/bootstrap.py  a 'b'\n", 0),
            (own.as_str(), "wrapped /bin/echo /var/runtime/bootstrap.py  a 'b'\n", 0),
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
