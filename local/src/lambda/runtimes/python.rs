//! The managed Python runtime: its interpreter, its runtime client and `bootstrap.py`.

use std::fs;
use std::path::{Path, PathBuf};

use super::bootstrap::{BootstrapError, ManagedStart, ask};

const BOOTSTRAP_PY: &str = include_str!("python_bootstrap.py");
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
        let (_, stdout) =
            ask(interpreter, "Python 3.9", &["-c".as_ref(), PROBE.as_ref(), task_dir.as_os_str()]).await?;
        let answer = stdout.trim().splitn(3, ' ').collect::<Vec<_>>();
        let [version, client, path] = answer.as_slice() else {
            let cause = format!("it answered {stdout:?}");
            return Err(BootstrapError::Interpreter {
                kind: "Python 3.9",
                interpreter: interpreter.to_owned(),
                cause,
            });
        };
        if client.parse::<u32>().is_ok_and(|major| major < CLIENT_MAJOR) {
            return Err(BootstrapError::NoRuntimeClient { interpreter: interpreter.to_owned() });
        }
        Ok(Self { interpreter: PathBuf::from(path), version: (*version).to_owned() })
    }

    /// Writes `bootstrap.py` and says how it is started.
    pub(crate) fn prepare(
        &self,
        runtime_dir: &Path,
        layer_dir: &Path,
    ) -> Result<ManagedStart, BootstrapError> {
        let module = runtime_dir.join("bootstrap.py");
        // A JSON string is a Python string too, whatever characters the path has.
        let opt = serde_json::Value::from(layer_dir.display().to_string()).to_string();
        fs::write(&module, BOOTSTRAP_PY.replace("\"{{OPT}}\"", &opt))
            .map_err(|source| BootstrapError::Write { directory: runtime_dir.to_owned(), source })?;
        Ok(ManagedStart {
            execution_env: format!("AWS_Lambda_python{}", self.version),
            defaults: Vec::new(),
            command: vec![self.interpreter.display().to_string(), module.display().to_string()],
        })
    }
}
