//! The life of an environment: initialisation, invocations, restore, shutdown.

pub(crate) mod init;
pub(crate) mod invoke;
mod managed_instance;
mod preparation;
mod restore;
pub(crate) mod shutdown;
