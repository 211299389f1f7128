//! What the other side answers, whoever it is: its codes, its words without our own in them, and errors in one line.

pub(crate) mod caller;
pub(crate) mod quoted;
pub(crate) mod trouble;
