//! The ground all senders stand on, which bounds them together: places for connections, room for what is under way, time counted
//! while awake, and what one span may hold.

pub(crate) mod awake;
pub(crate) mod inlet;
pub(crate) mod local_http;
pub(crate) mod otlp_schema;
pub(crate) mod oversize;
pub(crate) mod places;
pub(crate) mod stalled_write;
