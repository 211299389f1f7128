//! The managed Node.js runtime: its interpreter and the command line that the wrapper gets.

use std::fs;
use std::path::{Path, PathBuf};

use super::bootstrap::{BootstrapError, ManagedStart, ask};

const STAND_IN: &str = include_str!("node_runtime.mjs");

/// Writes the runtime client that is used where none is named.
pub(crate) fn write_stand_in(runtime_dir: &Path) -> Result<PathBuf, BootstrapError> {
    let client = runtime_dir.join("index.mjs");
    fs::write(&client, STAND_IN)
        .map_err(|source| BootstrapError::Write { directory: runtime_dir.to_owned(), source })?;
    Ok(client)
}

/// An interpreter that was asked who it is, and the runtime client it is to start.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) interpreter: PathBuf,
    major: u32,
    client: PathBuf,
}

impl Node {
    /// Finds the interpreter (on `PATH` when it is a bare name) and the client's script.
    pub(crate) async fn probe(interpreter: &Path, client: &Path) -> Result<Self, BootstrapError> {
        const KIND: &str = "Node.js 18";
        let (located, version) = ask(interpreter, KIND, &["--version".as_ref()]).await?;
        let major = version.trim().strip_prefix('v').and_then(|rest| rest.split('.').next()?.parse().ok());
        let major = major.ok_or_else(|| BootstrapError::Interpreter {
            kind: KIND,
            interpreter: interpreter.to_owned(),
            cause: format!("it answered {:?}", version.trim()),
        })?;
        let client = fs::canonicalize(client)
            .map_err(|source| BootstrapError::Script { path: client.to_owned(), source })?;
        Ok(Self { interpreter: located, major, client })
    }

    /// The command line of section 11, the client in place of `/var/runtime/index.mjs`.
    pub(crate) fn start(&self, arguments: &[String], runtime_dir: &Path, layer_dir: &Path) -> ManagedStart {
        let Self { interpreter, major, client } = self;
        let mut command = vec![interpreter.display().to_string()];
        command.extend(["--expose-gc", "--max-http-header-size", "81920"].map(str::to_owned));
        command.extend(arguments.iter().cloned());
        command.push(client.display().to_string());
        let opt = layer_dir.join("nodejs");
        let node_path = [
            opt.join(format!("node{major}/node_modules")),
            opt.join("node_modules"),
            runtime_dir.join("node_modules"),
            runtime_dir.to_owned(),
        ];
        let node_path = node_path.map(|path| path.display().to_string()).join(":");
        ManagedStart {
            execution_env: format!("AWS_Lambda_nodejs{major}.x"),
            defaults: vec![("NODE_PATH", node_path)],
            command,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_11_the_command_line_of_nodejs() {
        let node =
            Node { interpreter: "/var/lang/bin/node".into(), major: 22, client: "/ric/index.mjs".into() };
        let start = node.start(
            &["--max-old-space-size=460".to_owned()],
            Path::new("/var/runtime"),
            Path::new("/opt"),
        );
        assert_eq!(start.execution_env, "AWS_Lambda_nodejs22.x");
        assert_eq!(
            start.command.join(" "),
            "/var/lang/bin/node --expose-gc --max-http-header-size 81920 --max-old-space-size=460 /ric/index.mjs"
        );
        let path =
            "/opt/nodejs/node22/node_modules:/opt/nodejs/node_modules:/var/runtime/node_modules:/var/runtime";
        assert_eq!(start.defaults, [("NODE_PATH", path.to_owned())]);
    }

    #[tokio::test]
    async fn an_interpreter_or_a_client_that_is_none_is_named() {
        let error = Node::probe(Path::new("/bin/echo"), Path::new("/")).await.unwrap_err().to_string();
        assert!(error.contains("/bin/echo") && error.contains("Node.js 18"), "{error}");
    }
}
