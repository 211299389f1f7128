//! What has to wait: in memory within bounds, and in files for the next process. Outlets put in what has not left,
//! and take it out for the next try.

pub(crate) mod buffer;
pub(crate) mod outgoing;
pub(crate) mod repair;
pub(crate) mod spool;
pub(crate) mod unclaimed;
