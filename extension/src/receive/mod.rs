//! What comes in on local sockets and leaves as [`crate::received::Received`] values by one [`Inlet`]: a room for each kind of sender, over the ground
//! that all of them stand on. [`crate::listeners`] opens the sockets.

pub mod agent;
mod bounds;
pub mod daemon;
pub mod otlp;
pub mod telemetry;

pub use bounds::inlet::Inlet;
