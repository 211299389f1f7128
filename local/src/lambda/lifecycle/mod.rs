//! The life of an environment: initialisation, invocations, restore, shutdown.

pub(crate) mod init;
mod invoke;
mod managed_instance;
mod preparation;
mod restore;
pub(crate) mod shutdown;
