//! The managed runtimes: what starts a Python or Node.js process, and what it finds in its environment. An interpreter
//! and the directories of an environment come in; the program to start, and its variables, go out to `lifecycle::start`.

mod bootstrap;
mod node;
mod python;
pub(crate) mod variables;

pub(crate) use bootstrap::BootstrapError;

use std::path::{Path, PathBuf};

use bootstrap::ManagedStart;
use node::Node;
use python::Python;

/// A managed runtime whose files are written.
#[derive(Debug)]
pub(crate) struct ManagedRuntime {
    /// The program to start: `/var/runtime/bootstrap`.
    pub(crate) bootstrap: PathBuf,
    /// Stands for `/var/lang/bin`.
    pub(crate) interpreter_dir: Option<PathBuf>,
}

impl ManagedRuntime {
    pub(crate) async fn python(
        interpreter: &Path,
        task_dir: &Path,
        runtime_dir: &Path,
        layer_dir: &Path,
    ) -> Result<Self, BootstrapError> {
        let python = Python::probe(interpreter, task_dir).await?;
        let start = python.prepare(runtime_dir, layer_dir)?;
        Self::write(&start, &python.interpreter, runtime_dir, layer_dir)
    }

    /// `client` is the script of the runtime client; a stand-in takes the place of none.
    pub(crate) async fn node(
        interpreter: &Path,
        client: Option<&Path>,
        arguments: &[String],
        runtime_dir: &Path,
        layer_dir: &Path,
    ) -> Result<Self, BootstrapError> {
        let client = match client {
            Some(client) => client.to_owned(),
            None => node::write_stand_in(runtime_dir)?,
        };
        let node = Node::probe(interpreter, &client).await?;
        let start = node.start(arguments, runtime_dir, layer_dir);
        Self::write(&start, &node.interpreter, runtime_dir, layer_dir)
    }

    fn write(
        start: &ManagedStart,
        interpreter: &Path,
        runtime_dir: &Path,
        layer_dir: &Path,
    ) -> Result<Self, BootstrapError> {
        let bootstrap = start.write(runtime_dir, layer_dir)?;
        Ok(Self { bootstrap, interpreter_dir: interpreter.parent().map(Path::to_owned) })
    }
}
