//! The managed runtimes: how a Python or Node.js process is started, and what it finds in its environment.

pub(crate) mod bootstrap;
pub(crate) mod node;
pub(crate) mod python;
pub(crate) mod variables;
